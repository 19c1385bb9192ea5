package treehub

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	o, err := t.store.object(ctx, t.store.db, ns, up.Name)
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
	err = t.enter(ctx, newEntry(ns, up, res, generation.String(), t.now()))
	if errors.Is(err, db.ErrExists) { // someone else was faster
		t.discard(ctx, key)
		return ErrObjectExists
	}
	if err != nil {
		return t.afterAccident(ctx, ns, up.Name, generation.String(), err)
	}
	return nil
}

// afterAccident finds out whether an upload was entered after all: when a
// connection breaks while a transaction commits, nobody says. The blob goes
// only if it certainly was not.
func (t *TreeHub) afterAccident(ctx context.Context, ns uptane.Namespace, name ostree.ObjectName, generation string, accident error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaning)
	defer cancel()
	var o object
	err := t.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		// The transaction may not be over yet: its locks tell.
		_, err := t.store.want(ctx, tx, ns, []string{name.String()})
		if err == nil {
			o, err = t.store.object(ctx, tx, ns, name)
		}
		if err == nil {
			err = errSeen // and nothing is kept
		}
		return err
	})
	switch {
	case !errors.Is(err, errSeen): // nobody can say
	case o.Generation == generation:
		return nil
	default:
		t.discard(ctx, blobKey(ns, name, generation))
	}
	return fmt.Errorf("entering %s of %s: %w", name, ns, accident)
}

// errSeen ends a transaction that was to find something out.
var errSeen = errors.New("seen")

func mutable(name ostree.ObjectName) bool { return name.Type == ostree.TypeCommitMeta }

func blobKey(ns uptane.Namespace, name ostree.ObjectName, generation string) string {
	return string(ns) + "/objects/" + name.Path() + "." + generation
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
