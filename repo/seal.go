package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// maxTries bounds how often a step is begun anew because others were faster.
const maxTries = 8

// aged reports whether a document of that life is due to be replaced. One that
// ends with its root is not: a new one would end no later.
func (d documentRow) aged(life time.Duration, now time.Time, notBefore int64) bool {
	return !d.Capped && (d.left(now) < max(life/4, minLeft) || d.Expires < notBefore)
}

// hopeless reports whether an unsigned payload is not worth signing any more.
func (d documentRow) hopeless(now time.Time) bool { return !d.Capped && d.left(now) < minLeft }

func (d documentRow) left(now time.Time) time.Duration { return time.UnixMilli(d.Expires).Sub(now) }

// seal returns the snapshot and timestamp of an edition that are to be served
// under the current root, signing what is missing or aged. It fails with
// errSuperseded when the edition is not visible and base is not either, with
// uptane.ErrRootChanged when a new root came in between, and with ErrTwinMissing
// when TUF clients cannot follow to the current root.
func (r *Repo) seal(ctx context.Context, t tree, e edition, base stand) (snapshot, timestamp documentRow, err error) {
	root, err := r.root(ctx, t.ns)
	if err == nil && t.flavour == uptane.TUF {
		err = r.requireTwins(ctx, t.ns, root.version)
	}
	if err != nil {
		return snapshot, timestamp, err
	}
	if !r.now().Before(root.payload.Expires) {
		return snapshot, timestamp, ErrRootExpired.Withf("version %d ended %s", root.version, root.payload.Expires.Format(time.RFC3339))
	}
	j := job{tree: t, root: root, edition: e, base: base, role: uptane.RoleSnapshot, life: SnapshotLife}
	if snapshot, err = r.sealRole(ctx, j); err != nil {
		return snapshot, timestamp, err
	}
	j.role, j.life, j.snapshot = uptane.RoleTimestamp, TimestampLife, snapshot
	if r.cfg.Witnessed != nil {
		if j.custom, err = r.cfg.Witnessed(ctx); err != nil {
			return snapshot, timestamp, err
		}
	}
	timestamp, err = r.sealRole(ctx, j)
	return snapshot, timestamp, err
}

// job is one document to be signed.
type job struct {
	tree
	root     *rootDocument
	edition  edition
	base     stand // the visible edition, which this one replaces or is
	role     uptane.Role
	life     time.Duration
	snapshot documentRow    // what a timestamp is about
	custom   map[string]any // that a timestamp carries
}

// sealRole writes a document ahead, or finds the one written before, signs it
// outside any transaction and stores the result unless somebody else has.
func (r *Repo) sealRole(ctx context.Context, j job) (documentRow, error) {
	for range maxTries {
		row, err := r.writeAhead(ctx, j)
		if err != nil {
			return row, fmt.Errorf("writing %s of %s ahead: %w", j.role, j.ns, err)
		}
		if row.Document != nil {
			return row, nil
		}
		doc, err := uptane.SealPayload(ctx, j.flavour, r.cfg.Signer, uptane.Job{
			Namespace: j.ns, Repository: uptane.ImageRepository, Role: j.role, RootVersion: row.RootVersion,
		}, row.Payload)
		if err != nil {
			return row, err
		}
		if err := r.judgeSealed(ctx, j, doc); err != nil {
			return row, fmt.Errorf("judging %s of %s: %w", j.role, j.ns, err)
		}
		if err := r.keepSealed(ctx, j, row.Version, doc); err != nil {
			return row, fmt.Errorf("storing %s of %s: %w", j.role, j.ns, err)
		}
		row, err = r.store.of(j.tree).document(ctx, j.role, row.Version)
		if errors.Is(err, db.ErrNoRows) {
			continue // given up meanwhile: its version is used
		}
		if err != nil {
			return row, fmt.Errorf("reading %s of %s back: %w", j.role, j.ns, err)
		}
		return row, nil // signed by whoever was first
	}
	return documentRow{}, ErrBusy
}

