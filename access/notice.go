package access

import (
	"context"
	"fmt"
	"time"

	"sealift/uptane"
)

// Notice is that the people of a namespace were told of something that ends.
type Notice struct {
	Thing string    // its name, for programs
	Ends  time.Time // to the millisecond
	Days  int       // the step: so many days before; 0: it has ended
	Told  time.Time
}

// Notify enters a notice and reports whether it is the first of its thing, end and
// step: over all replicas and restarts one caller gets true, who then tells. The
// server's own things have the namespace "".
func (a *Access) Notify(ctx context.Context, ns uptane.Namespace, thing string, ends time.Time, days int) (bool, error) {
	first, err := a.store.addNotice(ctx, ns, thing, ends.UnixMilli(), int64(days), a.now().UnixMilli())
	if err != nil {
		return false, fmt.Errorf("entering notice of %s: %w", thing, err)
	}
	return first, nil
}

// Notices returns those about what ends at a time or later, the oldest first.
func (a *Access) Notices(ctx context.Context, ns uptane.Namespace, endsFrom time.Time) ([]Notice, error) {
	rows, err := a.store.notices(ctx, ns, endsFrom.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("reading notices of namespace %s: %w", ns, err)
	}
	list := make([]Notice, len(rows))
	for i, r := range rows {
		list[i] = Notice{Thing: r.Thing, Ends: fromMilli(r.Ends), Days: r.Days, Told: fromMilli(r.ToldAt)}
	}
	return list, nil
}
