package access

import (
	"context"
	"fmt"
	"time"

	"sealift/uptane"
)

const (
	// shortLife: a token that was made for less is meant to end, and nobody is told.
	shortLife = 30 * 24 * time.Hour
	// endedFor is how long a token that has ended is still spoken of.
	endedFor = 30 * 24 * time.Hour
)

// Endings are the tokens of a namespace that end or have ended within the last 30
// days, the first to end first, at most 1000. Revoked ones are left out, and those
// that were made for less than 30 days. Of each token only id, name, creation and
// end are filled in.
func (a *Access) Endings(ctx context.Context, ns uptane.Namespace) ([]Token, error) {
	list, err := a.store.endings(ctx, ns, a.now().Add(-endedFor).UnixMilli(), shortLife.Milliseconds())
	if err != nil {
		return nil, fmt.Errorf("looking for tokens of namespace %s that end: %w", ns, err)
	}
	return list, nil
}
