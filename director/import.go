package director

import (
	"context"
	"fmt"

	"sealift/uptane"
)

// RaiseVersions makes the metadata of devices that register from now on begin at a
// version at least, because they have seen lower ones of another Director. It
// never lowers what was asked for before.
func (d *Director) RaiseVersions(ctx context.Context, ns uptane.Namespace, floor int64) error {
	if err := d.store.raiseFirst(ctx, ns, floor); err != nil {
		return fmt.Errorf("raising versions of the Director: %w", err)
	}
	return nil
}