func (r *Repo) keepSealed(ctx context.Context, j job, version int, doc []byte) error {
	return r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := r.store.touch(ctx, tx, j.ns); err != nil {
			return err
		}
		return r.store.of(j.tree).seal(ctx, tx, j.role, version, doc)
	})
}

// writeAhead returns the newest document of the push if it will do, else a new
// version with its payload stored.
func (r *Repo) writeAhead(ctx context.Context, j job) (documentRow, error) {
	since, err := r.cfg.RoleKeysSince(ctx, j.ns, uptane.ImageRepository, j.role)
	if err != nil {
		return documentRow{}, fmt.Errorf("reading root in which keys of %s changed: %w", j.role, err)
	}
	var row documentRow
	docs := r.store.of(j.tree)
	err = r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		repository, err := r.store.lock(ctx, tx, j.ns)
		if err != nil {
			return err
		}
		now := repository.visible(j.flavour)
		visible := j.edition.stand() == now
		if !visible && j.base != now {
			return errSuperseded
		}
		row, err = docs.newest(ctx, tx, j.role, j.edition.stand(), j.root.version, repository.Floor)
		if err != nil && !errors.Is(err, db.ErrNoRows) {
			return err
		}
		suits := err == nil && j.suits(row, r.now(), repository.NotBefore)
		if suits && !visible { // then it must be newer than what is
			seen, err := docs.lastServed(ctx, tx, j.role, since, j.base)
			if err != nil {
				return err
			}
			suits = row.Version > seen
		}
		if suits {
			return nil
		}
		row, err = r.newVersion(ctx, tx, j, since, repository)
		return err
	})
	return row, err
}

func (j job) suits(row documentRow, now time.Time, notBefore int64) bool {
	if row.Snapshot != j.snapshot.Version {
		return false
	}
	if row.Document == nil {
		return !row.hopeless(now)
	}
	return !row.aged(j.life, now, notBefore)
}

// epoch is what versions of online roles count minutes from, so that a restored
// backup cannot go back.
func epoch() time.Time { return time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) }

// newVersion gives up what the edition has unsigned and writes the next version.
func (r *Repo) newVersion(ctx context.Context, tx *sqlx.Tx, j job, since int, repository repositoryRow) (documentRow, error) {
	docs := r.store.of(j.tree)
	if err := docs.void(ctx, tx, j.role, j.edition.stand()); err != nil {
		return documentRow{}, err
	}
	last, err := docs.lastVersion(ctx, tx, j.role, since)
	if err != nil {
		return documentRow{}, err
	}
	now := r.now()
	minutes := int(now.Sub(epoch()) / time.Minute)
	version, err := docs.freeVersion(ctx, tx, j.role, max(last+1, minutes, repository.Floor))
	if err != nil {
		return documentRow{}, err
	}
	expires := now.Add(j.life).UTC().Truncate(time.Second)
	if asked := time.UnixMilli(repository.NotBefore).UTC().Truncate(time.Second); asked.After(expires) {
		expires = asked
	}
	capped := !j.root.payload.Expires.After(expires)
	if capped {
		expires = j.root.payload.Expires
	}
	row := documentRow{Version: version, Push: j.edition.push.ID, Listing: j.edition.listing.key(), RootVersion: j.root.version, Snapshot: j.snapshot.Version,
		Expires: expires.UnixMilli(), Capped: capped, CreatedAt: now.UnixMilli()}
	if row.Payload, err = j.payload(version, expires); err != nil {
		return row, err
	}
	return row, docs.add(ctx, tx, j.role, row)
}

func (j job) payload(version int, expires time.Time) ([]byte, error) {
	if j.role == uptane.RoleSnapshot {
		s := uptane.NewSnapshot(int64(version), expires, int64(j.edition.push.Version), j.edition.listing.meta())
		return uptane.Payload(j.flavour, j.role, s)
	}
	t, err := uptane.NewTimestamp(j.flavour, int64(version), expires, j.snapshot.Document)
	if err != nil {
		return nil, err
	}
	if j.custom != nil {
		t.UnrecognizedFields = map[string]any{"custom": j.custom}
	}
	return uptane.Payload(j.flavour, j.role, t)
}
