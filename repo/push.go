package repo

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// Sizes of targets metadata in bytes.
const (
	// MaxTargets is what devices read at most.
	MaxTargets = 8 << 20
	// largeTargets is worth a word to the operator: every device that updates
	// loads it, and some only over a slow link.
	largeTargets = 1 << 20
)

// shortLife is a rest of life of pushed targets that the operator should know
// about: when it is over, no device updates until the next push.
const shortLife = 7 * 24 * time.Hour

// PutTargets publishes targets metadata that was signed elsewhere. checksum is
// that of the visible targets metadata, which the push replaces; it is not
// looked at for the first push. by names who pushes. The result is the checksum
// of what is visible now.
//
// In this order it answers acceptance.ErrRefused for what no client reads,
// ErrNoChecksum or ErrChecksum, ErrInvalidTargets with all [Reasons], ErrVersionBump;
// then, when snapshot and timestamp cannot be signed, ErrRootExpired or the
// Signer's fault. Nothing is visible then, and the same push may be sent again.
//
// In recovery any higher version is taken, whatever it was made from: pushes that
// came after the backup are lost, and clients may have seen them. Bytes that were
// lost with them are no reason to refuse it then.
func (r *Repo) PutTargets(ctx context.Context, ns uptane.Namespace, doc []byte, checksum, by string) (string, error) {
	return r.putTargets(ctx, ns, doc, checksum, by, "")
}

