package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"sealift/internal/db"
	"sealift/uptane"
)

// fresh is how long what was read of a namespace is served without asking the
// database whether it still holds.
const fresh = time.Second

// Document is metadata as it is served.
type Document struct {
	Bytes      []byte // canonical JSON; the caller must not change them
	Checksum   string // SHA-256 of Bytes in lower-case hex
	Repository string // what x-ats-tuf-repo-id says
}

// Metadata returns a metadata document by its file name: root.json, N.root.json,
// targets.json, snapshot.json or timestamp.json. Snapshot and timestamp are
// renewed when they have too little time left. It answers ErrRoleMissing, the
// fault of Config.Roots for a root that is not there, or a fault of
// Config.Signer when what is stored cannot be served any more and nothing new
// can be signed.
func (r *Repo) Metadata(ctx context.Context, ns uptane.Namespace, filename string) (Document, error) {
	role, version, err := uptane.ParseFilename(filename)
	if err != nil || version != 0 && role != uptane.RoleRoot || !role.TopLevel() {
		return Document{}, ErrRoleMissing.Withf("%q is not metadata of this repository", filename)
	}
	if role == uptane.RoleRoot {
		return r.rootMetadata(ctx, ns, version)
	}
	s, err := r.current(ctx, ns)
	if err != nil {
		return Document{}, err
	}
	switch role {
	case uptane.RoleTargets:
		return Document{s.push.Document, s.push.Checksum, s.id}, nil
	case uptane.RoleSnapshot:
		return s.serve(s.snapshot, r.now())
	default:
		return s.serve(s.timestamp, r.now())
	}
}

func (r *Repo) rootMetadata(ctx context.Context, ns uptane.Namespace, version int) (Document, error) {
	raw, err := r.cfg.Roots.Root(ctx, ns, uptane.ImageRepository, version)
	if err != nil {
		return Document{}, fmt.Errorf("reading root of %s: %w", ns, err)
	}
	id, err := r.ID(ctx, ns)
	if err != nil {
		return Document{}, err
	}
	return Document{raw, checksum(raw), id}, nil
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// set is what devices see of a namespace at one moment. Once shared it is not
// changed.
type set struct {
	id         string
	generation int64
	root       int
	push       pushRow
	snapshot   documentRow // without Document where there is none to serve
	timestamp  documentRow
	read       time.Time
	failed     error // why there are no newer ones
}

// serve returns d unless its time is over, which has a reason.
func (s *set) serve(d documentRow, now time.Time) (Document, error) {
	if d.Document == nil || !now.Before(time.UnixMilli(d.Expires)) {
		if s.failed == nil {
			return Document{}, ErrRootExpired
		}
		return Document{}, s.failed
	}
	return Document{d.Document, checksum(d.Document), s.id}, nil
}

// complete reports whether there is nothing to renew.
func (s *set) complete(now time.Time) bool {
	return s.snapshot.Document != nil && !s.snapshot.aged(SnapshotLife, now) &&
		s.timestamp.Document != nil && !s.timestamp.aged(TimestampLife, now)
}

// view is what is remembered of a namespace. epoch tells a reading that was
// begun before a change from one that was begun after.
type view struct {
	mu    sync.Mutex
	set   *set
	epoch int
}

func (r *Repo) view(ns uptane.Namespace) *view {
	if v, ok := r.sets.Load(ns); ok {
		return v.(*view)
	}
	v, _ := r.sets.LoadOrStore(ns, &view{})
	return v.(*view)
}

func (v *view) get() *set {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.set
}

func (v *view) began() (*set, int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.set, v.epoch
}

func (v *view) keep(s *set, epoch int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.epoch == epoch {
		v.set = s
	}
}

// forget makes the next read ask the database. Call it after a change.
func (r *Repo) forget(ns uptane.Namespace) {
	v := r.view(ns)
	v.mu.Lock()
	v.set = nil
	v.epoch++
	v.mu.Unlock()
	r.flight.Forget(string(ns))
}

// current returns the visible set, renewed if it has to be. Most calls touch no
// database.
func (r *Repo) current(ctx context.Context, ns uptane.Namespace) (*set, error) {
	root, err := r.cfg.RootVersion(ctx, ns, uptane.ImageRepository)
	if err != nil {
		return nil, fmt.Errorf("reading root version of %s: %w", ns, err)
	}
	if s := r.view(ns).get(); s != nil && s.root == root {
		now := r.now()
		if age := now.Sub(s.read); age >= 0 && age < fresh && (s.complete(now) || s.failed != nil) {
			return s, nil
		}
	}
	got, err, _ := r.flight.Do(string(ns), func() (any, error) {
		// Others wait for this reading: it must not end with one of them.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return r.read(ctx, ns)
	})
	if err != nil {
		return nil, err
	}
	return got.(*set), nil
}

// read brings what is remembered of a namespace up to date.
func (r *Repo) read(ctx context.Context, ns uptane.Namespace) (*set, error) {
	view := r.view(ns)
	old, epoch := view.began()
	var s *set
	var failed error
	for range maxTries {
		root, err := r.root(ctx, ns)
		if err != nil {
			return nil, err
		}
		if s, err = r.load(ctx, ns, old, root.version); err != nil {
			return nil, err
		}
		if failed != nil || s.complete(r.now()) {
			break
		}
		_, _, err = r.seal(ctx, ns, s.push)
		if err != nil && !errors.Is(err, errSuperseded) && !errors.Is(err, uptane.ErrRootChanged) {
			r.log.ErrorContext(ctx, "renewing snapshot and timestamp failed", "namespace", ns, "error", err)
			failed = err // what is stored may do for a while
		}
	}
	if failed == nil && !s.complete(r.now()) {
		failed = ErrBusy
	}
	s.failed = failed
	view.keep(s, epoch)
	return s, nil
}

// load reads the visible set, from what was read before if that still holds.
func (r *Repo) load(ctx context.Context, ns uptane.Namespace, old *set, root int) (*set, error) {
	now := r.now()
	row, err := r.repository(ctx, ns)
	if err != nil {
		return nil, err
	}
	if old != nil && old.generation == row.Generation && old.root == root {
		s := *old
		s.read = now
		return &s, nil
	}
	if row.Push == "" {
		return nil, ErrRoleMissing.With("no targets were ever pushed")
	}
	s := &set{id: row.ID, generation: row.Generation, root: root, read: now}
	if old != nil && old.push.ID == row.Push {
		s.push = old.push
	} else if s.push, err = r.store.push(ctx, ns, row.Push); err != nil {
		return nil, fmt.Errorf("reading targets of %s: %w", ns, err)
	}
	s.timestamp, err = r.store.served(ctx, ns, row.Push, root)
	if errors.Is(err, db.ErrNoRows) {
		return s, nil
	}
	if err == nil {
		s.snapshot, err = r.store.document(ctx, ns, uptane.RoleSnapshot, s.timestamp.Snapshot)
	}
	if err != nil {
		return nil, fmt.Errorf("reading snapshot and timestamp of %s: %w", ns, err)
	}
	return s, nil
}
