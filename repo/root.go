package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/fault"
	"sealift/uptane"
)

// rootLife is the life that an unsigned next root proposes.
const rootLife = 365 * 24 * time.Hour

// rootDocument is the current root, read.
type rootDocument struct {
	version int
	payload metadata.RootType
}

// root returns the current root. Reading it verifies its own signatures, so
// what was read is kept as long as the version is the same.
func (r *Repo) root(ctx context.Context, ns uptane.Namespace) (*rootDocument, error) {
	version, err := r.cfg.RootVersion(ctx, ns, uptane.ImageRepository)
	if err != nil {
		return nil, fmt.Errorf("reading root version of %s: %w", ns, err)
	}
	if known, ok := r.roots.Load(ns); ok && known.(*rootDocument).version == version {
		return known.(*rootDocument), nil
	}
	raw, err := r.cfg.Roots.Root(ctx, ns, uptane.ImageRepository, version)
	if err != nil {
		return nil, fmt.Errorf("reading root of %s: %w", ns, err)
	}
	d, err := uptane.OpenRoot(uptane.Uptane, raw, nil, time.Time{})
	if err != nil {
		return nil, fmt.Errorf("reading root of %s: %w", ns, err)
	}
	root := &rootDocument{version: version, payload: d.Payload}
	r.roots.Store(ns, root)
	return root, nil
}

// NextRoot returns the payload of the root that may come next: the current one
// with the next version and a year to live, unsigned, in canonical form.
func (r *Repo) NextRoot(ctx context.Context, ns uptane.Namespace) ([]byte, error) {
	root, err := r.root(ctx, ns)
	if err != nil {
		return nil, err
	}
	next := root.payload
	next.Version++
	from := r.now()
	if row, err := r.repository(ctx, ns); err == nil && row.NotBefore > from.UnixMilli() {
		from = time.UnixMilli(row.NotBefore)
	}
	next.Expires = from.Add(rootLife).UTC().Truncate(time.Second)
	b, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, &next)
	if err != nil {
		return nil, fmt.Errorf("proposing the next root of %s: %w", ns, err)
	}
	return b, nil
}

// PutRoot makes doc the current root, together with its TUF twin if one is
// staged. It answers the faults of Config.PutRoots, and ErrTwinMissing where TUF
// is on and no twin is staged: its clients could not follow. Devices get snapshot
// and timestamp signed under it from then on; targets stay as they are until the
// next push.
func (r *Repo) PutRoot(ctx context.Context, ns uptane.Namespace, doc []byte) error {
	if r.cfg.PutRoots == nil {
		return ErrInvalid.With("this server takes no new roots")
	}
	return r.PutRootBy(ctx, ns, doc, func(ctx context.Context, root, twin []byte) error {
		return r.cfg.PutRoots(ctx, ns, uptane.ImageRepository, root, twin)
	})
}

// PutRootBy is [Repo.PutRoot] with put in place of Config.PutRoots.
func (r *Repo) PutRootBy(ctx context.Context, ns uptane.Namespace, doc []byte, put func(ctx context.Context, root, twin []byte) error) error {
	var twin *twinRow
	var bytes []byte
	row, err := r.repository(ctx, ns)
	if err != nil && !errors.Is(err, ErrNoRepository) { // the first root comes before the repository
		return err
	}
	// What is no root has no twin, and Config.PutRoots says why.
	if d, err := uptane.OpenRoot(uptane.Uptane, doc, nil, time.Time{}); err == nil {
		if twin, err = r.twin(ctx, ns, uptane.RoleRoot, rootDigest(&d.Payload), d.Signed); err != nil {
			return err
		}
		if twin != nil {
			bytes = twin.Document
		} else if row.TUF {
			if err := r.requireRootTwin(ctx, ns, int(d.Payload.Version)); err != nil {
				return err
			}
		}
	}
	err = put(ctx, doc, bytes)
	if f := fault.Of(err); f != nil && f.Kind() == fault.Invalid && twin != nil && !row.TUF {
		// TUF clients can wait, devices cannot: try without.
		if alone := put(ctx, doc, nil); alone == nil {
			r.log.WarnContext(ctx, "root published without its TUF document", "namespace", ns, "reason", err)
			err, twin = nil, nil
		}
	}
	if err != nil {
		return fmt.Errorf("replacing root of %s: %w", ns, err)
	}
	r.watch(ctx, ns, uptane.RoleRoot, doc)
	r.forget(ns)
	r.settle(ctx)
	if errors.Is(r.RequireTrusted(ctx, ns), ErrTargetsUntrusted) {
		r.log.WarnContext(ctx, "the new root names other keys of targets than have signed the visible ones; no device updates until targets are signed and pushed again",
			"namespace", ns)
	}
	if twin == nil {
		return nil
	}
	if _, err := r.store.publishTwin(ctx, r.store.db, ns, uptane.RoleRoot, *twin, r.now().UnixMilli()); err != nil {
		r.log.ErrorContext(ctx, "keeping twin of root failed", "namespace", ns, "error", err)
	}
	return nil
}
