package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/internal/fsck"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// How many rows are looked at between two looks at the tables; targets may have
// megabytes each.
const (
	verifyPage   = 200
	verifyPushes = 8
)

// Verify checks everything that is stored, of all namespaces, and writes what
// it finds into a: every signed document is opened under its root again, what
// documents say of one another is compared, the tables are held against the
// visible targets, every image and part is read, every OSTree target's commit
// is asked for; blobs that no row names are counted. It changes nothing and may
// run while others push. Errors are accidents.
func (r *Repo) Verify(ctx context.Context, a *fsck.Account) error {
	list, err := r.store.namespaces(ctx)
	if err != nil {
		return fmt.Errorf("listing Image repositories: %w", err)
	}
	for _, ns := range list {
		v := &verification{Repo: r, ns: ns, account: a}
		for _, step := range []func(context.Context) error{v.roots, v.pushes, v.documents, v.twins, v.delegations, v.targets, v.images, v.parts} {
			if err := step(ctx); err != nil {
				return fmt.Errorf("verifying Image repository of %s: %w", ns, err)
			}
		}
	}
	if err := a.Blobs(ctx, r.bucket, r.store.named); err != nil {
		return fmt.Errorf("looking for blobs of Image repositories that no row names: %w", err)
	}
	return nil
}

// verification is the check of one namespace.
type verification struct {
	*Repo
	ns      uptane.Namespace
	account *fsck.Account
	chain   []*metadata.RootType // version 1 first; nil for one that cannot be read
}

func (v *verification) damaged(what, format string, args ...any) {
	v.account.Damaged(v.ns, what+" of the image repository", format, args...)
}

// roots reads the roots under which documents were signed. Whether they are
// sound is for the one who keeps them to verify.
func (v *verification) roots(ctx context.Context) error {
	last, err := v.cfg.RootVersion(ctx, v.ns, uptane.ImageRepository)
	if fault.Of(err) != nil { // none yet
		return nil
	}
	for version := 1; err == nil && version <= last; version++ {
		var raw []byte
		raw, err = v.cfg.Roots.Root(ctx, v.ns, uptane.ImageRepository, version)
		if fault.Of(err) != nil {
			err = nil
		}
		d, unreadable := uptane.OpenRoot(uptane.Uptane, raw, nil, time.Time{})
		if unreadable != nil {
			v.chain = append(v.chain, nil)
			continue
		}
		v.chain = append(v.chain, &d.Payload)
	}
	return err
}

// ring is the trust of a root in a role.
func (v *verification) ring(version int, role uptane.Role) (uptane.Keyring, error) {
	if version < 1 || version > len(v.chain) || v.chain[version-1] == nil {
		return uptane.Keyring{}, fmt.Errorf("there is no readable root version %d", version)
	}
	return uptane.RingOf(uptane.Uptane, v.chain[version-1], role)
}

// open opens offline-signed targets under the newest root that speaks for them.
func (v *verification) open(f uptane.Flavour, doc []byte) (uptane.Document[metadata.TargetsType], error) {
	err := errors.New("there is no root")
	var d uptane.Document[metadata.TargetsType]
	for version := len(v.chain); version > 0; version-- {
		ring, unreadable := v.ring(version, uptane.RoleTargets)
		if unreadable != nil {
			continue
		}
		if d, err = uptane.Open[metadata.TargetsType](f, doc, uptane.RoleTargets, ring, time.Time{}); err == nil {
			return d, nil
		}
	}
	return d, err
}

func (v *verification) pushes(ctx context.Context) error {
	versions, err := v.store.pushVersions(ctx, v.ns)
	if err != nil {
		return err
	}
	for after := ""; ; {
		page, err := v.store.pushesAfter(ctx, v.ns, after, verifyPushes)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, p := range page {
			v.account.Looked("image targets", 1)
			after = p.ID
			if problem := v.push(p, versions); problem != "" {
				v.damaged(fmt.Sprintf("targets %d (push %s)", p.Version, p.ID), "%s", problem)
			}
		}
	}
}

func (v *verification) push(p pushRow, versions map[string]int) string {
	d, err := v.open(uptane.Uptane, p.Document)
	base, known := versions[p.Base]
	switch {
	case err != nil:
		return err.Error()
	case !bytes.Equal(d.Raw, p.Document) || checksum(p.Document) != p.Checksum:
		return "it is not canonical, or has another checksum than its row"
	case d.Payload.Version != int64(p.Version) || d.Payload.Expires.UnixMilli() != p.Expires:
		return fmt.Sprintf("it says version %d until %s, its row another", d.Payload.Version, d.Payload.Expires.Format(time.RFC3339))
	case p.Base != "" && !known:
		return fmt.Sprintf("the push %s that it replaces is not there", p.Base)
	case base >= p.Version:
		return fmt.Sprintf("it replaces version %d", base)
	}
	return ""
}