// putTargets is PutTargets of targets that wait under that id, "" for none: they
// wait no longer when they are visible, and are not published once given up.
func (r *Repo) putTargets(ctx context.Context, ns uptane.Namespace, doc []byte, checksum, by, waiting string) (string, error) {
	if len(doc) > MaxTargets {
		return "", tooLarge(uptane.RoleTargets, len(doc))
	}
	for range maxTries {
		p, err := r.accept(ctx, ns, doc, checksum, by)
		if err != nil {
			return "", err
		}
		p.waiting = waiting
		err = r.publish(ctx, ns, p)
		if err == nil {
			return p.row.Checksum, nil
		}
		if !errors.Is(err, errSuperseded) && !errors.Is(err, errAgain) && !errors.Is(err, uptane.ErrRootChanged) {
			return "", fmt.Errorf("publishing targets of %s: %w", ns, err)
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
	}
	return "", ErrBusy
}

// push is a push that was found good.
type push struct {
	row     pushRow
	root    int // version of the root it was verified under
	changes changes
	grown   growth   // what it makes of the roles it delegates to
	listing listing  // of these, as it is
	base    stand    // what it replaces
	twin    *twinRow // the TUF document that is published with it, nil if there is none
	past    bool     // clients may know it already
	waiting string   // id under which it waited for signatures, "" if it did not
}

// accept judges a push and stages it.
func (r *Repo) accept(ctx context.Context, ns uptane.Namespace, doc []byte, checksum, by string) (*push, error) {
	if err := acceptance.Form(uptane.Uptane, uptane.ImageRepository, uptane.RoleTargets, doc); err != nil {
		return nil, err
	}
	repository, err := r.repository(ctx, ns)
	if err != nil {
		return nil, err
	}
	base, stale := r.base(ctx, ns, repository, checksum)
	if stale != nil && !(repository.Recovering && errors.Is(stale, ErrChecksum)) {
		return nil, stale
	}
	d, root, err := r.open(ctx, ns, doc)
	if err != nil {
		return nil, err
	}
	ahead := repository.Recovering && d.Payload.Version > int64(base.Version)
	if stale != nil && !ahead {
		return nil, stale
	}
	p := &push{root: root}
	var reasons []string
	var missing *[]string
	if stale != nil || d.Payload.Version > int64(base.Version)+1 {
		missing = &[]string{}
	}
	if p.changes, reasons, err = r.checkTop(ctx, ns, d, missing); err != nil {
		return nil, err
	}
	if reasons, err = r.growTop(ctx, ns, p, repository, d, reasons); err != nil {
		return nil, err
	}
	if why := repository.policy().bornShort(r.now(), d.Payload.Expires); why != "" {
		reasons = append(reasons, why)
	}
	if len(reasons) > 0 {
		return nil, refuse(ErrInvalidTargets, reasons...)
	}
	if d.Payload.Version != int64(base.Version)+1 && !ahead {
		return nil, ErrVersionBump.Withf("version %d, expected %d", d.Payload.Version, base.Version+1)
	}
	if p.row, err = r.stage(ctx, ns, base, d, by); err != nil {
		return nil, err
	}
	if p.twin, err = r.twin(ctx, ns, uptane.RoleTargets, targetsDigest(uptane.RoleTargets, &d.Payload), d.Signed); err != nil {
		return nil, err
	}
	r.remark(ctx, ns, uptane.RoleTargets, d)
	if missing != nil && len(*missing) > 0 {
		r.log.WarnContext(ctx, "targets came back whose bytes are not here; bring them again", "namespace", ns, "version", d.Payload.Version, "targets", *missing)
	}
	return p, nil
}

// base returns the visible push once the caller has shown that it knows it.
func (r *Repo) base(ctx context.Context, ns uptane.Namespace, repository repositoryRow, checksum string) (pushRow, error) {
	if repository.Push == "" {
		return pushRow{}, nil
	}
	base, err := r.store.push(ctx, ns, repository.Push)
	if err != nil {
		return base, fmt.Errorf("reading targets of %s: %w", ns, err)
	}
	if !uptane.KeyID(checksum).Valid() { // 64 lower-case hex digits
		return base, ErrNoChecksum
	}
	if subtle.ConstantTimeCompare([]byte(checksum), []byte(base.Checksum)) != 1 {
		return base, ErrChecksum.Withf("version %d with checksum %s is visible; pull and sign again", base.Version, base.Checksum)
	}
	return base, nil
}

// open verifies a push under the current root.
func (r *Repo) open(ctx context.Context, ns uptane.Namespace, doc []byte) (uptane.Document[metadata.TargetsType], int, error) {
	var none uptane.Document[metadata.TargetsType]
	root, err := r.root(ctx, ns)
	if err != nil {
		return none, 0, err
	}
	ring, err := uptane.RingOf(uptane.Uptane, &root.payload, uptane.RoleTargets)
	if err != nil {
		return none, 0, fmt.Errorf("reading targets keys of %s: %w", ns, err)
	}
	d, err := uptane.Open[metadata.TargetsType](uptane.Uptane, doc, uptane.RoleTargets, ring, time.Time{})
	switch {
	case err == nil:
		if len(d.Raw) > MaxTargets {
			return none, 0, ErrTooLarge.Withf("%d bytes in canonical form, of at most %d", len(d.Raw), MaxTargets)
		}
		return d, root.version, nil
	case errors.Is(err, uptane.ErrSignature), errors.Is(err, uptane.ErrKey):
		return none, 0, refuse(ErrInvalidTargets, fmt.Sprintf("%v (under root version %d)", err, root.version))
	default:
		return none, 0, ErrInvalid.With(err.Error())
	}
}

func (r *Repo) targetsRing(ctx context.Context, ns uptane.Namespace) (uptane.Keyring, error) {
	root, err := r.root(ctx, ns)
	if err != nil {
		return uptane.Keyring{}, err
	}
	return uptane.RingOf(uptane.Uptane, &root.payload, uptane.RoleTargets)
}

// remark tells the operator what is allowed and may still surprise.
func (r *Repo) remark(ctx context.Context, ns uptane.Namespace, role uptane.Role, d uptane.Document[metadata.TargetsType]) {
	r.remarkEnd(ctx, ns, role, d.Payload.Version, d.Payload.Expires)
	r.watch(ctx, ns, role, d.Raw)
	if len(d.Raw) > largeTargets {
		r.log.WarnContext(ctx, "pushed targets are large; old devices read 1 MiB, none reads more than 8 MiB",
			"namespace", ns, "version", d.Payload.Version, "bytes", len(d.Raw))
	}
}

// stage stores a push where nobody sees it. The same bytes on the same base are
// one push, so that one that broke off is taken up again.
func (r *Repo) stage(ctx context.Context, ns uptane.Namespace, base pushRow, d uptane.Document[metadata.TargetsType], by string) (pushRow, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return pushRow{}, fmt.Errorf("naming push to %s: %w", ns, err)
	}
	row := pushRow{ID: id.String(), Base: base.ID, Version: int(d.Payload.Version), Checksum: checksum(d.Raw), Document: d.Raw,
		Expires: d.Payload.Expires.UnixMilli(), CreatedAt: r.now().UnixMilli(), CreatedBy: by}
	err = r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		repository, err := r.store.lock(ctx, tx, ns)
		if err != nil {
			return err
		}
		if repository.Push != base.ID {
			return ErrChecksum.With("another push became visible meanwhile; pull and sign again")
		}
		row, err = r.store.stage(ctx, tx, ns, row)
		return err
	})
	if err != nil {
		return row, fmt.Errorf("staging targets of %s: %w", ns, err)
	}
	return row, nil
}

