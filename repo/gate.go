package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// The judges of package acceptance read everything before clients do: a document
// that people send by itself, when it comes; snapshot and timestamp, when they are
// sealed and before they are stored; an edition as a whole, before the transaction
// that makes it visible.

// twinEdition is what TUF clients are to see with a publication.
type twinEdition struct {
	edition
	base stand
	set  acceptance.Set // what of it is new
}

// chain returns the roots of a tree. They were judged when they were published;
// this replica judges each of them once more, when it first meets it. A link that
// does not hold, which only damage can make, strands those who are behind it
// whatever is published now: it is told and does not stop the others.
func (r *Repo) chain(ctx context.Context, t tree) (acceptance.Chain, error) {
	last, err := r.cfg.RootVersion(ctx, t.ns, uptane.ImageRepository)
	if err != nil {
		return acceptance.Chain{}, fmt.Errorf("reading root version of %s: %w", t.ns, err)
	}
	var c acceptance.Chain
	if known, ok := r.chains.Load(t); ok && known.(acceptance.Chain).Version() <= last {
		c = known.(acceptance.Chain)
	}
	for version := c.Version() + 1; version <= last; version++ {
		raw, err := r.rootOf(ctx, t, version)
		if err != nil {
			return c, fmt.Errorf("reading root version %d of %s: %w", version, t.ns, err)
		}
		next, refused := c.Extend(raw)
		if c.Version() == 0 {
			next, refused = acceptance.Begin(t.flavour, uptane.ImageRepository, raw)
		} else if refused != nil {
			r.log.ErrorContext(ctx, "devices cannot follow from one root to the next; those at older ones are stranded",
				"namespace", t.ns, "flavour", t.flavour, "version", version, "error", refused)
			next, refused = acceptance.Begin(t.flavour, uptane.ImageRepository, raw)
		}
		if refused != nil {
			return c, fmt.Errorf("judging root version %d of %s: %w", version, t.ns, refused)
		}
		c = next
	}
	r.chains.Store(t, c)
	return c, nil
}

func (r *Repo) rootOf(ctx context.Context, t tree, version int) ([]byte, error) {
	if t.flavour == uptane.TUF {
		return r.cfg.RootTwins.RootTwin(ctx, t.ns, version)
	}
	return r.cfg.Roots.Root(ctx, t.ns, uptane.ImageRepository, version)
}

// judgeSealed judges a snapshot, or a timestamp with its snapshot, that was just
// sealed.
func (r *Repo) judgeSealed(ctx context.Context, j job, doc []byte) error {
	if j.role != uptane.RoleTimestamp {
		return acceptance.Form(j.flavour, uptane.ImageRepository, j.role, doc)
	}
	c, err := r.chain(ctx, j.tree)
	if err != nil {
		return err
	}
	if c.Version() != j.root.version {
		return uptane.ErrRootChanged
	}
	return c.Judge(acceptance.Set{Timestamp: doc, Snapshot: j.snapshot.Document}, nil, r.now())
}

// gate judges an edition of a tree that is to take the place of base, as clients
// that have read base and clients that have read nothing will.
func (r *Repo) gate(ctx context.Context, t tree, base stand, set acceptance.Set, s signedSet) error {
	c, err := r.chain(ctx, t)
	if err != nil {
		return err
	}
	if c.Version() != s.timestamp.RootVersion {
		return uptane.ErrRootChanged
	}
	before, err := r.before(ctx, t, base, c.Version())
	if err != nil {
		return fmt.Errorf("reading what clients of %s have: %w", t.ns, err)
	}
	set.Snapshot, set.Timestamp = s.snapshot.Document, s.timestamp.Document
	return c.Judge(set, before, r.now())
}

// before is what clients under a root can have of an edition, nil if nothing.
func (r *Repo) before(ctx context.Context, t tree, base stand, root int) (*acceptance.Set, error) {
	if base.push == "" {
		return nil, nil
	}
	docs := r.store.of(t)
	timestamp, err := docs.served(ctx, base, root, 0)
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	snapshot, err := docs.document(ctx, uptane.RoleSnapshot, timestamp.Snapshot)
	if err != nil {
		return nil, err
	}
	push, err := r.store.push(ctx, t.ns, base.push)
	if err == nil && t.flavour == uptane.TUF {
		push.Document, err = r.store.publishedTwin(ctx, t.ns, uptane.RoleTargets, push.Version)
	}
	return &acceptance.Set{Timestamp: timestamp.Document, Snapshot: snapshot.Document, Targets: push.Document}, err
}

