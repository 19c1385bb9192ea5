package repo

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// publication is an edition that was found good and is to become visible.
type publication struct {
	edition edition
	base    stand          // what must be visible until then
	root    int            // version of the root it was verified under
	set     acceptance.Set // what of it is new
	twin    *twinEdition   // what TUF clients see with it, nil if nothing new
	// apply changes the tables in the transaction that makes it visible.
	apply func(context.Context, *sqlx.Tx) error
	// action and detail are entered in the audit by it.
	action, detail string
}

// signedSet is the snapshot and timestamp of an edition.
type signedSet struct{ snapshot, timestamp documentRow }

// publishEdition signs snapshot and timestamp of an edition, lets the judges read
// all of it, and makes it visible.
// errSuperseded and errAgain say that something came in between: it has to be
// judged anew.
func (r *Repo) publishEdition(ctx context.Context, ns uptane.Namespace, p publication) (signedSet, error) {
	t := tree{ns, uptane.Uptane}
	snapshot, timestamp, err := r.seal(ctx, t, p.edition, p.base)
	if err != nil {
		return signedSet{}, err
	}
	if snapshot.RootVersion != p.root || timestamp.RootVersion != p.root {
		return signedSet{}, errAgain // verified under another root
	}
	s := signedSet{snapshot, timestamp}
	if err := r.gate(ctx, t, p.base, p.set, s); err != nil {
		return signedSet{}, err
	}
	twin, err := r.sealTwin(ctx, ns, p.twin)
	if err != nil {
		return signedSet{}, err
	}
	err = r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := r.inOrder(ctx, tx, t, p.base, s); err != nil {
			return err
		}
		if err := r.twinInOrder(ctx, tx, ns, p.twin, twin); err != nil {
			return err
		}
		if err := p.apply(ctx, tx); err != nil {
			return err
		}
		if err := r.store.turn(ctx, tx, ns, p.edition.stand()); err != nil {
			return err
		}
		if err := r.act(ctx, tx, ns, p.action, "%s", p.detail); err != nil {
			return err
		}
		return r.voidOthers(ctx, tx, t)
	})
	if err != nil {
		return signedSet{}, err
	}
	r.forget(ns)
	r.settle(ctx)
	r.watch(ctx, ns, uptane.RoleSnapshot, s.snapshot.Document)
	r.watch(ctx, ns, uptane.RoleTimestamp, s.timestamp.Document)
	return s, nil
}

// voidOthers gives up what is unsigned of editions that are not visible.
func (r *Repo) voidOthers(ctx context.Context, tx *sqlx.Tx, t tree) error {
	repository, err := r.store.lock(ctx, tx, t.ns)
	if err != nil {
		return err
	}
	return r.store.of(t).voidOthers(ctx, tx, repository.visible(t.flavour))
}
