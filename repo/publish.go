package repo

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// publication is an edition that was found good and is to become visible.
type publication struct {
	edition edition
	base    stand // what must be visible until then
	root    int   // version of the root it was verified under
	// apply changes the tables in the transaction that makes it visible.
	apply func(context.Context, *sqlx.Tx) error
}

// signed is the snapshot and timestamp of an edition.
type signed struct{ snapshot, timestamp documentRow }

// publishEdition signs snapshot and timestamp of an edition and makes it visible.
// errSuperseded and errAgain say that something came in between: it has to be
// judged anew.
func (r *Repo) publishEdition(ctx context.Context, ns uptane.Namespace, p publication) (signed, error) {
	t := tree{ns, uptane.Uptane}
	snapshot, timestamp, err := r.seal(ctx, t, p.edition, p.base)
	if err != nil {
		return signed{}, err
	}
	if snapshot.RootVersion != p.root || timestamp.RootVersion != p.root {
		return signed{}, errAgain // verified under another root
	}
	err = r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		repository, err := r.store.lock(ctx, tx, ns)
		if err != nil {
			return err
		}
		if repository.visible(uptane.Uptane) != p.base {
			return errSuperseded
		}
		for role, row := range map[uptane.Role]documentRow{uptane.RoleSnapshot: snapshot, uptane.RoleTimestamp: timestamp} {
			seen, err := r.store.of(t).lastServed(ctx, tx, role, row.RootVersion, p.base)
			if err != nil {
				return err
			}
			if row.Version <= seen {
				return errAgain // a renewal of the visible set came in between
			}
		}
		if err := p.apply(ctx, tx); err != nil {
			return err
		}
		if err := r.store.turn(ctx, tx, ns, p.edition.stand()); err != nil {
			return err
		}
		return r.voidOthers(ctx, tx, t)
	})
	if err != nil {
		return signed{}, err
	}
	r.forget(ns)
	return signed{snapshot, timestamp}, nil
}

// voidOthers gives up what is unsigned of editions that are not visible.
func (r *Repo) voidOthers(ctx context.Context, tx *sqlx.Tx, t tree) error {
	repository, err := r.store.lock(ctx, tx, t.ns)
	if err != nil {
		return err
	}
	return r.store.of(t).voidOthers(ctx, tx, repository.visible(t.flavour))
}