// documents verifies snapshots and timestamps of both flavours.
func (v *verification) documents(ctx context.Context) error {
	for _, f := range []uptane.Flavour{uptane.Uptane, uptane.TUF} {
		for _, role := range []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp} {
			docs := v.store.of(tree{v.ns, f})
			for after := 0; ; {
				page, err := docs.after(ctx, role, after, verifyPage)
				if err != nil {
					return err
				}
				if len(page) == 0 {
					break
				}
				for _, row := range page {
					after = row.Version
					problem, err := v.document(ctx, docs, role, row)
					if err != nil {
						return err
					}
					if problem != "" {
						v.damaged(fmt.Sprintf("%s %d (%s)", role, row.Version, f), "%s", problem)
					}
				}
			}
		}
	}
	return nil
}

func (v *verification) document(ctx context.Context, docs documents, role uptane.Role, row storedDocument) (string, error) {
	if row.Document == nil {
		v.account.Looked("documents not signed", 1)
		return "", nil
	}
	v.account.Looked("image snapshots and timestamps", 1)
	if row.Void {
		return "it was given up and signed all the same", nil
	}
	ring, err := v.ring(row.RootVersion, role)
	if err != nil {
		return err.Error(), nil
	}
	if role == uptane.RoleTimestamp {
		return v.timestamp(ctx, docs, row, ring)
	}
	d, err := uptane.Open[metadata.SnapshotType](docs.flavour, row.Document, role, ring, time.Time{})
	if err != nil {
		return err.Error(), nil
	}
	push, err := v.store.push(ctx, v.ns, row.Push)
	if errors.Is(err, db.ErrNoRows) { // it was staged, and another push came first
		push.Version, err = int(d.Payload.Meta[uptane.RoleTargets.Filename(0)].Version), nil
	}
	if err != nil {
		return "", err
	}
	if named := d.Payload.Meta[uptane.RoleTargets.Filename(0)]; named == nil || named.Version != int64(push.Version) {
		return fmt.Sprintf("it does not name targets %d", push.Version), nil
	}
	if listingIn(&d.Payload).key() != row.Listing {
		return "it lists other delegated roles than its row", nil
	}
	return sameRow(row.documentRow, d.Signed, d.Payload.Version, d.Payload.Expires), nil
}

func (v *verification) timestamp(ctx context.Context, docs documents, row storedDocument, ring uptane.Keyring) (string, error) {
	d, err := uptane.Open[metadata.TimestampType](docs.flavour, row.Document, uptane.RoleTimestamp, ring, time.Time{})
	if err != nil {
		return err.Error(), nil
	}
	snapshot, err := docs.document(ctx, uptane.RoleSnapshot, row.Snapshot)
	if errors.Is(err, db.ErrNoRows) {
		return fmt.Sprintf("the snapshot %d that it names is not there", row.Snapshot), nil
	}
	if err != nil {
		return "", err
	}
	next := metadata.SnapshotType{Version: int64(snapshot.Version)}
	if err := uptane.CheckSnapshot(&d.Payload, snapshot.Document, nil, &next); err != nil {
		return err.Error(), nil
	}
	return sameRow(row.documentRow, d.Signed, d.Payload.Version, d.Payload.Expires), nil
}

// sameRow holds what a document says against its row: what was signed must be
// what was written ahead.
func sameRow(row documentRow, signed []byte, version int64, expires time.Time) string {
	switch {
	case !bytes.Equal(signed, row.Payload):
		return "something else was signed than was written ahead"
	case version != int64(row.Version) || expires.UnixMilli() != row.Expires:
		return fmt.Sprintf("it says version %d until %s, its row another", version, expires.Format(time.RFC3339))
	}
	return ""
}

// twins verifies the TUF documents of targets.
func (v *verification) twins(ctx context.Context) error {
	list, err := v.store.twins(ctx, v.ns)
	if err != nil {
		return err
	}
	for _, t := range list {
		v.account.Looked("TUF targets", 1)
		what := fmt.Sprintf("TUF targets %d", t.Version)
		d, err := v.open(uptane.TUF, t.Document)
		if err != nil {
			v.damaged(what, "%v", err)
			continue
		}
		push, err := v.store.publishedPush(ctx, v.ns, t.Version)
		if errors.Is(err, db.ErrNoRows) {
			v.damaged(what, "there are no published targets of that version for devices")
			continue
		}
		if err != nil {
			return err
		}
		e, err := uptane.ParseEnvelope(uptane.Uptane, push.Document)
		if err == nil {
			err = uptane.Twins(uptane.RoleTargets, e.Signed, d.Signed)
		}
		if err != nil {
			v.damaged(what, "%v", err)
		}
	}
	return nil
}

// completeTarget asks whether the commit of an OSTree target is all there.
func (v *verification) completeTarget(ctx context.Context, t targetRow) error {
	sum, err := ostree.ParseChecksum(t.SHA256)
	if err != nil {
		v.damaged("target "+t.Filename, "%q is no commit", t.SHA256)
		return nil
	}
	err = v.cfg.Complete(ctx, v.ns, sum)
	if f := fault.Of(err); f != nil {
		v.damaged("target "+t.Filename, "%v", f)
		return nil
	}
	return err
}
