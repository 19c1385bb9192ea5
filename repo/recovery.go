package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

// After an old backup was restored, clients know more than the database: newer
// snapshots and timestamps, perhaps newer targets. The first are left behind by
// raising the versions ([Repo.BeginRecovery]); the second must come back from
// where they were signed ([Repo.TakeTargets]), and until they are there, or
// newer ones, clients get nothing.

// ErrBehind: the repository was restored from a backup and is older than what
// devices have seen.
var ErrBehind = fault.New(fault.Unavailable, "repository_behind",
	"the repository was restored from a backup and is older than what is known to exist; it is served again when it has caught up")

var errNotOver = fault.New(fault.Conflict, "recovery_not_over", "the repository is still behind")

// Recovery is how a repository stands after a backup was restored.
type Recovery struct {
	Lasts        bool
	VersionFloor int    // of snapshots and timestamps
	Targets      int    // the version that is visible
	TargetsFloor int    // the version that is known to exist, 0 none
	ShownBy      string // who showed that
}

// Behind tells whether clients get nothing because targets are missing.
func (r Recovery) Behind() bool { return r.Targets < r.TargetsFloor }

// Recovery tells how the repository of a namespace stands. It answers
// ErrNoRepository.
func (r *Repo) Recovery(ctx context.Context, ns uptane.Namespace) (Recovery, error) {
	row, err := r.repository(ctx, ns)
	if err != nil {
		return Recovery{}, err
	}
	out := Recovery{Lasts: row.Recovering, VersionFloor: row.Floor, TargetsFloor: row.TargetsFloor, ShownBy: row.ShownBy}
	out.Targets, err = r.version(ctx, ns, row.Push)
	return out, err
}

// BeginRecovery raises the versions of snapshots and timestamps by so many above
// everything that is known of, so that no client sees one go back, and begins to
// take note of what devices show. What was signed before is not served any more.
// It returns the lowest version there will be, 0 where the namespace has no
// repository.
func (r *Repo) BeginRecovery(ctx context.Context, ns uptane.Namespace, by int) (floor int, err error) {
	since := map[uptane.Role]int{}
	for _, role := range onlineRoles() {
		if since[role], err = r.cfg.RoleKeysSince(ctx, ns, uptane.ImageRepository, role); err != nil && fault.Of(err) == nil {
			return 0, fmt.Errorf("reading root in which keys of %s changed: %w", role, err)
		}
	}
	err = r.changeFloors(ctx, ns, func(ctx context.Context, tx *sqlx.Tx, f *floors) error {
		last, err := r.lastOfAll(ctx, tx, ns, since)
		f.Recovering, f.Floor = true, max(f.Floor, last, int(r.now().Sub(epoch())/time.Minute))+by
		floor = f.Floor
		return err
	})
	return floor, err
}

func onlineRoles() []uptane.Role { return []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp} }

// farAhead is more than versions can honestly be ahead of the clock, in minutes.
const farAhead = 10 * 365 * 24 * 60

// lastOfAll is the highest version of all roles and flavours since their keys
// changed. One that only a thief can have made is left out: no floor can be above
// it.
func (r *Repo) lastOfAll(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, since map[uptane.Role]int) (int, error) {
	highest, bound := 0, int(r.now().Sub(epoch())/time.Minute)+farAhead
	for _, f := range []uptane.Flavour{uptane.Uptane, uptane.TUF} {
		for _, role := range onlineRoles() {
			last, err := r.store.of(tree{ns, f}).lastVersion(ctx, tx, role, since[role])
			if err != nil {
				return 0, err
			}
			if last <= bound {
				highest = max(highest, last)
			}
		}
	}
	return highest, nil
}

// EndRecovery ends it. While targets are missing it answers a fault, unless
// anyway is set: then devices that have seen newer ones refuse what they get.
func (r *Repo) EndRecovery(ctx context.Context, ns uptane.Namespace, anyway bool) error {
	now, err := r.Recovery(ctx, ns)
	if errors.Is(err, ErrNoRepository) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.changeFloors(ctx, ns, func(_ context.Context, _ *sqlx.Tx, f *floors) error {
		if now.Targets < f.TargetsFloor && !anyway {
			return errNotOver.Withf("targets version %d are here, %d exist", now.Targets, f.TargetsFloor)
		}
		f.Recovering, f.TargetsFloor, f.ShownBy = false, 0, ""
		return nil
	})
}

func (r *Repo) changeFloors(ctx context.Context, ns uptane.Namespace, change func(context.Context, *sqlx.Tx, *floors) error) error {
	err := r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		row, err := r.store.lock(ctx, tx, ns)
		if err != nil {
			return err
		}
		if err := change(ctx, tx, &row.floors); err != nil {
			return err
		}
		return r.store.setFloors(ctx, tx, ns, row.floors)
	})
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return fmt.Errorf("changing floors of the Image repository of %s: %w", ns, err)
	}
	r.forget(ns)
	return nil
}

