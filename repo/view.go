package repo

import (
	"context"
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

// tree is one flavour of the repository of a namespace.
type tree struct {
	ns      uptane.Namespace
	flavour uptane.Flavour
}

// view is what is remembered of a tree. epoch tells a reading that was
// begun before a change from one that was begun after.
type view struct {
	mu    sync.Mutex
	set   *set
	epoch int
}

func (r *Repo) view(t tree) *view {
	if v, ok := r.sets.Load(t); ok {
		return v.(*view)
	}
	v, _ := r.sets.LoadOrStore(t, &view{})
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

// forget makes the next read of either tree ask the database. Call it after a
// change.
func (r *Repo) forget(ns uptane.Namespace) {
	r.calm.Delete(ns)
	for _, t := range []tree{{ns, uptane.Uptane}, {ns, uptane.TUF}} {
		v := r.view(t)
		v.mu.Lock()
		v.set = nil
		v.epoch++
		v.mu.Unlock()
		r.flight.Forget(t.key())
	}
}

func (t tree) key() string { return string(t.flavour) + "/" + string(t.ns) }

// current returns the visible set, renewed if it has to be. Most calls touch no
// database.
func (r *Repo) current(ctx context.Context, t tree) (*set, error) {
	root, err := r.cfg.RootVersion(ctx, t.ns, uptane.ImageRepository)
	if err != nil {
		return nil, fmt.Errorf("reading root version of %s: %w", t.ns, err)
	}
	if s := r.view(t).get(); s != nil && s.root == root {
		now := r.now()
		if age := now.Sub(s.read); age >= 0 && age < fresh && (s.complete(now) || s.failed != nil) {
			return s, nil
		}
	}
	got, err, _ := r.flight.Do(t.key(), func() (any, error) {
		// Others wait for this reading: it must not end with one of them.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return r.read(ctx, t)
	})
	if err != nil {
		return nil, err
	}
	return got.(*set), nil
}

// read brings what is remembered of a tree up to date.
func (r *Repo) read(ctx context.Context, t tree) (*set, error) {
	view := r.view(t)
	old, epoch := view.began()
	var s *set
	var failed error
	for range maxTries {
		root, err := r.root(ctx, t.ns)
		if err != nil {
			return nil, err
		}
		s, err = r.load(ctx, t, old, root.version)
		if errors.Is(err, errAgain) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if failed != nil || s.complete(r.now()) {
			break
		}
		_, _, err = r.seal(ctx, t, s.edition, s.stand())
		if err != nil && !errors.Is(err, errSuperseded) && !errors.Is(err, uptane.ErrRootChanged) {
			r.log.ErrorContext(ctx, "renewing snapshot and timestamp failed", "namespace", t.ns, "flavour", t.flavour, "error", err)
			failed = err // what is stored may do for a while
		}
	}
	if s == nil {
		return nil, ErrBusy
	}
	if failed == nil && !s.complete(r.now()) {
		failed = ErrBusy
	}
	s.failed = failed
	view.keep(s, epoch)
	return s, nil
}

// load reads the visible set, from what was read before if that still holds.
func (r *Repo) load(ctx context.Context, t tree, old *set, root int) (*set, error) {
	now := r.now()
	row, err := r.repository(ctx, t.ns)
	if err != nil {
		return nil, err
	}
	if t.flavour == uptane.TUF && !row.TUF {
		return nil, ErrTUFOff
	}
	if old != nil && old.repository.Generation == row.Generation && old.root == root {
		s := *old
		s.read = now
		return &s, nil
	}
	if row.visible(t.flavour).push == "" {
		return nil, ErrRoleMissing.With("no targets were ever pushed")
	}
	s := &set{repository: row, root: root, read: now}
	if err := r.loadTargets(ctx, t, old, s); err != nil {
		return nil, fmt.Errorf("reading targets of %s: %w", t.ns, err)
	}
	if err := r.loadListing(ctx, t, s); err != nil {
		return nil, err
	}
	docs := r.store.of(t)
	s.timestamp, err = docs.served(ctx, s.stand(), root, row.Floor)
	if errors.Is(err, db.ErrNoRows) {
		return s, nil
	}
	if err == nil {
		s.snapshot, err = docs.document(ctx, uptane.RoleSnapshot, s.timestamp.Snapshot)
	}
	if err != nil {
		return nil, fmt.Errorf("reading snapshot and timestamp of %s: %w", t.ns, err)
	}
	return s, nil
}

// loadTargets reads the visible push in the flavour of the tree.
func (r *Repo) loadTargets(ctx context.Context, t tree, old *set, s *set) error {
	id := s.repository.visible(t.flavour).push
	if old != nil && old.push.ID == id {
		s.push = old.push
	} else {
		push, err := r.store.push(ctx, t.ns, id)
		if err == nil && t.flavour == uptane.TUF {
			push.Document, err = r.store.publishedTwin(ctx, t.ns, uptane.RoleTargets, push.Version)
			push.Checksum = checksum(push.Document)
		}
		if err != nil {
			return err
		}
		s.push = push
	}
	if id == s.repository.Push {
		return nil
	}
	newest, err := r.version(ctx, t.ns, s.repository.Push)
	s.behind = newest - s.push.Version
	return err
}

// loadListing reads which version of each delegated role is visible. errAgain
// says that another edition has become visible since the repository was read.
func (r *Repo) loadListing(ctx context.Context, t tree, s *set) error {
	want := s.repository.visible(t.flavour)
	s.listing = listing{}
	if want.listing != "" {
		var err error
		if s.listing, err = r.store.listing(ctx, r.store.db, t); err != nil {
			return fmt.Errorf("reading delegations of %s: %w", t.ns, err)
		}
	}
	if s.stand() != want {
		return errAgain
	}
	return nil
}
