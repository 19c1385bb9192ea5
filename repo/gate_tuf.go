package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// twinEdition is what TUF clients are to see with a publication.
type twinEdition struct {
	edition
	base stand
	set  acceptance.Set // what of it is new
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
	e, err := r.shownToTUF(ctx, ns, row)
	if err != nil {
		return nil, err
	}
	e.set = set
	if edit(&e.edition); e.push.ID == "" {
		return nil, nil
	}
	return e, nil
}

// shownToTUF is the edition that TUF clients see, or would see if they were
// switched on; without a push where there is none.
func (r *Repo) shownToTUF(ctx context.Context, ns uptane.Namespace, row repositoryRow) (*twinEdition, error) {
	e := twinEdition{base: row.visible(uptane.TUF)}
	var err error
	if e.listing, err = r.store.listing(ctx, r.store.db, tree{ns, uptane.TUF}); err != nil {
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

// twinInOrder is inOrder for TUF clients.
func (r *Repo) twinInOrder(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, e *twinEdition, s signedSet) error {
	if e == nil {
		return nil
	}
	return r.inOrder(ctx, tx, tree{ns, uptane.TUF}, e.base, s)
}

// judgeTUF lets the judges read all that TUF clients are to see from the moment
// when they are switched on, and returns which edition that is: while they were
// off nobody has.
func (r *Repo) judgeTUF(ctx context.Context, ns uptane.Namespace) (stand, error) {
	row, err := r.repository(ctx, ns)
	if err != nil || row.TUF {
		return row.visible(uptane.TUF), err
	}
	root, err := r.cfg.RootVersion(ctx, ns, uptane.ImageRepository)
	if err == nil {
		err = r.requireTwins(ctx, ns, root)
	}
	var e *twinEdition
	if err == nil {
		e, err = r.shownToTUF(ctx, ns, row)
	}
	if err != nil || e.push.ID == "" {
		return row.visible(uptane.TUF), err
	}
	if e.set.Targets, err = r.store.publishedTwin(ctx, ns, uptane.RoleTargets, e.push.Version); err != nil {
		return e.base, fmt.Errorf("reading TUF targets of %s: %w", ns, err)
	}
	e.set.Delegations = map[uptane.Role]acceptance.Delegated{}
	if err := r.rolesBelow(ctx, ns, e, e.set.Targets); err != nil {
		return e.base, err
	}
	_, err = r.sealTwin(ctx, ns, e)
	return e.base, err
}

// rolesBelow adds to a set the roles that a TUF document delegates to and that
// clients can follow. The others they pass over, as devices do.
func (r *Repo) rolesBelow(ctx context.Context, ns uptane.Namespace, e *twinEdition, doc []byte) error {
	envelope, err := uptane.ParseEnvelope(uptane.TUF, doc)
	if err != nil {
		return err
	}
	list, err := uptane.Delegations(uptane.TUF, envelope.Signed)
	if err != nil {
		return err
	}
	for _, d := range list {
		if _, known := e.set.Delegations[d.Role]; known || e.listing[d.Role] == 0 {
			continue
		}
		below, err := r.store.publishedTwin(ctx, ns, d.Role, e.listing[d.Role])
		if err != nil {
			return fmt.Errorf("reading TUF metadata of %s of %s: %w", d.Role, ns, err)
		}
		if _, err := uptane.Open[metadata.TargetsType](uptane.TUF, below, d.Role, d.Ring, time.Time{}); err != nil {
			r.log.WarnContext(ctx, "TUF clients will not follow a delegated role until its TUF document is signed anew", "namespace", ns, "role", d.Role, "reason", err)
			continue
		}
		e.set.Delegations[d.Role] = acceptance.Delegated{Document: below, Trust: d.Raw}
		if err := r.rolesBelow(ctx, ns, e, below); err != nil {
			return err
		}
	}
	return nil
}
