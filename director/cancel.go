package director

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// Cancel ends all open assignments of a device and returns them. When the
// device has been told of one, it may be installing already: that is
// ErrInFlight and nothing is cancelled, unless force is set. Once Cancel has
// returned, no metadata that list them are served any more.
func (d *Director) Cancel(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, force bool) ([]Assignment, error) {
	return d.CancelOn(ctx, ns, device, "", force)
}

// CancelOn is Cancel for the assignments of one update.
func (d *Director) CancelOn(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, update string, force bool) ([]Assignment, error) {
	return d.cancel(ctx, ns, device, func(a assignmentRow) (bool, error) {
		switch {
		case update != "" && a.Update != update:
			return false, nil
		case !force && a.Status != Assigned:
			return false, ErrInFlight
		}
		return true, nil
	})
}

// CancelUntold ends those open assignments of which the device does not know
// yet, and returns them.
func (d *Director) CancelUntold(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) ([]Assignment, error) {
	return d.cancel(ctx, ns, device, func(a assignmentRow) (bool, error) { return a.Status == Assigned, nil })
}

// CancelUpdate ends what is open of one update, on all devices or on none:
// without force, one device that has been told is ErrInFlight. It returns the
// devices that lost an assignment. A device that is told while CancelUpdate
// runs keeps its assignment.
func (d *Director) CancelUpdate(ctx context.Context, ns uptane.Namespace, update string, force bool) ([]uptane.DeviceID, error) {
	if _, err := d.Update(ctx, ns, update); err != nil {
		return nil, err
	}
	told, devices, err := d.store.openDevices(ctx, ns, update)
	if err != nil {
		return nil, fmt.Errorf("cancelling update %s: %w", update, err)
	}
	if told > 0 && !force {
		return nil, fmt.Errorf("cancelling update %s: %w", update, ErrInFlight.Withf("%d assignments", told))
	}
	var done []uptane.DeviceID
	for _, device := range devices {
		ended, err := d.cancel(ctx, ns, device, func(a assignmentRow) (bool, error) {
			return a.Update == update && (force || a.Status == Assigned), nil
		})
		if err != nil {
			return done, err
		}
		if len(ended) > 0 {
			done = append(done, device)
		}
	}
	return done, nil
}

// cancel ends the open assignments that choose picks.
func (d *Director) cancel(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, choose func(assignmentRow) (bool, error)) ([]Assignment, error) {
	var ended []assignmentRow
	err := d.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		row, err := d.locked(ctx, tx, ns, device)
		if err != nil {
			return err
		}
		if ended, err = d.endOpen(ctx, tx, ns, device, choose); err != nil || len(ended) == 0 {
			return err
		}
		row.Epoch++
		if err := d.store.saveDevice(ctx, tx, ns, row); err != nil {
			return err
		}
		detail := map[string]any{"assignments": len(ended), "ecus": serials(ended)}
		if err := d.note(ctx, tx, ns, device, d.actor(ctx), actCancelled, detail); err != nil {
			return err
		}
		if err := d.act(ctx, tx, ns, "update.cancel", "%d assignments of device %s", len(ended), device); err != nil {
			return err
		}
		return d.record(ctx, tx, ns, device, uptane.Change{})
	})
	if err != nil {
		return nil, fmt.Errorf("cancelling assignments of device %s: %w", device, err)
	}
	return assignmentsOf(ended)
}

func (d *Director) endOpen(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, choose func(assignmentRow) (bool, error)) ([]assignmentRow, error) {
	open, err := d.store.openAssignments(ctx, tx, ns, device)
	if err != nil {
		return nil, err
	}
	var ended []assignmentRow
	for _, a := range open {
		if yes, err := choose(a); err != nil || !yes {
			if err != nil {
				return nil, err
			}
			continue
		}
		a.end(Cancelled, "CANCELLED", "", d.now())
		if err := d.store.saveAssignment(ctx, tx, ns, a); err != nil {
			return nil, err
		}
		ended = append(ended, a)
	}
	return ended, nil
}

func serials(list []assignmentRow) []uptane.ECUSerial {
	out := make([]uptane.ECUSerial, len(list))
	for i, a := range list {
		out[i] = a.Serial
	}
	return out
}

// Reset lets a device that was wiped come back under its name: its ECUs are
// forgotten until it registers them again, with new keys if it has new ones,
// its report_counter starts again and its open assignments are cancelled. Its
// history and the version numbers of its metadata go on, and its old keys
// stay its own. A device that never registered is no error.
func (d *Director) Reset(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) error {
	err := d.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error { return d.reset(ctx, tx, ns, device) })
	if err != nil {
		return fmt.Errorf("resetting device %s: %w", device, err)
	}
	return nil
}

func (d *Director) reset(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID) error {
	if known, err := d.store.known(ctx, tx, ns, device); err != nil || !known {
		return err
	}
	row, err := d.locked(ctx, tx, ns, device)
	if err != nil {
		return err
	}
	ended, err := d.endOpen(ctx, tx, ns, device, func(assignmentRow) (bool, error) { return true, nil })
	if err != nil {
		return err
	}
	if err := d.store.retireECUs(ctx, tx, ns, device); err != nil {
		return err
	}
	row.Primary = ""
	row.Epoch++
	row.Registration++
	row.Counter, row.Manifest = -1, ""
	if err := d.store.saveDevice(ctx, tx, ns, row); err != nil {
		return err
	}
	if err := d.note(ctx, tx, ns, device, d.actor(ctx), actReset, map[string]any{"cancelled": len(ended)}); err != nil {
		return err
	}
	if err := d.act(ctx, tx, ns, "device.forget", "ECUs of device %s are forgotten, %d assignments cancelled", device, len(ended)); err != nil {
		return err
	}
	return d.record(ctx, tx, ns, device, uptane.Change{})
}
