package director

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

// MaxAssign is how many devices one call takes.
const MaxAssign = 1000

// noSerial stands for the ECUs of a device that is not known.
const noSerial uptane.ECUSerial = "unknown"

// AssignRequest asks to assign an update to devices.
type AssignRequest struct {
	Update  string
	Devices []uptane.DeviceID
	// Correlation is what devices call the update in their reports; empty
	// means the update's own.
	Correlation string
	// DryRun stores nothing.
	DryRun bool
}

// AssignResult tells which devices got at least one assignment and, ECU by
// ECU, why others did not. A device can be in both.
type AssignResult struct {
	Affected    []uptane.DeviceID
	NotAffected map[uptane.DeviceID]map[uptane.ECUSerial]*fault.Fault
	// Until is when the first of the offline-signed metadata that list the images
	// end, if that is before Director metadata made now would: devices that come
	// later refuse the update unless they are signed again. Else zero.
	Until time.Time
}

// plan is an update made ready to be assigned.
type plan struct {
	AssignRequest
	targets map[uptane.HardwareID]plannedTarget
	formats map[string]bool // file name -> is OSTree, of installed images known to the Image repository
}

type plannedTarget struct {
	updateTargetRow
	image   Image
	ostree  bool
	role    uptane.Role  // delegated role that names it, "" the top level
	until   time.Time    // the end of the metadata that list it, zero where not known
	refused *fault.Fault // why nobody can get it
}

// Assign gives an update to devices: each ECU with one of its hardware ids
// gets the image, unless there is a reason against it. Each device is handled
// on its own, in one transaction. Where the metadata that list the images have all
// expired, nothing is assigned and it answers ErrTargetsExpired.
func (d *Director) Assign(ctx context.Context, ns uptane.Namespace, req AssignRequest) (AssignResult, error) {
	res := AssignResult{NotAffected: map[uptane.DeviceID]map[uptane.ECUSerial]*fault.Fault{}}
	p, err := d.plan(ctx, ns, req)
	if err != nil {
		return res, fmt.Errorf("assigning update %s: %w", req.Update, err)
	}
	if expired := p.expired(); expired != nil && !req.DryRun {
		return res, fmt.Errorf("assigning update %s: %w", req.Update, expired)
	}
	res.Until = p.until(d.now().Add(d.life))
	seen := map[uptane.DeviceID]bool{}
	for _, device := range req.Devices {
		if seen[device] {
			continue
		}
		seen[device] = true
		n, refused, err := d.assignTo(ctx, ns, device, p)
		if err != nil {
			return res, fmt.Errorf("assigning update %s to device %s: %w", req.Update, device, err)
		}
		if n > 0 {
			res.Affected = append(res.Affected, device)
		}
		if len(refused) > 0 {
			res.NotAffected[device] = refused
		}
	}
	return res, nil
}

// plan reads the update and asks the Image repository about each image again:
// it may have been withdrawn since.
func (d *Director) plan(ctx context.Context, ns uptane.Namespace, req AssignRequest) (plan, error) {
	p := plan{AssignRequest: req, targets: map[uptane.HardwareID]plannedTarget{}, formats: map[string]bool{}}
	if len(req.Devices) > MaxAssign {
		return p, ErrInvalidUpdate.Withf("%d devices, at most %d at once", len(req.Devices), MaxAssign)
	}
	if len(req.Correlation) > maxCorrelation || !plain(req.Correlation) {
		return p, ErrInvalidUpdate.Withf("a correlation id is at most %d printable ASCII characters", maxCorrelation)
	}
	u, err := d.Update(ctx, ns, req.Update)
	if err != nil {
		return p, err
	}
	if p.Correlation == "" {
		p.Correlation = u.Correlation
	}
	rows, err := d.store.updateTargets(ctx, ns, req.Update)
	if err != nil {
		return p, err
	}
	for _, row := range rows {
		t := plannedTarget{updateTargetRow: row}
		stored, err := decodeTarget(row.Filename, row.Target)
		if err != nil {
			return p, err
		}
		t.image, t.ostree = imageOf(stored), stored.IsOSTree()
		now, refused := d.image(ctx, ns, row.Filename, row.HardwareID)
		t.role, t.until = now.Delegated, now.Until
		if t.refused = refused; refused == nil && imageOf(now) != t.image {
			t.refused = refuseChanged.With(row.Filename)
		}
		p.targets[row.HardwareID] = t
	}
	return p, nil
}

