package treehub

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// Uploads that arrive while a transaction is being written share the next one:
// what costs time is waiting for the disk, once a transaction.
const (
	maxTogether = 64
	entering    = time.Minute // bounds such a transaction
)

// entry is an upload whose blob is in the bucket, on its way into the tables.
type entry struct {
	ns       uptane.Namespace
	name     ostree.ObjectName
	object   object
	children []string      // sorted
	commit   *commitRecord // of a commit

	entered chan struct{} // closed when err is known
	err     error         // db.ErrExists if another upload came first
	done    []string      // what is complete since, itself included
	before  string        // generation that a mutable object had
}

func newEntry(ns uptane.Namespace, up Upload, res ostree.Result, generation string, now time.Time) *entry {
	e := &entry{ns: ns, name: up.Name, entered: make(chan struct{}),
		object: object{Name: up.Name.String(), Generation: generation, Size: res.Size, StoredAt: now.UnixMilli()}}
	for _, edge := range res.Edges {
		e.children = append(e.children, edge.String())
	}
	slices.Sort(e.children)
	if len(e.children) > 0 {
		e.object.Lacks = 1 // until they are counted
	}
	if res.Commit != nil {
		row := commitRow(up, res.Commit, e.object.StoredAt)
		e.commit = &row
	}
	return e
}

// queue gathers entries. Its zero value is not usable.
type queue struct {
	free chan struct{} // holds a token while somebody writes
	mu   sync.Mutex
	list []*entry
}

// enter makes a blob in the bucket an object, and whatever waited for it
// complete. It returns db.ErrExists if another upload came first.
func (t *TreeHub) enter(ctx context.Context, e *entry) error {
	t.queue.mu.Lock()
	t.queue.list = append(t.queue.list, e)
	t.queue.mu.Unlock()
	for waiting := true; waiting; {
		select {
		case <-e.entered:
			waiting = false
		case t.queue.free <- struct{}{}:
			func() {
				defer func() { <-t.queue.free }() // also after a panic: others wait
				t.writeQueue(ctx)
			}()
		}
	}
	if e.err != nil {
		return e.err
	}
	if e.before != "" {
		t.discard(ctx, blobKey(e.ns, e.name, e.before))
	}
	t.measureCommits(ctx, e.ns, e.done)
	return nil
}

// writeQueue enters what has gathered. The writer may be gone before the
// others are, so its context does not end the transaction.
func (t *TreeHub) writeQueue(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), entering)
	defer cancel()
	t.queue.mu.Lock()
	list := slices.Clone(t.queue.list[:min(len(t.queue.list), maxTogether)])
	t.queue.list = slices.Delete(t.queue.list, 0, len(list))
	t.queue.mu.Unlock()
	if len(list) == 0 {
		return
	}
	// Every process locks rows in this order, which makes deadlocks rare.
	slices.SortFunc(list, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.ns, b.ns), cmp.Compare(a.object.Name, b.object.Name))
	})
	err := t.write(ctx, list...)
	for _, e := range list {
		own := err
		if own != nil && len(list) > 1 {
			own = t.write(ctx, e) // one must not spoil the others
		}
		if own != nil {
			e.err = own
		}
		close(e.entered)
	}
}

// write enters entries in one transaction. That one was there before is in its
// err; the error returned is of them all.
func (t *TreeHub) write(ctx context.Context, list ...*entry) error {
	return t.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		for _, e := range list {
			e.err = t.writeOne(ctx, tx, e)
			if e.err != nil && !errors.Is(e.err, db.ErrExists) {
				return e.err
			}
		}
		return nil
	})
}

func (t *TreeHub) writeOne(ctx context.Context, tx *sqlx.Tx, e *entry) (err error) {
	e.done, e.before = nil, "" // of an attempt that was rolled back
	if mutable(e.name) {       // nothing refers to such an object, so nothing waits for it
		e.before, err = t.store.replace(ctx, tx, e.ns, e.object)
		return err
	}
	if err := t.store.enter(ctx, tx, e.ns, e.object); err != nil {
		return err
	}
	if e.commit != nil {
		if err := t.store.addCommit(ctx, tx, e.ns, *e.commit); err != nil {
			return err
		}
	}
	lacks, err := t.await(ctx, tx, e)
	if err != nil || lacks > 0 {
		return err
	}
	e.done, err = t.finish(ctx, tx, e.ns, e.object.Name)
	return err
}

// await stores the edges to children and returns how many are incomplete.
func (t *TreeHub) await(ctx context.Context, tx *sqlx.Tx, e *entry) (int, error) {
	if len(e.children) == 0 {
		return 0, nil
	}
	have, err := t.store.complete(ctx, tx, e.ns, e.children)
	if err != nil {
		return 0, err
	}
	rest := slices.DeleteFunc(slices.Clone(e.children), func(child string) bool { return have[child] })
	waiting, err := t.store.want(ctx, tx, e.ns, rest)
	if err != nil {
		return 0, err
	}
	if err := t.store.link(ctx, tx, e.ns, e.object.Name, e.children, waiting); err != nil {
		return 0, err
	}
	return len(waiting), t.store.settle(ctx, tx, e.ns, e.object.Name, len(waiting))
}

// finish goes up from an object that has become complete and returns all that
// became complete with it, itself included.
func (t *TreeHub) finish(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, name string) ([]string, error) {
	done := []string{name}
	for i := 0; i < len(done); i++ {
		parents, err := t.store.release(ctx, tx, ns, done[i])
		if err != nil {
			return nil, err
		}
		for _, parent := range parents {
			lacks, err := t.store.advance(ctx, tx, ns, parent)
			if err != nil {
				return nil, err
			}
			if lacks == 0 {
				done = append(done, parent)
			}
		}
	}
	return done, nil
}
