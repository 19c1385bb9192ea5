// Package director is the Director repository: it knows the ECUs of every
// device and what each of them runs, takes signed manifests, holds what an
// operator assigned, and signs for each device the targets that say so.
//
// # Metadata
//
// Targets, snapshot and timestamp of a device are made together when the
// device asks and what is stored no longer fits: something was assigned,
// installed or cancelled, the root changed, or time is running out. The
// payload is stored first, under a version nobody else can take; then exactly
// that is signed, by whichever replica gets there first. So any number of
// replicas serve the same bytes, and one version has one content for ever.
//
// # State
//
// The row of a device is its lock: whoever changes its ECUs or assignments
// changes the row, too. Its epoch is raised by whatever changes what the targets
// must say; a document of an older epoch is not served any more. An idle device costs one read a poll and nothing else: counters of
// manifests that change nothing are gathered and written once a second.
package director

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// DefaultLife is how long Director metadata are valid. Clients check expiry
// again when they download and when they install, hence this long.
const DefaultLife = 31 * 24 * time.Hour

// minLeft is how much validity a document must have left to be served.
const minLeft = 72 * time.Hour

// Images is the Image repository, asked whether an image may be assigned.
type Images interface {
	// Target returns the signed entry of a target. A fault of kind NotFound
	// means there is none.
	Target(ctx context.Context, ns uptane.Namespace, filename string) (uptane.Target, error)
}

// Journal is told what changed on a device, inside the transaction that
// changes it. An error undoes the change.
type Journal interface {
	Record(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, change uptane.Change) error
}

// Keys tells which root is current and since when a role has its keys.
type Keys interface {
	// RootVersion returns the version of the current root.
	RootVersion(ctx context.Context, ns uptane.Namespace, repo uptane.Repository) (int, error)
	// RoleKeysSince returns the root version in which the keys of a role last changed.
	RoleKeysSince(ctx context.Context, ns uptane.Namespace, repo uptane.Repository, role uptane.Role) (int, error)
}

// Config is what a Director is made of. DB, Signer, Roots, Keys and Images
// are required.
type Config struct {
	DB      *db.DB
	Signer  uptane.Signer
	Roots   uptane.Roots
	Keys    Keys
	Images  Images
	Journal Journal          // nil: nobody is told
	Life    time.Duration    // of signed metadata; 0 means DefaultLife
	Now     func() time.Time // nil means time.Now
	Log     *slog.Logger     // nil means slog.Default
	// Began is told of each image that an ECU has begun to run in place of
	// another, once the manifest that says so is stored; nil: nobody is told.
	Began func(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, filename string) error
	// Actor names who acts in ctx, for the history; nil means "local".
	Actor func(ctx context.Context) string
	// Act enters an administrative act in the audit, in the transaction that does
	// it; nil enters none.
	Act func(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, action, detail string) error
}

// Director is the Director repository of all namespaces. Safe for concurrent
// use, also by several processes on one database.
type Director struct {
	store    store
	signer   uptane.Signer
	roots    uptane.Roots
	keys     Keys
	images   Images
	journal  Journal
	life     time.Duration
	now      func() time.Time
	log      *slog.Logger
	began    func(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, filename string) error
	actor    func(ctx context.Context) string
	audit    func(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, action, detail string) error
	counters *counters
}

// New brings the tables up to date and returns a Director. Call
// [Director.Close] when it is no longer used.
func New(ctx context.Context, c Config) (*Director, error) {
	if c.DB == nil || c.Signer == nil || c.Roots == nil || c.Keys == nil || c.Images == nil {
		return nil, errors.New("making director without database, signer, roots, keys or images")
	}
	d := &Director{
		store: store{c.DB}, signer: c.Signer, roots: c.Roots, keys: c.Keys, images: c.Images,
		journal: c.Journal, life: c.Life, now: c.Now, log: c.Log, began: c.Began, actor: c.Actor, audit: c.Act,
	}
	if d.life == 0 {
		d.life = DefaultLife
	}
	if d.life < 2*minLeft {
		return nil, fmt.Errorf("making director: metadata that live %v are always about to expire", d.life)
	}
	if d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.Default()
	}
	if d.actor == nil {
		d.actor = func(context.Context) string { return "local" }
	}
	if err := db.Migrate(ctx, c.DB, "director", schema); err != nil {
		return nil, fmt.Errorf("making director: %w", err)
	}
	d.counters = &counters{store: d.store, log: d.log, pending: map[deviceKey]sighting{}}
	return d, nil
}

// Close writes what was gathered in memory.
func (d *Director) Close(ctx context.Context) error { return d.counters.flush(ctx) }

// Registered reports whether a device has ECUs registered. It may be asked
// inside another service's transaction.
func (d *Director) Registered(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID) (bool, error) {
	registered, err := d.store.registered(ctx, q, ns, device)
	if err != nil {
		return false, fmt.Errorf("looking for ECUs of device %s: %w", device, err)
	}
	return registered, nil
}
