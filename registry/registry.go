// Package registry keeps what devices report: who they are, when they were
// last heard of, their hardware, network, packages, configuration and events,
// and the history of what was installed on them.
//
// What a device says is hostile: sizes and counts are bounded before anything
// is parsed, secrets in uploaded configuration are masked before they are
// stored, and texts are stored as they came for the edges to escape.
package registry

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

//go:embed schema
var schema embed.FS

// What a caller may learn.
var (
	// ErrUnknownDevice: no device of this id or name in the namespace.
	ErrUnknownDevice = fault.New(fault.NotFound, "missing_device", "no such device")
	// ErrMalformed: what the device sent breaks a rule that the cause names.
	ErrMalformed = fault.New(fault.Invalid, "malformed_input", "the input is malformed")
	// ErrName: the device's own name cannot be used.
	ErrName = fault.New(fault.Invalid, "invalid_device_id", "a deviceId is 1 to 64 of A-Z a-z 0-9 . _ : -")
)

// Config is what a Registry is made of.
type Config struct {
	DB  *db.DB
	Log *slog.Logger     // nil: slog.Default()
	Now func() time.Time // nil: time.Now
	// FlushEvery is how often last-seen times are written, one second by default.
	FlushEvery time.Duration
	// Act enters an administrative act in the audit, in the transaction that does
	// it; nil enters none.
	Act func(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, action, detail string) error
}

// Registry is the device registry of all namespaces. Safe for concurrent use.
type Registry struct {
	db    *db.DB
	store store
	now   func() time.Time
	log   *slog.Logger
	act   func(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, action, detail string) error

	mu   sync.Mutex
	seen map[deviceKey]int64 // heard of since the last flush
	stop context.CancelFunc
	done chan struct{}
}

type deviceKey struct {
	ns     uptane.Namespace
	device uptane.DeviceID
}

// New brings the tables up to date and starts to write last-seen times in the
// background until Close.
func New(ctx context.Context, c Config) (*Registry, error) {
	if err := db.Migrate(ctx, c.DB, "registry", schema); err != nil {
		return nil, fmt.Errorf("preparing registry: %w", err)
	}
	r := &Registry{db: c.DB, now: c.Now, log: c.Log, act: c.Act, seen: map[deviceKey]int64{}, done: make(chan struct{})}
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.Default()
	}
	every := c.FlushEvery
	if every == 0 {
		every = time.Second
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	go r.flushLoop(running, every)
	return r, nil
}

// Close writes the last-seen times that are still in memory and stops.
func (r *Registry) Close() error {
	r.stop()
	<-r.done
	return r.flush(context.Background())
}

// Device is one device as the registry knows it.
type Device struct {
	Namespace   uptane.Namespace
	ID          uptane.DeviceID
	OEMID       uptane.OEMID
	Name        string
	Status      string // see the Director's statuses; "NotSeen" at first
	Notes       string
	CreatedAt   time.Time
	ActivatedAt time.Time // first ECU registration; zero: never
	LastSeen    time.Time // zero: never
}

// EnsureDevice returns the id of the device with this name and makes it known
// if it is not. Two callers at once get the same id.
func (r *Registry) EnsureDevice(ctx context.Context, ns uptane.Namespace, oemid uptane.OEMID) (id uptane.DeviceID, created bool, err error) {
	if !oemid.Valid() {
		return "", false, ErrName
	}
	id, err = r.store.deviceID(ctx, r.db, ns, oemid)
	if err == nil || !errors.Is(err, db.ErrNoRows) {
		return id, false, wrap("looking up device", err)
	}
	fresh, err := uuid.NewV7()
	if err != nil {
		return "", false, fmt.Errorf("making a device id: %w", err)
	}
	if err := r.store.addDevice(ctx, r.db, ns, uptane.DeviceID(fresh.String()), oemid, r.now()); err != nil {
		return "", false, fmt.Errorf("adding device: %w", err)
	}
	id, err = r.store.deviceID(ctx, r.db, ns, oemid)
	return id, string(id) == fresh.String(), wrap("looking up device", err)
}

// Enter is EnsureDevice as part of the transaction in which a device is let
// in: if that fails, the device is not known either.
func (r *Registry) Enter(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, oemid uptane.OEMID) (uptane.DeviceID, error) {
	if !oemid.Valid() {
		return "", ErrName
	}
	fresh, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("making a device id: %w", err)
	}
	if err := r.store.addDevice(ctx, tx, ns, uptane.DeviceID(fresh.String()), oemid, r.now()); err != nil {
		return "", fmt.Errorf("adding device: %w", err)
	}
	id, err := r.store.deviceID(ctx, tx, ns, oemid)
	return id, wrap("looking up device", err)
}

