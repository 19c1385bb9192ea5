package director

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// Device is a device that has registered its ECUs.
type Device struct {
	ID         uptane.DeviceID
	OEMID      uptane.OEMID
	Primary    uptane.ECUSerial
	CreatedAt  time.Time
	ManifestAt time.Time // last accepted manifest, zero for none; up to a second late
}

// ECU is a computer of a device and what it last reported.
type ECU struct {
	Device       uptane.DeviceID
	Serial       uptane.ECUSerial
	HardwareID   uptane.HardwareID
	Primary      bool
	Key          json.RawMessage // the public key, nil where it is not known
	KeyID        uptane.KeyID
	RegisteredAt time.Time
	Installed    *Image    // nil until the ECU reports
	InstalledAt  time.Time // when Installed was first reported
	Attacks      string    // attacks_detected of the last report
}

// Devices returns a page of the registered devices, oldest first, and how many
// there are; with a hardware id only those whose Primary has it.
func (d *Director) Devices(ctx context.Context, ns uptane.Namespace, primary uptane.HardwareID, limit, offset int) ([]Device, int, error) {
	rows, total, err := d.store.devices(ctx, ns, primary, limit, offset)
	if err != nil {
		return nil, 0, fmt.Errorf("listing devices: %w", err)
	}
	list := make([]Device, len(rows))
	for i, r := range rows {
		d.counters.overlay(ns, &r)
		list[i] = r.device()
	}
	return list, total, nil
}

// Device returns one device and its ECUs, the Primary first. ErrNotRegistered
// if it has none.
func (d *Director) Device(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) (Device, []ECU, error) {
	row, err := d.device(ctx, ns, device)
	if err != nil {
		return Device{}, nil, fmt.Errorf("reading device %s: %w", device, err)
	}
	d.counters.overlay(ns, &row)
	rows, err := d.store.ecus(ctx, d.store.db, ns, device, false)
	if err != nil {
		return Device{}, nil, fmt.Errorf("reading ECUs of device %s: %w", device, err)
	}
	var list []ECU
	for _, r := range rows {
		if e := r.ecu(row.Primary); e.Primary {
			list = append([]ECU{e}, list...)
		} else {
			list = append(list, e)
		}
	}
	return row.device(), list, nil
}

// ECUs returns a page of all ECUs of all devices, by device and serial, and
// how many there are.
func (d *Director) ECUs(ctx context.Context, ns uptane.Namespace, limit, offset int) ([]ECU, int, error) {
	rows, total, err := d.store.allECUs(ctx, ns, limit, offset)
	if err != nil {
		return nil, 0, fmt.Errorf("listing ECUs: %w", err)
	}
	list := make([]ECU, len(rows))
	for i, r := range rows {
		list[i] = r.ecu(r.Primary)
	}
	return list, total, nil
}

// HardwareIDs returns a page of the hardware ids in use and how many there are.
func (d *Director) HardwareIDs(ctx context.Context, ns uptane.Namespace, limit, offset int) ([]uptane.HardwareID, int, error) {
	list, total, err := d.store.hardwareIDs(ctx, ns, limit, offset)
	if err != nil {
		return nil, 0, fmt.Errorf("listing hardware ids: %w", err)
	}
	return list, total, nil
}

// InstalledCount returns on how many ECUs each of the files is installed.
// Files that run nowhere are left out.
func (d *Director) InstalledCount(ctx context.Context, ns uptane.Namespace, filenames []string) (map[string]int, error) {
	counts := map[string]int{}
	for _, name := range filenames {
		n, err := d.store.installed(ctx, ns, name)
		if err != nil {
			return nil, fmt.Errorf("counting ECUs that run %s: %w", name, err)
		}
		if n > 0 {
			counts[name] = n
		}
	}
	return counts, nil
}

// Queue returns the open assignments of a device.
func (d *Director) Queue(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) ([]Assignment, error) {
	rows, err := d.store.openAssignments(ctx, d.store.db, ns, device)
	if err != nil {
		return nil, fmt.Errorf("reading assignments of device %s: %w", device, err)
	}
	return assignmentsOf(rows)
}

// Assignments returns a page of all assignments a device ever had, newest first.
func (d *Director) Assignments(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, limit, offset int) ([]Assignment, error) {
	rows, err := d.store.assignments(ctx, ns, device, limit, offset)
	if err != nil {
		return nil, fmt.Errorf("reading assignments of device %s: %w", device, err)
	}
	return assignmentsOf(rows)
}

// UpdateAssignments returns a page of the assignments an update led to, by device.
func (d *Director) UpdateAssignments(ctx context.Context, ns uptane.Namespace, update string, limit, offset int) ([]Assignment, error) {
	rows, err := d.store.updateAssignments(ctx, ns, update, limit, offset)
	if err != nil {
		return nil, fmt.Errorf("reading assignments of update %s: %w", update, err)
	}
	return assignmentsOf(rows)
}

// Renew makes the device's metadata be written anew at its next poll.
func (d *Director) Renew(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) error {
	err := d.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		row, err := d.locked(ctx, tx, ns, device)
		if err != nil {
			return err
		}
		row.Epoch++
		if err := d.store.saveDevice(ctx, tx, ns, row); err != nil {
			return err
		}
		return d.act(ctx, tx, ns, "device.renew", "metadata of device %s are written anew", device)
	})
	if err != nil {
		return fmt.Errorf("renewing metadata of device %s: %w", device, err)
	}
	return nil
}

func (r deviceRow) device() Device {
	return Device{ID: r.Device, OEMID: r.OEMID, Primary: r.Primary, CreatedAt: moment(r.CreatedAt), ManifestAt: moment(r.ManifestAt)}
}

func (r ecuRow) ecu(primary uptane.ECUSerial) ECU {
	e := ECU{
		Device: r.Device, Serial: r.Serial, HardwareID: r.HardwareID, Primary: r.Serial == primary, KeyID: r.KeyID,
		RegisteredAt: moment(r.RegisteredAt), InstalledAt: moment(r.InstalledAt), Attacks: r.Attacks,
	}
	if r.Key != "" {
		e.Key = json.RawMessage(r.Key)
	}
	if r.InstalledAt != 0 {
		e.Installed = &Image{Filename: r.Filename, SHA256: r.SHA256, Length: r.Length}
	}
	return e
}
