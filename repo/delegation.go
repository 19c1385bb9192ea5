package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// What callers are told about delegated roles.
var (
	ErrDelegationName    = fault.New(fault.Invalid, "invalid_delegation_role_name", "no delegated role can have that name")
	ErrNotDelegated      = fault.New(fault.Invalid, "delegations_not_defined", "no role in force delegates to that name")
	ErrDelegationKeys    = fault.New(fault.Invalid, "payload_signature_invalid", "the metadata are not signed as the delegation demands")
	ErrDelegatedTarget   = fault.New(fault.Invalid, "invalid_delegated_target", "the metadata of the role break rules")
	ErrDelegationMissing = fault.New(fault.NotFound, "delegations_not_found", "the role has no metadata")
)

// PutDelegation publishes metadata of a delegated role that were signed elsewhere.
// by names who brings them. Only this role, snapshot and timestamp become
// different; the result is the checksum of what is visible now. The same bytes may
// be sent again.
//
// It answers ErrDelegationName, ErrRoleMissing before the first push of targets,
// ErrNotDelegated, ErrInvalid, ErrDelegationKeys, ErrVersionBump unless the
// version is above the last one, and ErrDelegatedTarget with all [Reasons]; then
// what [Repo.PutTargets] answers when nothing can be signed.
func (r *Repo) PutDelegation(ctx context.Context, ns uptane.Namespace, role uptane.Role, doc []byte, by string) (string, error) {
	if !role.Delegation() {
		return "", ErrDelegationName.Withf("%.60q", role)
	}
	if len(doc) > MaxTargets {
		return "", tooLarge(role, len(doc))
	}
	leave, err := r.queue(ctx, ns) // else many suppliers at once would outrun one another
	if err != nil {
		return "", err
	}
	defer leave()
	for range maxTries {
		p, err := r.acceptDelegation(ctx, ns, role, doc, by)
		if err != nil {
			return "", err
		}
		if p.apply == nil { // it is visible already
			return p.row.Checksum, nil
		}
		_, err = r.publishEdition(ctx, ns, p.publication)
		if err == nil {
			r.log.InfoContext(ctx, "delegated metadata published", "namespace", ns, "role", role, "version", p.row.Version, "by", by)
			return p.row.Checksum, nil
		}
		if !errors.Is(err, errSuperseded) && !errors.Is(err, errAgain) && !errors.Is(err, uptane.ErrRootChanged) && !errors.Is(err, db.ErrExists) {
			return "", fmt.Errorf("publishing metadata of %s of %s: %w", role, ns, err)
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
	}
	return "", ErrBusy
}

// delegationPush is metadata of a role that were found good.
type delegationPush struct {
	publication
	row     delegatedRow
	role    delegationRow
	changes changes
	grown   growth
	twin    *twinRow
}

func (r *Repo) acceptDelegation(ctx context.Context, ns uptane.Namespace, role uptane.Role, doc []byte, by string) (*delegationPush, error) {
	repository, rows, err := r.delegations(ctx, ns)
	if err != nil {
		return nil, err
	}
	row, trust, err := trustIn(rows, role)
	if err != nil {
		return nil, err
	}
	root, err := r.root(ctx, ns)
	if err != nil {
		return nil, err
	}
	if err := acceptance.Form(uptane.Uptane, uptane.ImageRepository, role, doc); err != nil {
		return nil, err
	}
	d, err := openDelegated(doc, role, trust)
	if err != nil {
		return nil, err
	}
	p := &delegationPush{role: row, row: delegatedRow{Role: role, Version: int(d.Payload.Version), Checksum: checksum(d.Raw), Document: d.Raw,
		CreatedAt: r.now().UnixMilli(), CreatedBy: by}}
	if same, err := r.sameDelegated(ctx, ns, row, p.row); same || err != nil {
		return p, err
	}
	if err := r.checkDelegated(ctx, ns, repository.policy(), p, rows, d); err != nil {
		return nil, err
	}
	if p.twin, err = r.twin(ctx, ns, role, targetsDigest(role, &d.Payload), d.Signed); err != nil {
		return nil, err
	}
	push, err := r.store.push(ctx, ns, repository.Push)
	if err != nil {
		return nil, fmt.Errorf("reading targets of %s: %w", ns, err)
	}
	p.role.Version, p.role.Valid, p.role.Expires = p.row.Version, true, d.Payload.Expires.UnixMilli()
	set, twin, err := r.delegatedSets(ctx, ns, p)
	if err != nil {
		return nil, err
	}
	p.publication = publication{
		set: set, twin: twin, edition: edition{push, listingOf(rows).with(role, p.row.Version)}, base: repository.visible(uptane.Uptane), root: root.version,
		action: actDelegation, detail: fmt.Sprintf("version %d of %s, sha256 %s", p.row.Version, role, p.row.Checksum),
		apply: func(ctx context.Context, tx *sqlx.Tx) error { return r.applyDelegation(ctx, tx, ns, p) },
	}
	r.remark(ctx, ns, role, d)
	return p, nil
}

// delegatedSets is what is new to either kind of clients with metadata of a role.
func (r *Repo) delegatedSets(ctx context.Context, ns uptane.Namespace, p *delegationPush) (set acceptance.Set, twin *twinEdition, err error) {
	if set.Delegations, err = r.changedRoles(ctx, ns, p.grown); err != nil {
		return set, nil, err
	}
	set.Delegations[p.row.Role] = acceptance.Delegated{Document: p.row.Document, Trust: []byte(p.role.Trust)}
	if p.twin != nil {
		twin, err = r.delegatedTwin(ctx, ns, p.role, *p.twin)
	}
	return set, twin, err
}

// delegatedTwin is what TUF clients see with their metadata of a role.
func (r *Repo) delegatedTwin(ctx context.Context, ns uptane.Namespace, row delegationRow, twin twinRow) (*twinEdition, error) {
	set := acceptance.Set{Delegations: map[uptane.Role]acceptance.Delegated{row.Role: {Document: twin.Document, Trust: []byte(row.Trust)}}}
	return r.twinOf(ctx, ns, set, func(e *edition) { e.listing = e.listing.with(row.Role, twin.Version) })
}

// delegations reads the repository and its delegated roles. It answers
// ErrRoleMissing before the first push.
func (r *Repo) delegations(ctx context.Context, ns uptane.Namespace) (repositoryRow, map[uptane.Role]delegationRow, error) {
	repository, err := r.repository(ctx, ns)
	if err == nil && repository.Push == "" {
		err = ErrRoleMissing.With("no targets were ever pushed")
	}
	if err != nil {
		return repository, nil, err
	}
	rows, err := r.store.delegations(ctx, ns)
	if err != nil {
		return repository, nil, fmt.Errorf("reading delegations of %s: %w", ns, err)
	}
	return repository, rows, nil
}

// trustIn returns a role and the trust that its parent puts into it.
func trustIn(rows map[uptane.Role]delegationRow, role uptane.Role) (delegationRow, uptane.Delegation, error) {
	row := rows[role]
	if row.Parent == "" {
		return row, uptane.Delegation{}, ErrNotDelegated.Withf("%s; sign and push targets that delegate to it first", role)
	}
	for _, above := range chainOf(rows, row.Parent) {
		if !above.Valid {
			return row, uptane.Delegation{}, ErrNotDelegated.Withf("%s, which is below %s, whose metadata are not in force", role, above.Role)
		}
	}
	d, err := uptane.ParseDelegation(uptane.Uptane, []byte(row.Trust))
	if err != nil {
		return row, d, fmt.Errorf("reading trust in %s: %w", role, err)
	}
	return row, d, nil
}

func openDelegated(doc []byte, role uptane.Role, trust uptane.Delegation) (uptane.Document[metadata.TargetsType], error) {
	d, err := uptane.Open[metadata.TargetsType](uptane.Uptane, doc, role, trust.Ring, time.Time{})
	switch {
	case err == nil && len(d.Raw) > MaxTargets:
		return d, ErrTooLarge.Withf("%d bytes in canonical form, of at most %d", len(d.Raw), MaxTargets)
	case errors.Is(err, uptane.ErrSignature), errors.Is(err, uptane.ErrKey):
		return d, ErrDelegationKeys.With(err.Error())
	case err != nil:
		return d, ErrInvalid.With(err.Error())
	}
	return d, nil
}

// sameDelegated reports whether metadata are the visible ones, and refuses those
// that are no newer.
func (r *Repo) sameDelegated(ctx context.Context, ns uptane.Namespace, row delegationRow, next delegatedRow) (bool, error) {
	if next.Version > row.Version {
		return false, nil
	}
	if next.Version == row.Version {
		have, err := r.store.delegated(ctx, ns, row.Role, row.Version)
		if err != nil {
			return false, fmt.Errorf("reading metadata of %s of %s: %w", row.Role, ns, err)
		}
		if have.Checksum == next.Checksum {
			return true, nil
		}
	}
	return false, ErrVersionBump.Withf("version %d of %s, expected above %d", next.Version, row.Role, row.Version)
}

// checkDelegated applies the rules to what is new in metadata of a role: they stay
// within what every role above them may sign, too.
func (r *Repo) checkDelegated(ctx context.Context, ns uptane.Namespace, policy Policy, p *delegationPush, rows map[uptane.Role]delegationRow, d uptane.Document[metadata.TargetsType]) error {
	var reasons []string
	for _, above := range chainOf(rows, p.row.Role) {
		trust, err := uptane.ParseDelegation(uptane.Uptane, []byte(above.Trust))
		if err != nil {
			return fmt.Errorf("reading trust in %s: %w", above.Role, err)
		}
		for _, name := range slices.Sorted(maps.Keys(d.Payload.Targets)) {
			if !trust.Covers(name) {
				reasons = append(reasons, fmt.Sprintf("target item error %s: %s may sign %q only", name, above.Role, trust.Paths))
			}
		}
	}
	if why := policy.bornShort(r.now(), d.Payload.Expires); why != "" {
		reasons = append(reasons, why)
	}
	if len(reasons) > 0 {
		return refuse(ErrDelegatedTarget, reasons...)
	}
	old, err := r.store.delegatedTargets(ctx, ns, p.row.Role)
	if err != nil {
		return fmt.Errorf("reading targets of %s of %s: %w", p.row.Role, ns, err)
	}
	if p.changes, reasons, err = r.check(ctx, ns, d, old, nil); err != nil {
		return err
	}
	g := grower{repo: r, ns: ns, rows: rows, changed: newGrowth()}
	if err := g.delegate(ctx, p.row.Role, d.Signed, true); err != nil {
		return err
	}
	if reasons = append(reasons, g.reasons...); len(reasons) > 0 {
		return refuse(ErrDelegatedTarget, reasons...)
	}
	p.grown = g.changed
	return nil
}

// applyDelegation writes what metadata of a role change, in the transaction that
// makes them visible.
func (r *Repo) applyDelegation(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, p *delegationPush) error {
	now := r.now().UnixMilli()
	if err := r.applyDelegatedTargets(ctx, tx, ns, p, now); err != nil {
		return err
	}
	if err := r.store.addDelegated(ctx, tx, ns, p.row); err != nil {
		return db.Err(err)
	}
	if err := r.applyGrowth(ctx, tx, ns, p.grown); err != nil {
		return err
	}
	if err := r.store.saveDelegation(ctx, tx, ns, p.role); err != nil || p.twin == nil {
		return err
	}
	return r.makeDelegatedTwinVisible(ctx, tx, ns, p.row.Role, *p.twin)
}

// makeDelegatedTwinVisible lets TUF clients see the visible metadata of a role.
func (r *Repo) makeDelegatedTwinVisible(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role, twin twinRow) error {
	done, err := r.store.publishTwin(ctx, tx, ns, role, twin, r.now().UnixMilli())
	if err != nil {
		return err
	}
	if !done {
		return errAgain // another was staged in its place since it was compared
	}
	if err := r.store.setTUFVersion(ctx, tx, ns, role, twin.Version); err != nil {
		return err
	}
	t := tree{ns, uptane.TUF}
	l, err := r.store.listing(ctx, tx, t)
	if err != nil {
		return err
	}
	if err := r.store.setTUFListing(ctx, tx, ns, l.key()); err != nil {
		return err
	}
	return r.voidOthers(ctx, tx, t)
}

func (r *Repo) applyDelegatedTargets(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, p *delegationPush, now int64) error {
	for _, old := range p.changes.removed {
		if err := r.store.dropDelegatedTarget(ctx, tx, ns, p.row.Role, old.Filename); err != nil {
			return err
		}
		if old.Image == "" {
			continue
		}
		if err := r.store.release(ctx, tx, ns, old.Image, now); err != nil {
			return err
		}
	}
	for _, t := range p.changes.saved {
		if err := r.hold(ctx, tx, ns, t); err != nil {
			return err
		}
		t.UpdatedAt = now
		if err := r.store.saveDelegatedTarget(ctx, tx, ns, p.row.Role, t); err != nil {
			return err
		}
	}
	for _, t := range p.changes.added {
		if err := r.store.addContent(ctx, tx, ns, content{t.Filename, t.SHA256, t.Length}, p.row.Version); err != nil {
			return err
		}
	}
	return nil
}

// queue makes publications of delegated metadata of a namespace in this process
// wait for one another. Call what it returns at the end.
func (r *Repo) queue(ctx context.Context, ns uptane.Namespace) (leave func(), err error) {
	found, _ := r.queues.LoadOrStore(ns, make(chan struct{}, 1))
	turn := found.(chan struct{})
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
