package director

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"

	"sealift/internal/fault"
	"sealift/uptane"
)

// Limits of a registration. Targets of 64 KiB have room for some 200 ECUs;
// maxSerials also counts those the device once had.
const (
	maxECUs    = 500
	maxSerials = 2000
	maxCause   = 300
)

// RegisterECUs takes the complete list of a device's ECUs in place of the one
// before: ECUs may come, go and come back. It tells whether the device had
// none before. A list that changes nothing is welcome as often as it is sent.
//
// A serial keeps its public key: another one needs [Director.ApproveKey], and
// a key that ever belonged to another device is refused. A key the Primary
// could not read leaves the known one in place. Assignments of ECUs that are
// gone, or of another hardware id now, are cancelled. report_counter may start
// again. On error nothing has changed but the history.
func (d *Director) RegisterECUs(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, oemid uptane.OEMID, raw []byte) (created bool, err error) {
	reg, err := parseRegistration(raw)
	if err != nil {
		return false, fmt.Errorf("registering ECUs of device %s: %w", device, err)
	}
	created, err = d.replaceRegistration(ctx, ns, device, oemid, reg)
	if errors.Is(err, ErrKeyNotApproved) || errors.Is(err, ErrKeyInUse) {
		err = errors.Join(err, d.noteRefusal(ctx, ns, device, fault.Of(err)))
	}
	if err != nil {
		return false, fmt.Errorf("registering ECUs of device %s: %w", device, err)
	}
	return created, nil
}

func (d *Director) replaceRegistration(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, oemid uptane.OEMID, reg uptane.Registration) (created bool, err error) {
	for range maxTries {
		delegated, err := d.openImages(ctx, ns, device)
		if err != nil {
			return false, err
		}
		err = d.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
			created, err = d.register(ctx, tx, ns, device, oemid, reg, delegated)
			return err
		})
		if !errors.Is(err, errMoved) {
			return created, err
		}
	}
	return false, ErrBusy
}

// noteRefusal writes a refused key into the history, once however often the
// device comes back with it.
func (d *Director) noteRefusal(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, why *fault.Fault) error {
	detail := map[string]any{"reason": why.Code(), "cause": why.Cause()}
	last, err := d.store.history(ctx, ns, device, 1, 0)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(detail)
	if err != nil || len(last) > 0 && last[0].Action == actKeyRefused && last[0].Detail == string(raw) {
		return err
	}
	return d.note(ctx, d.store.db, ns, device, byDevice, actKeyRefused, detail)
}

func parseRegistration(raw []byte) (uptane.Registration, error) {
	reg, err := uptane.ParseRegistration(raw)
	var one *uptane.ECUError
	switch {
	case err == nil && len(reg.ECUs) > maxECUs:
		return reg, ErrRegistration.Withf("%d ECUs, at most %d are possible", len(reg.ECUs), maxECUs)
	case err == nil:
		return reg, nil
	case errors.As(err, &one) && one.Serial == reg.Primary && errors.Is(err, uptane.ErrECU) &&
		!slices.ContainsFunc(reg.ECUs, func(e uptane.ECU) bool { return e.Serial == reg.Primary }):
		return reg, ErrPrimaryNotListed.With(storable(err.Error(), maxCause))
	}
	return reg, ErrRegistration.With(storable(err.Error(), maxCause))
}

// registration is what one call changes.
type registration struct {
	added, removed, altered []uptane.ECUSerial
	cancelled               []assignmentRow
}

func (r registration) changed() bool { return len(r.added)+len(r.removed)+len(r.altered) > 0 }

func (d *Director) register(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, oemid uptane.OEMID, reg uptane.Registration, delegated map[string]bool) (bool, error) {
	now := d.now().UnixMilli()
	if err := d.store.addDevice(ctx, tx, ns, device, oemid, now); err != nil {
		return false, err
	}
	row, err := d.store.lock(ctx, tx, ns, device)
	if err != nil {
		return false, err
	}
	d.counters.overlay(ns, &row)
	known, err := d.store.ecus(ctx, tx, ns, device, true)
	if err != nil {
		return false, err
	}
	diff, err := d.replaceECUs(ctx, tx, ns, device, reg, known)
	if err != nil {
		return false, err
	}
	if diff.cancelled, err = d.cancelOrphans(ctx, tx, ns, device, reg, delegated); err != nil {
		return false, err
	}
	created, restarted := row.Primary == "", row.Counter >= 0
	moved := diff.changed() || row.Primary != reg.Primary || row.OEMID != oemid
	if moved || len(diff.cancelled) > 0 {
		row.Epoch++
	}
	row.OEMID, row.Primary = oemid, reg.Primary
	row.Registration++
	row.Counter, row.Manifest = -1, ""
	if err := d.store.saveDevice(ctx, tx, ns, row); err != nil {
		return false, err
	}
	if !moved && !restarted {
		return created, nil
	}
	err = d.note(ctx, tx, ns, device, byDevice, actRegistered, map[string]any{
		"primary": reg.Primary, "added": diff.added, "removed": diff.removed, "altered": diff.altered,
		"cancelled": len(diff.cancelled), "counterRestarted": restarted,
	})
	if err != nil || !moved {
		return created, err
	}
	return created, d.record(ctx, tx, ns, device, uptane.Change{Registration: &reg})
}

