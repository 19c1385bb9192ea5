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
