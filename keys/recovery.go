package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/fault"
	"sealift/uptane"
)

// After an old backup was restored, devices know more than the database: roots
// that were published since, certificates that were issued since. A namespace is
// then in recovery, until a person says that it is over. In recovery what
// devices show is taken note of, and a repository whose root is older than one
// that is known to exist serves nothing.

// ErrBehind: the repository was restored from a backup and is older than what
// devices have seen.
var ErrBehind = fault.New(fault.Unavailable, "repository_behind",
	"the repository was restored from a backup and is older than what is known to exist; it is served again when it has caught up")

var errNotOver = fault.New(fault.Conflict, "recovery_not_over", "a repository is still behind")

// maxAhead bounds how many roots ahead of ours a device is believed to be:
// clients ask for one after the other.
const maxAhead = 1000

// Recovery is how a namespace stands after a backup was restored.
type Recovery struct {
	BackupAt   time.Time // when the backup was made
	RestoredAt time.Time // zero: none was ever restored
	EndedAt    time.Time // zero while it lasts
	Behind     []RootFloor
	Lost       int // certificates that wait to be adopted
}

// Lasts tells whether it has begun and is not over.
func (r Recovery) Lasts() bool { return !r.RestoredAt.IsZero() && r.EndedAt.IsZero() }

// RootFloor is a root that exists and is not here.
type RootFloor struct {
	Repository uptane.Repository
	Current    int // what is here
	Version    int // what exists at least
	ShownBy    string
	ShownAt    time.Time
}

// BeginRecovery puts a namespace into recovery after a backup made at a time
// was restored. It is audited.
func (v *Vault) BeginRecovery(ctx context.Context, ns uptane.Namespace, backup time.Time) error {
	act, err := v.act(ctx, ns, "recovery.begin", "restored the backup of %s", backup.UTC().Format(time.RFC3339))
	if err != nil {
		return err
	}
	return v.changeRecovery(ctx, ns, act, func(ctx context.Context, tx *sqlx.Tx) error {
		return v.store.beginRecovery(ctx, tx, ns, backup, act.At)
	})
}

// EndRecovery ends it: nothing is taken note of any more, what devices showed is
// forgotten. While a root is behind it answers a fault, unless anyway is set:
// then devices with newer roots refuse what they get. It is audited.
func (v *Vault) EndRecovery(ctx context.Context, ns uptane.Namespace, anyway bool) error {
	r, err := v.Recovery(ctx, ns)
	if err != nil {
		return err
	}
	if len(r.Behind) > 0 && !anyway {
		f := r.Behind[0]
		return errNotOver.Withf("root of the %s repository: version %d is here, %d exists", f.Repository, f.Current, f.Version)
	}
	act, err := v.act(ctx, ns, "recovery.end", "%d repositories were behind, %d certificates not adopted", len(r.Behind), r.Lost)
	if err != nil {
		return err
	}
	return v.changeRecovery(ctx, ns, act, func(ctx context.Context, tx *sqlx.Tx) error {
		return v.store.endRecovery(ctx, tx, ns, act.At)
	})
}

// errUnchanged ends a change of a recovery that has nothing to do.
var errUnchanged = errors.New("nothing changes")

// changeRecovery makes a change together with its act and tells every replica.
func (v *Vault) changeRecovery(ctx context.Context, ns uptane.Namespace, act Act, change func(context.Context, *sqlx.Tx) error) error {
	err := v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := change(ctx, tx); err != nil {
			return err
		}
		return errors.Join(v.store.renewStamp(ctx, tx, ns, stampRoots), v.store.addAct(ctx, tx, act))
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return fmt.Errorf("changing recovery of namespace %s: %w", ns, err)
	}
	v.touched(ns)
	return nil
}

// Recovery tells how a namespace stands.
func (v *Vault) Recovery(ctx context.Context, ns uptane.Namespace) (Recovery, error) {
	row, err := v.store.recovery(ctx, ns)
	if err != nil || row.RestoredAt == 0 {
		return Recovery{}, err
	}
	r := Recovery{BackupAt: time.UnixMilli(row.BackupAt).UTC(), RestoredAt: time.UnixMilli(row.RestoredAt).UTC(), EndedAt: maybeTime(row.EndedAt)}
	for _, repo := range []uptane.Repository{uptane.ImageRepository, uptane.DirectorRepository} {
		state, err := v.rootState(ctx, ns, repo)
		if err != nil {
			return r, err
		}
		if f := state.floor; f.Version > state.version {
			r.Behind = append(r.Behind, RootFloor{Repository: repo, Current: state.version, Version: f.Version,
				ShownBy: f.ShownBy, ShownAt: time.UnixMilli(f.ShownAt).UTC()})
		}
	}
	r.Lost, err = v.store.countLost(ctx, ns)
	return r, err
}

// RequireRoot answers [ErrBehind] while a root newer than the current one is
// known to exist, and [ErrImportUnfinished] while part of what is taken over from
// another server is missing. It costs what [Vault.RootVersion] does.
func (v *Vault) RequireRoot(ctx context.Context, ns uptane.Namespace, repo uptane.Repository) error {
	state, err := v.rootState(ctx, ns, repo)
	if err != nil {
		return err
	}
	if state.importing {
		return ErrImportUnfinished
	}
	if state.floor.Version > state.version {
		return ErrBehind.Withf("root of the %s repository: version %d is here, %d exists", repo, state.version, state.floor.Version)
	}
	return nil
}

// ShowRoot takes note, in recovery, that somebody has a root of that version.
// At other times, and for versions that are here or far away, it does nothing.
func (v *Vault) ShowRoot(ctx context.Context, ns uptane.Namespace, repo uptane.Repository, version int, by string) error {
	state, err := v.rootState(ctx, ns, repo)
	if err != nil {
		return err
	}
	if !state.recovering || version <= max(state.version, state.floor.Version) || version > state.version+maxAhead {
		return nil
	}
	act, err := v.act(ctx, ns, "recovery.root", "%.100s has root version %d of the %s repository, here it is %d", by, version, repo, state.version)
	if err != nil {
		return err
	}
	v.log.Warn("a root exists that is not here; the repository serves nothing until it has caught up",
		"namespace", ns, "repository", repo, "version", version, "here", state.version, "shown_by", by)
	return v.changeRecovery(ctx, ns, act, func(ctx context.Context, tx *sqlx.Tx) error {
		raised, err := v.store.holdRecovery(ctx, tx, ns) // it may be over, and this replica not know it
		if err == nil && raised {
			raised, err = v.store.raiseRootFloor(ctx, tx, ns, floorRow{Repository: repo, Version: version, ShownBy: by, ShownAt: act.At.UnixMilli()})
		}
		if err == nil && !raised {
			err = errUnchanged
		}
		return err
	})
}