// replaceECUs brings the stored ECUs of a device in line with a list.
func (d *Director) replaceECUs(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, reg uptane.Registration, known []ecuRow) (registration, error) {
	var diff registration
	old := map[uptane.ECUSerial]ecuRow{}
	for _, e := range known {
		old[e.Serial] = e
	}
	for _, e := range reg.ECUs {
		before, has := old[e.Serial]
		delete(old, e.Serial)
		if !has && len(known)+len(diff.added) >= maxSerials {
			return diff, ErrRegistration.Withf("the device has had %d ECUs by now", maxSerials)
		}
		after, err := d.admit(ctx, tx, ns, device, e, before)
		if err != nil {
			return diff, err
		}
		switch {
		case after == before:
			continue
		case has && before.Active:
			diff.altered = append(diff.altered, e.Serial)
		default:
			diff.added = append(diff.added, e.Serial)
		}
		if err := d.store.saveECU(ctx, tx, ns, after); err != nil {
			return diff, err
		}
	}
	for _, e := range known {
		if _, gone := old[e.Serial]; !gone || !e.Active {
			continue
		}
		e.Active = false
		diff.removed = append(diff.removed, e.Serial)
		if err := d.store.saveECU(ctx, tx, ns, e); err != nil {
			return diff, err
		}
	}
	return diff, nil
}

// admit returns the row of a listed ECU; before is the zero row for a serial
// never seen.
func (d *Director) admit(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, e uptane.ECU, before ecuRow) (ecuRow, error) {
	row := before
	if !before.Active { // what it runs now is not known
		row = ecuRow{Key: before.Key, KeyID: before.KeyID, ApprovedKey: before.ApprovedKey, RegisteredAt: d.now().UnixMilli()}
	}
	row.Device, row.Serial, row.HardwareID, row.Active = device, e.Serial, e.HardwareID, true
	if e.Key.IsZero() || e.Key.ID() == before.KeyID {
		return row, nil
	}
	id := e.Key.ID()
	if before.KeyID != "" && before.ApprovedKey != id {
		return row, ErrKeyNotApproved.Withf("ECU %q brings key %s", e.Serial, id)
	}
	owner, err := d.store.bindKey(ctx, tx, ns, id, device)
	if err != nil {
		return row, err
	}
	if owner != device {
		return row, ErrKeyInUse.Withf("key %s of ECU %q", id, e.Serial)
	}
	row.Key, row.KeyID, row.ApprovedKey = string(e.Key.Wire(uptane.Uptane)), id, ""
	return row, nil
}

// cancelOrphans ends the assignments for which there is no ECU any more. It answers
// errMoved for an image that delegated says nothing of: it was assigned meanwhile.
func (d *Director) cancelOrphans(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, reg uptane.Registration, delegated map[string]bool) ([]assignmentRow, error) {
	open, err := d.store.openAssignments(ctx, tx, ns, device)
	if err != nil {
		return nil, err
	}
	hardware := map[uptane.ECUSerial]uptane.HardwareID{}
	for _, e := range reg.ECUs {
		hardware[e.Serial] = e.HardwareID
	}
	var ended []assignmentRow
	for _, a := range open {
		code, why := "ECU_REMOVED", "the device registered without this ECU or with another hardware id"
		if hw, ok := hardware[a.Serial]; ok && hw == a.HardwareID {
			supplied, asked := delegated[a.Filename]
			if len(reg.ECUs) == 1 || asked && !supplied {
				continue
			}
			if !asked {
				return nil, errMoved
			}
			code, why = CodeDelegatedImage, "the device has Secondaries now, which would refuse the image of a delegated role"
		}
		a.end(Cancelled, code, why, d.now())
		if err := d.store.saveAssignment(ctx, tx, ns, a); err != nil {
			return nil, err
		}
		ended = append(ended, a)
	}
	return ended, nil
}

// ApproveKey lets the ECU of that serial bring one new public key, named by
// its id (SHA-256 of the SubjectPublicKeyInfo, as the refused registration
// says). ErrUnknownECU if the device never had the serial.
func (d *Director) ApproveKey(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, serial uptane.ECUSerial, key uptane.KeyID) error {
	if !key.Valid() {
		return ErrRegistration.With("a key id is 64 lower-case hex digits")
	}
	err := d.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := d.locked(ctx, tx, ns, device); err != nil {
			return err
		}
		known, err := d.store.ecus(ctx, tx, ns, device, true)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(known, func(e ecuRow) bool { return e.Serial == serial })
		if i < 0 {
			return ErrUnknownECU.With(storable(string(serial), maxCause))
		}
		known[i].ApprovedKey = key
		if err := d.store.saveECU(ctx, tx, ns, known[i]); err != nil {
			return err
		}
		if err := d.note(ctx, tx, ns, device, d.actor(ctx), actKeyApproved, map[string]any{"ecu": serial, "key": key}); err != nil {
			return err
		}
		return d.act(ctx, tx, ns, "ecu.approve", "ECU %q of device %s may bring key %s", serial, device, key)
	})
	if err != nil {
		return fmt.Errorf("approving key of ECU %s of device %s: %w", serial, device, err)
	}
	return nil
}