// Device returns one device by its id or by its own name, or ErrUnknownDevice.
func (r *Registry) Device(ctx context.Context, ns uptane.Namespace, idOrName string) (Device, error) {
	d, err := r.store.device(ctx, r.db, ns, idOrName)
	if errors.Is(err, db.ErrNoRows) {
		return Device{}, ErrUnknownDevice.With(fmt.Sprintf("%q is neither a device id nor a deviceId", idOrName))
	}
	return d, wrap("reading device", err)
}

// Search says which devices to list. Empty fields do not filter.
type Search struct {
	NameContains string // of the name, any case
	OEMID        uptane.OEMID
	HardwareIDs  []uptane.HardwareID // it has an ECU with any of them
	Status       string
	NotSeenSince time.Time // not heard of since then, or never
}

// Devices lists devices by name, and says how many match in all.
func (r *Registry) Devices(ctx context.Context, ns uptane.Namespace, s Search, offset, limit int) ([]Device, int, error) {
	list, total, err := r.store.devices(ctx, r.db, ns, s, offset, limit)
	return list, total, wrap("listing devices", err)
}

// SetDevice changes a device's name and notes.
func (r *Registry) SetDevice(ctx context.Context, ns uptane.Namespace, id uptane.DeviceID, name, notes string) error {
	if name == "" || len(name) > 200 || len(notes) > 4096 || !printable(name) || !printable(notes) {
		return ErrMalformed.With("a name has 1 to 200 bytes, notes at most 4096, both printable")
	}
	return wrap("changing device", r.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		n, err := r.store.setDevice(ctx, tx, ns, id, name, notes)
		if err == nil && n == 0 {
			err = ErrUnknownDevice
		}
		if err != nil || r.act == nil {
			return err
		}
		return r.act(ctx, tx, ns, "device.name", fmt.Sprintf("device %s is called %q", id, name))
	}))
}

// Record implements the Director's journal: it runs in the Director's
// transaction, so that what belongs together is written together.
func (r *Registry) Record(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, c uptane.Change) error {
	if c.Registration != nil {
		if err := r.recordECUs(ctx, tx, ns, device, c); err != nil {
			return err
		}
	}
	for _, ecu := range c.Installed {
		entry := history{Kind: "installed", ECU: string(ecu.Serial), At: c.At, Detail: map[string]any{"filename": ecu.Filepath, "sha256": ecu.SHA256, "length": ecu.Length}}
		if err := r.store.addHistory(ctx, tx, ns, device, entry); err != nil {
			return fmt.Errorf("recording installed image: %w", err)
		}
	}
	if c.Report != nil {
		entry := history{Kind: "report", Correlation: c.Report.CorrelationID, At: c.At, Detail: c.Report}
		if err := r.store.addHistory(ctx, tx, ns, device, entry); err != nil {
			return fmt.Errorf("recording report: %w", err)
		}
	}
	if c.Status != "" {
		if err := r.store.setStatus(ctx, tx, ns, device, c.Status); err != nil {
			return fmt.Errorf("recording status: %w", err)
		}
	}
	return nil
}

func (r *Registry) recordECUs(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, c uptane.Change) error {
	ids := map[uptane.HardwareID]bool{}
	ecus := map[string]string{}
	for _, e := range c.Registration.ECUs {
		ids[e.HardwareID] = true
		ecus[string(e.Serial)] = string(e.HardwareID)
	}
	if err := r.store.replaceHardware(ctx, tx, ns, device, ids); err != nil {
		return fmt.Errorf("recording hardware ids: %w", err)
	}
	if err := r.store.activate(ctx, tx, ns, device, c.At); err != nil {
		return fmt.Errorf("recording registration: %w", err)
	}
	entry := history{Kind: "registered", At: c.At, Detail: map[string]any{"primary": c.Registration.Primary, "ecus": ecus}}
	if err := r.store.addHistory(ctx, tx, ns, device, entry); err != nil {
		return fmt.Errorf("recording registration: %w", err)
	}
	return nil
}

// HistoryEntry is one thing that happened to a device.
type HistoryEntry struct {
	At          time.Time `json:"at"`
	Kind        string    `json:"kind"` // registered, installed or report
	ECU         string    `json:"ecu,omitempty"`
	Correlation string    `json:"correlationId,omitempty"`
	Detail      string    `json:"-"` // JSON
}

// History lists what happened to a device, newest first.
func (r *Registry) History(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, offset, limit int) ([]HistoryEntry, int, error) {
	list, total, err := r.store.history(ctx, r.db, ns, device, offset, limit)
	return list, total, wrap("listing history", err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
