package director

import (
	"context"
	"fmt"
	"slices"

	"sealift/uptane"
)

// Secondaries look images up in the top-level targets alone, and one of them that
// finds an entry of the Director nowhere makes its device give the whole update
// up, whichever ECU the entry is for. So nothing of a delegated role is assigned
// to a device that has Secondaries.

// CodeDelegatedImage is the code of what was cancelled because the device got
// Secondaries.
const CodeDelegatedImage = "DELEGATED_IMAGE"

// delegated reports whether an image is in a delegated role and not at the top
// level. What the Image repository does not know is not held against it.
func (d *Director) delegated(ctx context.Context, ns uptane.Namespace, filename string) bool {
	t, err := d.images.Target(ctx, ns, filename)
	return err == nil && t.Delegated != ""
}

// openImages says of each image that a device is still to install whether it is
// delegated. It is not asked in a transaction: the Image repository reads on a
// connection of its own, and those who wait for one must not hold another.
func (d *Director) openImages(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) (map[string]bool, error) {
	open, err := d.store.openAssignments(ctx, d.store.db, ns, device)
	found := map[string]bool{}
	for _, a := range open {
		if _, asked := found[a.Filename]; !asked {
			found[a.Filename] = d.delegated(ctx, ns, a.Filename)
		}
	}
	return found, err
}

// WithSecondaries returns those of the hardware ids that ECUs of registered
// devices with Secondaries have, sorted: images for them must stay at the top
// level.
func (d *Director) WithSecondaries(ctx context.Context, ns uptane.Namespace, ids []uptane.HardwareID) ([]uptane.HardwareID, error) {
	found, err := d.store.hardwareWithSecondaries(ctx, ns)
	if err != nil {
		return nil, fmt.Errorf("looking for devices with Secondaries of %s: %w", ns, err)
	}
	return slices.DeleteFunc(found, func(id uptane.HardwareID) bool { return !slices.Contains(ids, id) }), nil
}