// changedRoles are the roles in force that a change of trust touches.
func (r *Repo) changedRoles(ctx context.Context, ns uptane.Namespace, g growth) (map[uptane.Role]acceptance.Delegated, error) {
	out := map[uptane.Role]acceptance.Delegated{}
	for role, row := range g.rows {
		if !row.Valid || row.Version == 0 || row.Parent == "" {
			continue // clients pass over it, or find nothing
		}
		d, err := r.store.delegated(ctx, ns, role, row.Version)
		if err != nil {
			return nil, fmt.Errorf("reading metadata of %s of %s: %w", role, ns, err)
		}
		out[role] = acceptance.Delegated{Document: d.Document, Trust: []byte(row.Trust)}
	}
	return out, nil
}

// twinOf is the edition that TUF clients see when edit is done to what they see
// now, nil while they are switched off or see nothing.
func (r *Repo) twinOf(ctx context.Context, ns uptane.Namespace, set acceptance.Set, edit func(*edition)) (*twinEdition, error) {
	row, err := r.repository(ctx, ns)
	if err != nil || !row.TUF {
		return nil, err
	}
	root, err := r.root(ctx, ns)
	if err == nil {
		err = r.requireTwins(ctx, ns, root.version)
	}
	if errors.Is(err, ErrTwinMissing) { // they cannot come this far
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t := tree{ns, uptane.TUF}
	e := twinEdition{base: row.visible(uptane.TUF), set: set}
	if e.listing, err = r.store.listing(ctx, r.store.db, t); err != nil {
		return nil, fmt.Errorf("reading delegations of %s: %w", ns, err)
	}
	if row.TUFPush != "" {
		if e.push, err = r.store.push(ctx, ns, row.TUFPush); err != nil {
			return nil, fmt.Errorf("reading targets of %s: %w", ns, err)
		}
	}
	if e.stand() != e.base {
		return nil, errAgain
	}
	if edit(&e.edition); e.push.ID == "" {
		return nil, nil
	}
	return &e, nil
}

// sealTwin signs snapshot and timestamp of what TUF clients are about to see and
// lets the judges read all of it. Nil gives nothing.
func (r *Repo) sealTwin(ctx context.Context, ns uptane.Namespace, e *twinEdition) (signedSet, error) {
	if e == nil {
		return signedSet{}, nil
	}
	t := tree{ns, uptane.TUF}
	snapshot, timestamp, err := r.seal(ctx, t, e.edition, e.base)
	if err != nil {
		return signedSet{}, err
	}
	s := signedSet{snapshot, timestamp}
	return s, r.gate(ctx, t, e.base, e.set, s)
}

// inOrder answers errSuperseded or errAgain when what was sealed and judged may
// not follow what clients of a tree see in tx.
func (r *Repo) inOrder(ctx context.Context, tx *sqlx.Tx, t tree, base stand, s signedSet) error {
	repository, err := r.store.lock(ctx, tx, t.ns)
	if err != nil {
		return err
	}
	if repository.visible(t.flavour) != base {
		return errSuperseded
	}
	for role, row := range map[uptane.Role]documentRow{uptane.RoleSnapshot: s.snapshot, uptane.RoleTimestamp: s.timestamp} {
		seen, err := r.store.of(t).lastServed(ctx, tx, role, row.RootVersion, base)
		if err != nil {
			return err
		}
		if row.Version <= seen {
			return errAgain // a renewal of the visible set came in between
		}
	}
	return nil
}

// twinInOrder is inOrder for TUF clients.
func (r *Repo) twinInOrder(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, e *twinEdition, s signedSet) error {
	if e == nil {
		return nil
	}
	return r.inOrder(ctx, tx, tree{ns, uptane.TUF}, e.base, s)
}

// RequireTrusted answers ErrTargetsUntrusted while the visible targets are not
// signed by the keys that the current root names: a root that replaces these keys
// came first, and devices refuse the targets until they are signed anew.
func (r *Repo) RequireTrusted(ctx context.Context, ns uptane.Namespace) error {
	doc, err := r.Metadata(ctx, ns, uptane.RoleTargets.Filename(0))
	if err != nil {
		return err
	}
	root, err := r.root(ctx, ns)
	if err != nil {
		return err
	}
	ring, err := uptane.RingOf(uptane.Uptane, &root.payload, uptane.RoleTargets)
	if err != nil {
		return fmt.Errorf("reading targets keys of %s: %w", ns, err)
	}
	if _, err = uptane.Open[metadata.TargetsType](uptane.Uptane, doc.Bytes, uptane.RoleTargets, ring, time.Time{}); err != nil {
		return ErrTargetsUntrusted.Withf("under root version %d", root.version)
	}
	return nil
}