// RequireNewest answers ErrBehind while newer targets or a newer root are known
// to exist. It costs what a read of metadata costs.
func (r *Repo) RequireNewest(ctx context.Context, ns uptane.Namespace) error {
	if r.cfg.RequireRoot != nil {
		if err := r.cfg.RequireRoot(ctx, ns, uptane.ImageRepository); err != nil {
			return err
		}
	}
	s, err := r.current(ctx, tree{ns, uptane.Uptane})
	if err != nil {
		return nil // whoever asks for metadata next is told why
	}
	if s.push.Version < s.repository.TargetsFloor {
		return ErrBehind.Withf("targets version %d are here, %d exist", s.push.Version, s.repository.TargetsFloor)
	}
	return nil
}

// ShowTargets takes note, in recovery, that targets of that version exist.
func (r *Repo) ShowTargets(ctx context.Context, ns uptane.Namespace, version int, by string) error {
	row, err := r.repository(ctx, ns)
	if err != nil || !row.Recovering || version <= row.TargetsFloor {
		return err
	}
	r.log.WarnContext(ctx, "targets exist that are not here; the repository serves nothing until it has caught up",
		"namespace", ns, "version", version, "shown_by", by)
	return r.changeFloors(ctx, ns, func(_ context.Context, _ *sqlx.Tx, f *floors) error {
		if f.Recovering && version > f.TargetsFloor { // not ended meanwhile
			f.TargetsFloor, f.ShownBy = version, by
		}
		return nil
	})
}

// ShowImage takes note, in recovery, that an ECU has begun to run an image. One
// that no targets here ever named came from targets that are not here. At other
// times it does nothing and costs nothing.
func (r *Repo) ShowImage(ctx context.Context, ns uptane.Namespace, filename, by string) error {
	s := r.view(tree{ns, uptane.Uptane}).get()
	if s != nil && !s.repository.Recovering && r.now().Sub(s.read) < fresh {
		return nil
	}
	now := r.now()
	if seen, ok := r.calm.Load(ns); ok {
		if age := now.Sub(seen.(time.Time)); age >= 0 && age < fresh {
			return nil
		}
	}
	row, err := r.repository(ctx, ns)
	if err == nil && !row.Recovering {
		r.calm.Store(ns, now)
	}
	if err != nil || !row.Recovering {
		return err
	}
	known, err := r.store.contents(ctx, ns, []string{filename})
	if err != nil || len(known) > 0 {
		return err
	}
	version, err := r.version(ctx, ns, row.Push)
	if err != nil {
		return err
	}
	return r.ShowTargets(ctx, ns, version+1, fmt.Sprintf("%s, which runs %.100s", by, filename))
}

// Taken is what became of targets that were signed and are not visible here.
type Taken struct {
	Version int      // visible now
	Newer   bool     // they were newer, and are visible now
	Missing []string // targets whose bytes are not here, and why
}

// TakeTargets makes targets visible that were published before a backup was
// restored, whatever their version, if they are newer than the visible ones. They
// are verified like a push; only that the bytes of images are missing is no
// reason to refuse them, because clients must not see older targets. twin is
// their TUF document, or nil.
func (r *Repo) TakeTargets(ctx context.Context, ns uptane.Namespace, doc, twin []byte, by string) (Taken, error) {
	row, err := r.repository(ctx, ns)
	if err != nil {
		return Taken{}, err
	}
	t := Taken{}
	if t.Version, err = r.version(ctx, ns, row.Push); err != nil {
		return t, err
	}
	d, root, err := r.open(ctx, ns, doc)
	if err != nil {
		return t, err
	}
	if int(d.Payload.Version) <= t.Version {
		return t, r.sameTargets(ctx, ns, d)
	}
	p := &push{root: root}
	var reasons []string
	if p.changes, reasons, err = r.checkTop(ctx, ns, d, &t.Missing); err != nil {
		return t, err
	}
	if reasons, err = r.growTop(ctx, ns, p, row, d, reasons); err != nil {
		return t, err
	}
	if len(reasons) > 0 {
		return t, refuse(ErrInvalidTargets, reasons...)
	}
	if len(twin) > 0 {
		if err := r.StageTwin(ctx, ns, uptane.RoleTargets, twin); err != nil {
			return t, err
		}
	}
	if p.row, err = r.stage(ctx, ns, pushRow{ID: row.Push}, d, by); err != nil {
		return t, err
	}
	if p.twin, err = r.twin(ctx, ns, uptane.RoleTargets, targetsDigest(uptane.RoleTargets, &d.Payload), d.Signed); err != nil {
		return t, err
	}
	p.past = true
	if err := r.publish(ctx, ns, p); err != nil {
		return t, fmt.Errorf("publishing targets of %s: %w", ns, err)
	}
	t.Version, t.Newer = p.row.Version, true
	return t, nil
}

// sameTargets refuses targets that contradict those of the same version here.
func (r *Repo) sameTargets(ctx context.Context, ns uptane.Namespace, d uptane.Document[metadata.TargetsType]) error {
	have, err := r.store.publishedPush(ctx, ns, int(d.Payload.Version))
	if errors.Is(err, db.ErrNoRows) {
		return nil // passed over here
	}
	if err != nil {
		return fmt.Errorf("reading targets of %s: %w", ns, err)
	}
	e, err := uptane.ParseEnvelope(uptane.Uptane, have.Document)
	if err != nil || string(e.Signed) != string(d.Signed) {
		return ErrExists.Withf("targets version %d say something else here", d.Payload.Version)
	}
	return nil
}
