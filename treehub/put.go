package treehub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"sealift/internal/db"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// MaxObject bounds the bytes of one object.
const MaxObject = 3 << 30

// cleaning bounds how long a left-over blob may keep an answer back.
const cleaning = 10 * time.Second

// Upload says what is to be stored.
type Upload struct {
	Name ostree.ObjectName
	// Size is how many bytes follow, -1 if that is not known.
	Size int64
	// By names the uploader, for [TreeHub.Commits].
	By string
}

// Put stores an object. It answers ErrObjectExists, without reading r, if the
// object is stored already, complete or not; ErrInvalidObject naming the rule;
// ErrObjectTooLarge; ErrUploadBroken if r fails. A commitmeta is signatures,
// which may be renewed: it replaces the one before.
func (t *TreeHub) Put(ctx context.Context, ns uptane.Namespace, up Upload, r io.Reader) error {
	if up.Name.Type == ostree.TypeTombstone {
		return ErrInvalidObject.With("tombstones are not uploaded")
	}
	if up.Size > MaxObject {
		return ErrObjectTooLarge.Withf("%d bytes, of at most %d", up.Size, int64(MaxObject))
	}
	o, err := t.store.object(ctx, ns, up.Name)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return fmt.Errorf("looking for %s of %s: %w", up.Name, ns, err)
	}
	if o.stored() && !mutable(up.Name) {
		return ErrObjectExists
	}
	generation, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("naming the blob of %s: %w", up.Name, err)
	}
	key := blobKey(ns, up.Name, generation.String())
	res, err := t.receive(ctx, key, up, r)
	if err != nil {
		return fmt.Errorf("storing %s of %s: %w", up.Name, ns, err)
	}
	if err := t.enter(ctx, ns, up, res, generation.String()); err != nil {
		t.discard(ctx, key)
		if errors.Is(err, db.ErrExists) {
			return ErrObjectExists // someone else was faster
		}
		return fmt.Errorf("entering %s of %s: %w", up.Name, ns, err)
	}
	return nil
}

func mutable(name ostree.ObjectName) bool { return name.Type == ostree.TypeCommitMeta }

func blobKey(ns uptane.Namespace, name ostree.ObjectName, generation string) string {
	return string(ns) + "/objects/" + name.Path() + "/" + generation
}

// receive verifies what flows into the bucket and leaves nothing there unless
// it is right.
func (t *TreeHub) receive(ctx context.Context, key string, up Upload, r io.Reader) (ostree.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := t.bucket.NewWriter(ctx, key, &blob.WriterOptions{ContentType: "application/octet-stream"})
	if err != nil {
		return ostree.Result{}, err
	}
	body := &incoming{r: r, left: MaxObject}
	res, err := ostree.VerifyReader(up.Name, up.Size, io.TeeReader(body, w))
	if err != nil {
		cancel() // before Close: then Close drops what was written
		_ = w.Close()
		return ostree.Result{}, body.explain(err)
	}
	return res, w.Close()
}

// incoming is the uploader's side of an upload: it remembers that it failed,
// which is not the server's fault, and enforces MaxObject where no size was told.
type incoming struct {
	r    io.Reader
	left int64
	err  error
}

func (in *incoming) Read(p []byte) (int, error) {
	if in.left <= 0 {
		// One byte decides between an object of just this size and a larger one.
		p = p[:min(len(p), 1)]
	}
	n, err := in.r.Read(p)
	if in.left -= int64(n); in.left < 0 {
		err = ErrObjectTooLarge
	}
	if err != nil && err != io.EOF {
		in.err = err
	}
	return n, err
}

// explain turns what verifying said into a fault, unless our side failed.
func (in *incoming) explain(err error) error {
	var rule *ostree.RuleError
	switch {
	case errors.Is(err, ErrObjectTooLarge):
		return err
	case in.err != nil:
		return ErrUploadBroken.Wrap(in.err)
	case errors.As(err, &rule):
		return ErrInvalidObject.With(rule.Error())
	}
	return err
}

// discard removes a blob that no row names, even if the caller has gone.
func (t *TreeHub) discard(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaning)
	defer cancel()
	if err := t.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		t.log.WarnContext(ctx, "left-over blob", "key", key, "err", err)
	}
}

// enter makes a blob in the bucket an object, and whatever waited for it
// complete. It returns db.ErrExists if another upload came first.
func (t *TreeHub) enter(ctx context.Context, ns uptane.Namespace, up Upload, res ostree.Result, generation string) error {
	o := object{Name: up.Name.String(), Generation: generation, Size: res.Size, StoredAt: t.now().UnixMilli()}
	if mutable(up.Name) {
		return t.replace(ctx, ns, up.Name, o)
	}
	children := make([]string, len(res.Edges))
	for i, edge := range res.Edges {
		children[i] = edge.String()
	}
	slices.Sort(children)
	if len(children) > 0 {
		o.Lacks = 1 // until they are counted
	}
	var done []string
	err := t.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := t.store.enter(ctx, tx, ns, o); err != nil {
			return err
		}
		if res.Commit != nil {
			if err := t.store.addCommit(ctx, tx, ns, commitRow(up, res.Commit, o.StoredAt)); err != nil {
				return err
			}
		}
		lacks, err := t.await(ctx, tx, ns, o.Name, children)
		if err != nil || lacks > 0 {
			return err
		}
		done, err = t.finish(ctx, tx, ns, o.Name)
		return err
	})
	if err != nil {
		return err
	}
	t.measureCommits(ctx, ns, done)
	return nil
}

// await stores the edges to children and returns how many are incomplete.
func (t *TreeHub) await(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, name string, children []string) (int, error) {
	if len(children) == 0 {
		return 0, nil
	}
	have, err := t.store.complete(ctx, tx, ns, children)
	if err != nil {
		return 0, err
	}
	rest := slices.DeleteFunc(slices.Clone(children), func(child string) bool { return have[child] })
	waiting, err := t.store.want(ctx, tx, ns, rest)
	if err != nil {
		return 0, err
	}
	if err := t.store.link(ctx, tx, ns, name, children, waiting); err != nil {
		return 0, err
	}
	return len(waiting), t.store.settle(ctx, tx, ns, name, len(waiting))
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

// replace enters an object that may have been there before; nothing refers to
// such an object, so nothing waits for it.
func (t *TreeHub) replace(ctx context.Context, ns uptane.Namespace, name ostree.ObjectName, o object) error {
	var before string
	err := t.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) (err error) {
		before, err = t.store.replace(ctx, tx, ns, o)
		return err
	})
	if err == nil && before != "" {
		t.discard(ctx, blobKey(ns, name, before))
	}
	return err
}