// expired is why nothing of a plan can be installed by anybody, if it is that the
// metadata of all its images have expired; else nil.
func (p plan) expired() (why *fault.Fault) {
	for _, t := range p.targets {
		if t.refused == nil || !errors.Is(t.refused, ErrTargetsExpired) {
			return nil
		}
		why = t.refused
	}
	return why
}

// until is the first end of metadata before a time, zero if there is none.
func (p plan) until(before time.Time) (first time.Time) {
	for _, t := range p.targets {
		if t.refused == nil && !t.until.IsZero() && t.until.Before(before) {
			first, before = t.until, t.until
		}
	}
	return first
}

// assignTo handles one device and returns how many of its ECUs got something.
func (d *Director) assignTo(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, p plan) (int, map[uptane.ECUSerial]*fault.Fault, error) {
	row, err := d.device(ctx, ns, device)
	if f := fault.Of(err); f != nil {
		return 0, map[uptane.ECUSerial]*fault.Fault{noSerial: f}, nil
	}
	if err != nil {
		return 0, nil, err
	}
	f, err := d.facts(ctx, d.store.db, ns, device)
	if err != nil {
		return 0, nil, err
	}
	d.learnFormats(ctx, ns, f.ecus, p)
	if p.DryRun {
		list, refused, err := d.consider(row, f, p)
		return len(list), refused, err
	}
	var list []assignmentRow
	var refused map[uptane.ECUSerial]*fault.Fault
	err = d.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		list, refused, err = d.assign(ctx, tx, ns, device, p)
		return err
	})
	return len(list), refused, err
}

func (d *Director) assign(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, p plan) ([]assignmentRow, map[uptane.ECUSerial]*fault.Fault, error) {
	row, err := d.locked(ctx, tx, ns, device)
	if err != nil {
		return nil, nil, err
	}
	f, err := d.facts(ctx, tx, ns, device)
	if err != nil {
		return nil, nil, err
	}
	list, refused, err := d.consider(row, f, p)
	if err != nil || len(list) == 0 {
		return nil, refused, err
	}
	for i := range list {
		list[i].CreatedBy = d.actor(ctx)
		if err := d.store.addAssignment(ctx, tx, ns, list[i]); err != nil {
			return nil, nil, db.Err(err)
		}
	}
	row.Epoch++
	if err := d.store.saveDevice(ctx, tx, ns, row); err != nil {
		return nil, nil, err
	}
	if err := d.act(ctx, tx, ns, "update.assign", "update %s to device %s: %d ECUs", p.Update, device, len(list)); err != nil {
		return nil, nil, err
	}
	return list, refused, d.record(ctx, tx, ns, device, uptane.Change{})
}

// learnFormats asks the Image repository what kind of image the ECUs run.
// What it does not know is not held against an assignment.
func (d *Director) learnFormats(ctx context.Context, ns uptane.Namespace, ecus []ecuRow, p plan) {
	for _, e := range ecus {
		if _, known := p.formats[e.Filename]; known || p.targets[e.HardwareID].Filename == "" || e.Filename == "" {
			continue
		}
		if t, err := d.images.Target(ctx, ns, e.Filename); err == nil {
			p.formats[e.Filename] = t.IsOSTree()
		}
	}
}