// publish makes a staged push visible with the delegations beside it.
func (r *Repo) publish(ctx context.Context, ns uptane.Namespace, p *push) error {
	roles, err := r.changedRoles(ctx, ns, p.grown)
	if err != nil {
		return err
	}
	var twin *twinEdition
	if p.twin != nil {
		twin, err = r.twinOf(ctx, ns, acceptance.Set{Targets: p.twin.Document, Past: p.past}, func(e *edition) { e.push = p.row })
		if err != nil {
			return err
		}
	}
	set, err := r.publishEdition(ctx, ns, publication{
		edition: edition{p.row, p.listing}, base: p.base, root: p.root, twin: twin,
		action: actTargets, detail: fmt.Sprintf("targets version %d, sha256 %s", p.row.Version, p.row.Checksum),
		set:   acceptance.Set{Targets: p.row.Document, Delegations: roles, Past: p.past},
		apply: func(ctx context.Context, tx *sqlx.Tx) error { return r.makeVisible(ctx, tx, ns, p) },
	})
	if err != nil {
		return err
	}
	r.log.InfoContext(ctx, "targets published", "namespace", ns, "version", p.row.Version, "by", p.row.CreatedBy,
		"added", len(p.changes.added), "removed", len(p.changes.removed), "snapshot", set.snapshot.Version, "timestamp", set.timestamp.Version, "tuf", p.twin != nil)
	return nil
}

func (r *Repo) makeVisible(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, p *push) error {
	now := r.now().UnixMilli()
	if p.waiting != "" {
		if there, err := r.store.dropWaiting(ctx, tx, ns, p.waiting); err != nil {
			return err
		} else if !there {
			return ErrNotWaiting
		}
	}
	if err := r.applyChanges(ctx, tx, ns, p.changes, p.row.Version, now); err != nil {
		return err
	}
	if err := r.applyGrowth(ctx, tx, ns, p.grown); err != nil {
		return err
	}
	if err := r.store.published(ctx, tx, ns, p.row, now); err != nil {
		return err
	}
	if p.twin != nil {
		return r.makeTwinVisible(ctx, tx, ns, p.row.ID, *p.twin)
	}
	return nil
}

// hold keeps the image of a target that becomes visible. It answers errAgain when
// that was swept away since it was checked, or came since there was none.
func (r *Repo) hold(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, t targetRow) error {
	if t.Image != "" {
		err := r.store.setIdle(ctx, tx, ns, t.Image, 0)
		if errors.Is(err, db.ErrNoRows) {
			return errAgain
		}
		return err
	}
	if t.URI != "" || t.Format == uptane.FormatOSTree {
		return nil
	}
	came, err := r.store.uploaded(ctx, tx, ns, t)
	if err == nil && came {
		err = errAgain
	}
	return err
}

func (r *Repo) applyChanges(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, c changes, version int, now int64) error {
	for _, old := range c.removed {
		if err := r.store.dropTarget(ctx, tx, ns, old.Filename); err != nil {
			return err
		}
		if old.Image == "" {
			continue
		}
		if err := r.store.release(ctx, tx, ns, old.Image, now); err != nil {
			return err
		}
	}
	for _, t := range c.saved {
		if err := r.hold(ctx, tx, ns, t); err != nil {
			return err
		}
		t.UpdatedAt = now
		if err := r.store.saveTarget(ctx, tx, ns, t); err != nil {
			return err
		}
	}
	for _, t := range c.added {
		if err := r.store.addContent(ctx, tx, ns, content{t.Filename, t.SHA256, t.Length}, version); err != nil {
			return err
		}
	}
	return nil
}
