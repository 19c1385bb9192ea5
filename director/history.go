package director

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// Entry is one thing that happened to a device.
type Entry struct {
	At     time.Time
	Actor  string // as Config.Actor names it; "device" for the device itself
	Action string
	Detail json.RawMessage
}

// byDevice is the actor of what a device did.
const byDevice = "device"

// What is written into the history.
const (
	actRegistered  = "ecus_registered"
	actKeyRefused  = "ecu_key_refused"
	actKeyApproved = "ecu_key_approved"
	actAttack      = "attack_reported"
	actCancelled   = "assignments_cancelled"
	actReset       = "device_reset"
)

// History returns a page of a device's history, newest first. A device that
// never was here has none. Of what the device itself caused the last two
// hundred entries are kept, of what people did all.
func (d *Director) History(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, limit, offset int) ([]Entry, error) {
	rows, err := d.store.history(ctx, ns, device, limit, offset)
	if err != nil {
		return nil, fmt.Errorf("reading history of device %s: %w", device, err)
	}
	list := make([]Entry, len(rows))
	for i, r := range rows {
		list[i] = Entry{At: time.UnixMilli(r.At), Actor: r.Actor, Action: r.Action, Detail: json.RawMessage(r.Detail)}
	}
	return list, nil
}

// act enters what somebody does in the audit, in the transaction that does it.
func (d *Director) act(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, action, format string, args ...any) error {
	if d.audit == nil {
		return nil
	}
	return d.audit(ctx, tx, ns, action, fmt.Sprintf(format, args...))
}

// note adds an entry to a device's history.
func (d *Director) note(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, device uptane.DeviceID, actor, action string, detail map[string]any) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	h := historyRow{ID: id.String(), At: d.now().UnixMilli(), Actor: actor, Action: action, Detail: string(raw)}
	err = d.store.addHistory(ctx, q, ns, device, h)
	if err == nil && actor == byDevice {
		err = d.store.forgetEntries(ctx, q, ns, device)
	}
	if err != nil {
		return fmt.Errorf("writing history: %w", err)
	}
	return nil
}

// recordVerdict tells the journal what a manifest has changed, inside the
// transaction. Where no assignment has, the status is what it was.
func (d *Director) recordVerdict(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, v verdict) error {
	change := uptane.Change{Installed: v.installed, Report: v.install}
	if len(v.assignments) > 0 {
		return d.record(ctx, tx, ns, device, change)
	}
	return d.enter(ctx, tx, ns, device, change)
}

// record tells the journal, inside the transaction, a change and the status the
// device has now.
func (d *Director) record(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, change uptane.Change) error {
	if d.journal == nil {
		return nil
	}
	if change.Status == "" {
		var err error
		if change.Status, err = d.status(ctx, tx, ns, device); err != nil {
			return err
		}
	}
	return d.enter(ctx, tx, ns, device, change)
}

func (d *Director) enter(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, change uptane.Change) error {
	if d.journal == nil {
		return nil
	}
	change.At = d.now()
	if err := d.journal.Record(ctx, tx, ns, device, change); err != nil {
		return fmt.Errorf("recording change of device %s: %w", device, err)
	}
	return nil
}

// The update status of a device, in the words of the device registry.
const (
	statusUpToDate = "UpToDate"
	statusOutdated = "Outdated"      // assigned, the device does not know yet
	statusPending  = "UpdatePending" // the device has been told
	statusError    = "Error"         // what ended last has failed
)

// status derives a device's status from its assignments.
func (d *Director) status(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID) (string, error) {
	open, err := d.store.openAssignments(ctx, tx, ns, device)
	if err != nil {
		return "", err
	}
	if len(open) == 0 {
		last, err := d.store.lastEnded(ctx, tx, ns, device)
		if err == nil && last == Failed {
			return statusError, nil
		}
		return statusUpToDate, err
	}
	for _, a := range open {
		if a.Status != Assigned {
			return statusPending, nil
		}
	}
	return statusOutdated, nil
}

// storable makes text of a device fit for the database and bounds it.
func storable(s string, limit int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}
