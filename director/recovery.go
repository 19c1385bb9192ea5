package director

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/fault"
	"sealift/uptane"
)

// BeginRecovery is for the time after an old backup was restored, when devices
// have seen metadata and installed images that the database does not know. It
// raises the versions of every device's metadata, also of those that register
// later, by so many above everything that is known of, so that no device sees one go back, lets nothing be served
// that was signed before, and cancels all open assignments, which it returns:
// what was decided before the backup may have been superseded since, and a device
// must not be led back. Nobody else may be working on the database.
func (d *Director) BeginRecovery(ctx context.Context, ns uptane.Namespace, by int64) ([]Assignment, error) {
	since, err := d.keysSince(ctx, ns)
	if err != nil {
		return nil, fmt.Errorf("raising versions of the Director: %w", err)
	}
	now := int64(d.now().Sub(versionEpoch) / time.Minute)
	err = d.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		return d.store.raiseFloors(ctx, tx, ns, since, now, by)
	})
	if err != nil {
		return nil, fmt.Errorf("raising versions of the Director: %w", err)
	}
	devices, err := d.store.devicesWithOpen(ctx, ns)
	if err != nil {
		return nil, fmt.Errorf("looking for open assignments: %w", err)
	}
	var ended []Assignment
	for _, device := range devices {
		list, err := d.Cancel(ctx, ns, device, true)
		if err != nil {
			return ended, err
		}
		ended = append(ended, list...)
	}
	return ended, nil
}

// keysSince is the earliest root since when any role of devices has its keys, 0
// where there is no root.
func (d *Director) keysSince(ctx context.Context, ns uptane.Namespace) (int, error) {
	var all []int
	for _, role := range deviceRoles {
		since, err := d.keys.RoleKeysSince(ctx, ns, uptane.DirectorRepository, role)
		if err != nil && fault.Of(err) == nil {
			return 0, err
		}
		all = append(all, since)
	}
	return slices.Min(all), nil
}

// emptySHA256 is the digest of no bytes: clients report it, under a name such as
// "unknown" or "noimage", where they cannot tell what an ECU runs.
const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// began lists the images that ECUs run now in place of others, out of targets
// for all that is known. That an ECU runs nothing known shows nothing.
func (v verdict) began(before []ecuRow) []string {
	var list []string
	for _, r := range v.installed {
		i := slices.IndexFunc(before, func(e ecuRow) bool { return e.Serial == r.Serial })
		if r.SHA256 == emptySHA256 || r.Filepath == "unknown" {
			continue
		}
		if i >= 0 && before[i].InstalledAt != 0 && before[i].Filename != r.Filepath {
			list = append(list, r.Filepath)
		}
	}
	return list
}

// tell hands on which images a device has begun to run. The manifest is stored
// by then, so trouble is only logged.
func (d *Director) tell(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, filenames []string) {
	if d.began == nil {
		return
	}
	for _, name := range filenames {
		if err := d.began(ctx, ns, device, name); err != nil {
			d.log.Warn("telling of an image that runs", "namespace", ns, "device", device, "error", err)
		}
	}
}
