package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/uptane"
	"sealift/uptane/acceptance"
	"sealift/uptane/canonical"
)

// twinLife is how long a TUF twin waits for the document it belongs to.
const twinLife = 24 * time.Hour

// maxRootTwin bounds a root's twin, as clients do.
const maxRootTwin = 64 << 10

// StageTwin keeps the TUF document of a root or targets that is about to be
// pushed. The push publishes both if they say the same; a twin whose document
// does not come within a day is forgotten. Several may wait at once. Targets
// must be signed by the current keys, a root by its own. A twin that comes late,
// of the visible targets or of the earliest root that lacks one, is published at
// once. It answers ErrInvalid, ErrTooLarge, ErrExists for a root that has another
// twin, or a fault of Config.RootTwins.
func (r *Repo) StageTwin(ctx context.Context, ns uptane.Namespace, role uptane.Role, doc []byte) error {
	if len(doc) > MaxTargets {
		return tooLarge(role, len(doc))
	}
	if role == uptane.RoleRoot || role == uptane.RoleTargets {
		if err := acceptance.Form(uptane.TUF, uptane.ImageRepository, role, doc); err != nil {
			return err
		}
	}
	if _, err := r.repository(ctx, ns); err != nil {
		return err
	}
	row := twinRow{CreatedAt: r.now().UnixMilli()}
	switch role {
	case uptane.RoleRoot:
		if len(doc) > maxRootTwin {
			return ErrTooLarge.Withf("%d bytes of a root, of at most %d", len(doc), maxRootTwin)
		}
		d, err := uptane.OpenRoot(uptane.TUF, doc, nil, time.Time{})
		if err != nil {
			return ErrInvalid.With(err.Error())
		}
		row.Digest, row.Version, row.Document = rootDigest(&d.Payload), int(d.Payload.Version), d.Raw
		if late, err := r.lateRootTwin(ctx, ns, row.Version, d); late || err != nil {
			return err
		}
	case uptane.RoleTargets:
		ring, err := r.targetsRing(ctx, ns)
		if err != nil {
			return err
		}
		d, err := uptane.Open[metadata.TargetsType](uptane.TUF, doc, role, ring, time.Time{})
		if err != nil {
			return ErrInvalid.With(err.Error())
		}
		row.Digest, row.Version, row.Document = targetsDigest(role, &d.Payload), int(d.Payload.Version), d.Raw
		if late, err := r.lateTargetsTwin(ctx, ns, row, d.Signed); late || err != nil {
			return err
		}
	default:
		if !role.Delegation() {
			return ErrRoleMissing.Withf("twins of %s are not staged", role)
		}
		if late, err := r.readDelegatedTwin(ctx, ns, role, doc, &row); late || err != nil {
			return err
		}
	}
	if err := r.store.addTwin(ctx, r.store.db, ns, role, row); err != nil {
		return fmt.Errorf("staging twin of %s of %s: %w", role, ns, err)
	}
	return nil
}

// targetsDigest names what both flavours of targets say, whatever else the
// Uptane one says about each target.
func targetsDigest(role uptane.Role, t *metadata.TargetsType) string {
	files := make([]canonical.Value, 0, len(t.Targets))
	for _, name := range slices.Sorted(maps.Keys(t.Targets)) {
		file := t.Targets[name]
		files = append(files, canonical.List(canonical.Text(name), canonical.Int(file.Length),
			canonical.Text(hex.EncodeToString(file.Hashes["sha256"]))))
	}
	return digest(role, t.Version, t.Expires, canonical.List(files...))
}

// rootDigest names what both flavours of a root say: its keys too, so that
// nobody else's root of the same version can take the place of an honest twin.
func rootDigest(root *metadata.RootType) string {
	var said []canonical.Value
	for _, role := range slices.Sorted(maps.Keys(root.Roles)) {
		var ids []string
		for _, id := range root.Roles[role].KeyIDs {
			ids = append(ids, keyName(root.Keys[id], id))
		}
		slices.Sort(ids)
		said = append(said, canonical.Text(role), canonical.Int(int64(root.Roles[role].Threshold)), canonical.Text(strings.Join(ids, " ")))
	}
	return digest(uptane.RoleRoot, root.Version, root.Expires, canonical.List(said...))
}

// keyName is the same for a key in both flavours, whatever id it has there.
func keyName(key *metadata.Key, id string) string {
	if key == nil {
		return id
	}
	public, err := key.ToPublicKey()
	if err != nil {
		return id
	}
	k, err := uptane.NewKey(public)
	if err != nil {
		return id
	}
	return string(k.ID())
}

func digest(role uptane.Role, version int64, expires time.Time, content canonical.Value) string {
	v := canonical.List(canonical.Text(string(role)), canonical.Int(version), canonical.Int(expires.Unix()), content)
	sum := sha256.Sum256(v.Uptane())
	return hex.EncodeToString(sum[:])
}