// consider says which ECUs of a device get which image, and why not.
func (d *Director) consider(row deviceRow, f facts, p plan) ([]assignmentRow, map[uptane.ECUSerial]*fault.Fault, error) {
	var list []assignmentRow
	refused := map[uptane.ECUSerial]*fault.Fault{}
	matched := false
	for _, e := range f.ecus {
		t, ok := p.targets[e.HardwareID]
		if !ok {
			continue
		}
		matched = true
		why := p.against(e, t, append(slices.Clip(f.open), list...))
		if why == nil && t.role != "" && len(f.ecus) > 1 {
			why = refuseDelegated.Withf("%q is in %s, the device has %d ECUs", t.Filename, t.role, len(f.ecus))
		}
		if why != nil {
			refused[e.Serial] = why
			continue
		}
		a, err := p.assignment(e, t, d.now())
		if err != nil {
			return nil, nil, err
		}
		list = append(list, a)
	}
	if !matched {
		refused[row.Primary] = refuseNoHardware
	}
	n, err := fitting(row.OEMID, f, list)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range list[n:] {
		refused[a.Serial] = refuseTooLarge
	}
	return list[:n], refused, nil
}

// against is the reason why an ECU does not get an image, or nil.
func (p plan) against(e ecuRow, t plannedTarget, open []assignmentRow) *fault.Fault {
	ostree, known := p.formats[e.Filename]
	switch {
	case t.FromFilename != "" && (e.Filename != t.FromFilename || t.FromSHA256 != "" && e.SHA256 != t.FromSHA256):
		return refuseFrom.Withf("it runs %q, not %q", e.Filename, t.FromFilename)
	case e.Filename == t.Filename && e.SHA256 == t.image.SHA256:
		return refuseInstalled.With(t.Filename)
	case slices.ContainsFunc(open, func(a assignmentRow) bool { return a.Serial == e.Serial }):
		return refuseRunning
	case e.Filename == t.Filename:
		return refuseSameName.With(t.Filename)
	case t.refused != nil:
		return t.refused
	case known && ostree != t.ostree:
		return refuseFormat.Withf("%q and %q", e.Filename, t.Filename)
	}
	for _, a := range open {
		if a.Filename == t.Filename && (a.Target != t.Target || a.URI != t.URI) {
			return refuseChanged.Withf("ECU %q has an assignment of %q with other content or URI", a.Serial, t.Filename)
		}
	}
	return nil
}

func (p plan) assignment(e ecuRow, t plannedTarget, now time.Time) (assignmentRow, error) {
	id, err := uuid.NewV7()
	return assignmentRow{
		Device: e.Device, ID: id.String(), Serial: e.Serial, HardwareID: e.HardwareID, Update: p.Update,
		Correlation: p.Correlation, Filename: t.Filename, Target: t.Target, URI: t.URI,
		Status: Assigned, Open: true, CreatedAt: now.UnixMilli(),
	}, err
}

// Assignment is an image for one ECU of a device.
type Assignment struct {
	ID          string
	Device      uptane.DeviceID
	Serial      uptane.ECUSerial
	HardwareID  uptane.HardwareID
	Update      string
	Correlation string
	Image       Image
	URI         string
	Status      Status
	Code        string // result code, once it ended
	Description string
	CreatedAt   time.Time
	CreatedBy   string
	OfferedAt   time.Time // zero until the device's metadata list it
	EndedAt     time.Time // zero while it is open
}

// Open reports whether the ECU still has something to do.
func (a Assignment) Open() bool { return a.EndedAt.IsZero() }

func (r assignmentRow) assignment() (Assignment, error) {
	image, err := storedImage(r.Filename, r.Target)
	return Assignment{
		ID: r.ID, Device: r.Device, Serial: r.Serial, HardwareID: r.HardwareID, Update: r.Update,
		Correlation: r.Correlation, Image: image, URI: r.URI, Status: r.Status, Code: r.Code,
		Description: r.Description, CreatedAt: moment(r.CreatedAt), CreatedBy: r.CreatedBy,
		OfferedAt: moment(r.OfferedAt), EndedAt: moment(r.EndedAt),
	}, err
}

func assignmentsOf(rows []assignmentRow) ([]Assignment, error) {
	list := make([]Assignment, len(rows))
	var errs error
	for i, r := range rows {
		a, err := r.assignment()
		list[i], errs = a, errors.Join(errs, err)
	}
	return list, errs
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
