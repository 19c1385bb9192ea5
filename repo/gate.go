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
// sealed. Those of the visible edition are seen as soon as they are stored: they
// must suit clients that have read what they take the place of, too.
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
	var before *acceptance.Set
	if j.edition.stand() == j.base {
		if before, err = r.online(ctx, j.tree, j.base); err != nil {
			return fmt.Errorf("reading what clients of %s have: %w", j.ns, err)
		}
	}
	err = c.Judge(acceptance.Set{Timestamp: doc, Snapshot: j.snapshot.Document}, before, r.now())
	if refused := acceptance.RefusalOf(err); refused != nil && refused.Rule == acceptance.RuleRollback {
		return fmt.Errorf("%w: %w", errSuperseded, err) // another replica's is newer
	}
	return err
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
	before, err := r.before(ctx, t, base)
	if err != nil {
		return fmt.Errorf("reading what clients of %s have: %w", t.ns, err)
	}
	set.Snapshot, set.Timestamp = s.snapshot.Document, s.timestamp.Document
	return c.Judge(set, before, r.now())
}

// before is what clients have of an edition, nil if nothing. They may have read
// it under an earlier root: what the keys of the root in force do not vouch for,
// the judges forget as clients do.
func (r *Repo) before(ctx context.Context, t tree, base stand) (*acceptance.Set, error) {
	set, err := r.online(ctx, t, base)
	if err != nil || set == nil {
		return nil, err
	}
	push, err := r.store.push(ctx, t.ns, base.push)
	if err == nil && t.flavour == uptane.TUF {
		push.Document, err = r.store.publishedTwin(ctx, t.ns, uptane.RoleTargets, push.Version)
	}
	set.Targets = push.Document
	return set, err
}

// online is the part of before that was signed here.
func (r *Repo) online(ctx context.Context, t tree, base stand) (*acceptance.Set, error) {
	if base.push == "" {
		return nil, nil
	}
	docs := r.store.of(t)
	timestamp, err := docs.shown(ctx, base)
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	snapshot, err := docs.document(ctx, uptane.RoleSnapshot, timestamp.Snapshot)
	return &acceptance.Set{Timestamp: timestamp.Document, Snapshot: snapshot.Document}, err
}

// changedRoles are the roles in force whom a change trusts otherwise. Where only
// their order is another one, what the judges said of them still holds.
func (r *Repo) changedRoles(ctx context.Context, ns uptane.Namespace, g growth) (map[uptane.Role]acceptance.Delegated, error) {
	out := map[uptane.Role]acceptance.Delegated{}
	for role := range g.anew {
		row := g.rows[role]
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
	v := verdict{targets: doc.Checksum, root: root.version}
	if known, ok := r.verdicts.Load(ns); ok && known.(verdict).targets == v.targets && known.(verdict).root == v.root {
		v = known.(verdict)
	} else {
		_, err = uptane.Open[metadata.TargetsType](uptane.Uptane, doc.Bytes, uptane.RoleTargets, ring, time.Time{})
		v.trusted = err == nil
		r.verdicts.Store(ns, v)
	}
	if !v.trusted {
		return ErrTargetsUntrusted.Withf("under root version %d", root.version)
	}
	return nil
}

// verdict is whether targets are trusted under a root: reading them to find out
// takes long where there are many, and people ask often.
type verdict struct {
	targets string // checksum
	root    int
	trusted bool
}