// twin returns the staged TUF document of a payload, nil if there is none that
// says the same.
func (r *Repo) twin(ctx context.Context, ns uptane.Namespace, role uptane.Role, digest string, signed []byte) (*twinRow, error) {
	row, err := r.store.twin(ctx, ns, role, digest)
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading twin of %s of %s: %w", role, ns, err)
	}
	if row.PublishedAt == 0 && r.now().Sub(time.UnixMilli(row.CreatedAt)) > twinLife {
		return nil, nil
	}
	e, err := uptane.ParseEnvelope(uptane.TUF, row.Document)
	if err == nil {
		err = uptane.Twins(role, signed, e.Signed)
	}
	if err != nil {
		r.log.WarnContext(ctx, "staged TUF document left out", "namespace", ns, "role", role, "reason", err)
		return nil, nil
	}
	return &row, nil
}

// lateTargetsTwin publishes the TUF document of the visible targets, when they
// were pushed without. It reports whether that is what row was.
func (r *Repo) lateTargetsTwin(ctx context.Context, ns uptane.Namespace, row twinRow, signed []byte) (bool, error) {
	repository, err := r.repository(ctx, ns)
	if err != nil || repository.Push == "" || repository.TUFPush == repository.Push {
		return false, err
	}
	push, err := r.store.push(ctx, ns, repository.Push)
	if err != nil {
		return false, fmt.Errorf("reading targets of %s: %w", ns, err)
	}
	e, err := uptane.ParseEnvelope(uptane.Uptane, push.Document)
	if err != nil {
		return false, fmt.Errorf("reading targets of %s: %w", ns, err)
	}
	if uptane.Twins(uptane.RoleTargets, e.Signed, signed) != nil {
		return false, nil // it waits for a push of its own
	}
	seen, err := r.twinOf(ctx, ns, acceptance.Set{Targets: row.Document}, func(e *edition) { e.push = push })
	var s signedSet
	if err == nil {
		s, err = r.sealTwin(ctx, ns, seen)
	}
	if errors.Is(err, errSuperseded) || errors.Is(err, errAgain) {
		return false, ErrBusy
	}
	if err != nil {
		return false, fmt.Errorf("judging TUF targets of %s: %w", ns, err)
	}
	err = r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		now, err := r.store.lock(ctx, tx, ns)
		if err != nil {
			return err
		}
		if err := r.twinInOrder(ctx, tx, ns, seen, s); err != nil {
			return err
		}
		if now.Push != push.ID || now.TUFPush == push.ID {
			return errSuperseded
		}
		if err := r.store.addTwin(ctx, tx, ns, uptane.RoleTargets, row); err != nil {
			return err
		}
		return r.makeTwinVisible(ctx, tx, ns, push.ID, row)
	})
	if errors.Is(err, errSuperseded) || errors.Is(err, errAgain) {
		return false, ErrBusy
	}
	if err != nil {
		return false, fmt.Errorf("publishing TUF targets of %s: %w", ns, err)
	}
	r.forget(ns)
	r.log.InfoContext(ctx, "TUF document of visible targets published", "namespace", ns, "version", push.Version)
	return true, nil
}

// makeTwinVisible lets TUF clients see a push whose targets are, or become in tx,
// the visible ones.
func (r *Repo) makeTwinVisible(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, push string, twin twinRow) error {
	done, err := r.store.publishTwin(ctx, tx, ns, uptane.RoleTargets, twin, r.now().UnixMilli())
	if err != nil {
		return err
	}
	if !done {
		return errAgain // another was staged in its place since it was compared
	}
	if err := r.store.setTUFPush(ctx, tx, ns, push); err != nil {
		return err
	}
	return r.voidOthers(ctx, tx, tree{ns, uptane.TUF})
}

// lateRootTwin adds the TUF flavour of a root that is published already. It
// reports whether that is what d was.
func (r *Repo) lateRootTwin(ctx context.Context, ns uptane.Namespace, version int, d uptane.Document[metadata.RootType]) (bool, error) {
	if r.cfg.RootTwins == nil {
		return false, nil
	}
	last, err := r.cfg.RootVersion(ctx, ns, uptane.ImageRepository)
	if err != nil || version > last {
		return false, err
	}
	have, err := r.cfg.RootTwins.RootTwinVersion(ctx, ns)
	if err != nil {
		return false, err
	}
	if version > have+1 {
		return false, ErrInvalid.Withf("the TUF document of root version %d must come first", have+1)
	}
	if version == have+1 {
		if err := r.cfg.RootTwins.PutRootTwin(ctx, ns, d.Raw); err != nil {
			return false, fmt.Errorf("adding TUF root version %d of %s: %w", version, ns, err)
		}
		r.forget(ns)
		return true, nil
	}
	raw, err := r.cfg.RootTwins.RootTwin(ctx, ns, version)
	if err != nil {
		return false, err
	}
	if e, err := uptane.ParseEnvelope(uptane.TUF, raw); err != nil || !bytes.Equal(e.Signed, d.Signed) {
		return false, ErrExists.Withf("root version %d has another TUF document, for ever", version)
	}
	return true, nil // sent again
}
