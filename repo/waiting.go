package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

// What callers are told about targets that wait for signatures.
var (
	ErrNotWaiting     = fault.New(fault.NotFound, "proposal_not_found", "no targets wait for signatures")
	ErrWaitingChanged = fault.New(fault.PreconditionFailed, "proposal_changed", "other targets wait for signatures now")
)

// Waiting is targets metadata that wait for the signatures of people. There is at
// most one in a namespace; it is published as a whole when enough have signed.
type Waiting struct {
	ID        string // names what is signed: SHA-256 of Uptane's payload
	Version   int
	Base      string         // checksum of the visible targets that it replaces
	Uptane    []byte         // the document with the signatures so far
	TUF       []byte         // its twin, nil if there is none
	SignedBy  []uptane.KeyID // keys of targets that have signed Uptane's flavour
	KeyIDs    []uptane.KeyID // all that may
	Threshold int
	CreatedAt time.Time
	CreatedBy string
	// Published is the checksum of the targets, once they are visible; they wait
	// no longer then.
	Published string
}

// Waiting returns the targets that wait for signatures. What was made from targets
// that are visible no longer does not count. It answers ErrNotWaiting.
func (r *Repo) Waiting(ctx context.Context, ns uptane.Namespace) (Waiting, error) {
	repository, err := r.repository(ctx, ns)
	if err != nil {
		return Waiting{}, err
	}
	row, err := r.awaited(ctx, r.store.db, ns, repository)
	if err != nil {
		return Waiting{}, err
	}
	if row.ID == "" {
		return Waiting{}, ErrNotWaiting
	}
	return r.describe(ctx, ns, row)
}

// awaited is what waits and is made from the visible targets, or the zero row.
func (r *Repo) awaited(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, repository repositoryRow) (waitingRow, error) {
	row, err := r.store.waiting(ctx, q, ns)
	if err == nil && row.Base != repository.Push {
		return waitingRow{}, nil
	}
	if errors.Is(err, db.ErrNoRows) {
		return waitingRow{}, nil
	}
	if err != nil {
		return row, fmt.Errorf("reading waiting targets of %s: %w", ns, err)
	}
	return row, nil
}

func (r *Repo) describe(ctx context.Context, ns uptane.Namespace, row waitingRow) (Waiting, error) {
	w := Waiting{ID: row.ID, Version: row.Version, Uptane: row.Uptane, TUF: row.TUF,
		CreatedAt: time.UnixMilli(row.CreatedAt).UTC(), CreatedBy: row.CreatedBy}
	ring, err := r.targetsRing(ctx, ns)
	if err != nil {
		return w, err
	}
	w.Threshold = ring.Threshold
	for _, k := range ring.Keys {
		w.KeyIDs = append(w.KeyIDs, k.ID())
	}
	signers, err := signersOf(uptane.Uptane, ring, row.Uptane)
	if err != nil {
		return w, fmt.Errorf("reading waiting targets of %s: %w", ns, err)
	}
	for _, k := range signers {
		w.SignedBy = append(w.SignedBy, k.ID())
	}
	if row.Base != "" {
		base, err := r.store.push(ctx, ns, row.Base)
		if err != nil {
			return w, fmt.Errorf("reading targets of %s: %w", ns, err)
		}
		w.Base = base.Checksum
	}
	return w, nil
}

// signersOf returns the keys of ring that signed a document; none is no error.
func signersOf(f uptane.Flavour, ring uptane.Keyring, doc []byte) ([]uptane.Key, error) {
	ring.Threshold = 1
	d, err := uptane.Open[metadata.TargetsType](f, doc, uptane.RoleTargets, ring, time.Time{})
	if errors.Is(err, uptane.ErrSignature) {
		return nil, nil
	}
	return d.Signers, err
}

// PutWaiting keeps targets metadata that need more signatures: a document with as
// many as there are, possibly none, and its TUF twin or nil. base is the checksum
// of the visible targets that it replaces, waiting the id of the targets that wait
// already and that it takes the place of, "" for none. Signatures for those are
// lost. by names who proposes. Where the signatures are enough, it is published at
// once.
//
// It answers what [Repo.PutTargets] answers, but for missing signatures, and
// ErrWaitingChanged.
func (r *Repo) PutWaiting(ctx context.Context, ns uptane.Namespace, doc, tuf []byte, base, waiting, by string) (Waiting, error) {
	repository, err := r.repository(ctx, ns)
	if err != nil {
		return Waiting{}, err
	}
	push, err := r.base(ctx, ns, repository, base)
	if err != nil {
		return Waiting{}, err
	}
	row, err := r.judgeWaiting(ctx, ns, repository, push, doc, tuf)
	if err != nil {
		return Waiting{}, err
	}
	row.Base, row.CreatedAt, row.CreatedBy = push.ID, r.now().UnixMilli(), by
	err = r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		repository, err := r.store.lock(ctx, tx, ns)
		if err != nil {
			return err
		}
		if repository.Push != row.Base {
			return ErrChecksum.With("another push became visible meanwhile; pull and sign again")
		}
		old, err := r.awaited(ctx, tx, ns, repository)
		if err != nil {
			return err
		}
		if old.ID != waiting && old.ID != row.ID {
			return ErrWaitingChanged.Withf("%q waits, not %q", old.ID, waiting)
		}
		if old.ID == row.ID { // proposed again: nobody's signature is lost
			if row, err = mergeWaiting(old, row); err != nil {
				return err
			}
		}
		if err := r.store.saveWaiting(ctx, tx, ns, row); err != nil {
			return err
		}
		return r.act(ctx, tx, ns, actPropose, "targets version %d, %s", row.Version, row.ID)
	})
	if err != nil {
		return Waiting{}, fmt.Errorf("keeping targets of %s that wait: %w", ns, err)
	}
	r.log.InfoContext(ctx, "targets wait for signatures", "namespace", ns, "version", row.Version, "proposal", row.ID, "by", by)
	return r.publishWaiting(ctx, ns, row, by)
}

// judgeWaiting applies all rules of a push but that enough have signed: those who
// did must be keys of targets.
func (r *Repo) judgeWaiting(ctx context.Context, ns uptane.Namespace, repository repositoryRow, base pushRow, doc, tuf []byte) (waitingRow, error) {
	var row waitingRow
	if max(len(doc), len(tuf)) > MaxTargets {
		return row, tooLarge(uptane.RoleTargets, max(len(doc), len(tuf)))
	}
	e, err := uptane.ParseEnvelope(uptane.Uptane, doc)
	if err != nil {
		return row, ErrInvalid.With(err.Error())
	}
	if err := r.rehearse(ctx, ns, repository, e.Signed); err != nil {
		return row, err
	}
	payload, err := uptane.ParsePayload[metadata.TargetsType](uptane.Uptane, uptane.RoleTargets, e.Signed)
	if err != nil {
		return row, ErrInvalid.With(err.Error())
	}
	if why := repository.policy().bornShort(r.now(), payload.Expires); why != "" {
		return row, refuse(ErrInvalidTargets, why)
	}
	if payload.Version != int64(base.Version)+1 {
		return row, ErrVersionBump.Withf("version %d, expected %d", payload.Version, base.Version+1)
	}
	sum := sha256.Sum256(e.Signed)
	row = waitingRow{ID: hex.EncodeToString(sum[:]), Version: int(payload.Version), Uptane: e.Encode(uptane.Uptane)}
	if err := r.checkSigners(ctx, ns, uptane.Uptane, row.Uptane, e); err != nil || tuf == nil {
		return row, err
	}
	twin, err := uptane.ParseEnvelope(uptane.TUF, tuf)
	if err == nil {
		err = uptane.Twins(uptane.RoleTargets, e.Signed, twin.Signed)
	}
	if err != nil {
		return row, ErrInvalid.With(err.Error())
	}
	row.TUF = twin.Encode(uptane.TUF)
	return row, r.checkSigners(ctx, ns, uptane.TUF, row.TUF, twin)
}

// checkSigners refuses signatures that are wrong or of other keys than those of
// targets.
func (r *Repo) checkSigners(ctx context.Context, ns uptane.Namespace, f uptane.Flavour, doc []byte, e uptane.Envelope) error {
	ring, err := r.targetsRing(ctx, ns)
	if err != nil {
		return err
	}
	signers, err := signersOf(f, ring, doc)
	if err != nil {
		return ErrInvalid.With(err.Error())
	}
	if len(signers) != len(e.Signatures) {
		return refuse(ErrInvalidTargets, fmt.Sprintf("%d of the %d %s signatures are by keys of targets, and right", len(signers), len(e.Signatures), f))
	}
	return nil
}

// publishWaiting publishes targets that enough have signed, and forgets that they
// waited. Clients of TUF 1.0 do not hold devices up: where they have too few
// signatures they get none.
func (r *Repo) publishWaiting(ctx context.Context, ns uptane.Namespace, row waitingRow, by string) (Waiting, error) {
	w, err := r.describe(ctx, ns, row)
	if err != nil || len(w.SignedBy) < w.Threshold {
		return w, err
	}
	ring, err := r.targetsRing(ctx, ns)
	if err != nil {
		return w, err
	}
	if signers, err := signersOf(uptane.TUF, ring, row.TUF); row.TUF != nil && err == nil && len(signers) >= ring.Threshold {
		if err := r.StageTwin(ctx, ns, uptane.RoleTargets, row.TUF); err != nil {
			return w, err
		}
	}
	w.Published, err = r.putTargets(ctx, ns, row.Uptane, w.Base, by, row.ID)
	return w, err
}

// DropWaiting gives up the targets of that id that wait. It answers ErrNotWaiting
// or ErrWaitingChanged.
func (r *Repo) DropWaiting(ctx context.Context, ns uptane.Namespace, id, by string) error {
	w, err := r.Waiting(ctx, ns)
	if err != nil {
		return err
	}
	if w.ID != id {
		return ErrWaitingChanged.Withf("%q waits, not %q", w.ID, id)
	}
	r.log.InfoContext(ctx, "targets wait no longer", "namespace", ns, "version", w.Version, "proposal", id, "by", by)
	err = r.acting(ctx, ns, actWithdraw, fmt.Sprintf("targets version %d, %s", w.Version, id), func(ctx context.Context, tx *sqlx.Tx) error {
		// Who adds a signature meanwhile would keep what is given up.
		if _, err := r.store.lock(ctx, tx, ns); err != nil {
			return err
		}
		gone, err := r.store.dropWaiting(ctx, tx, ns, id)
		if err == nil && !gone { // published meanwhile, or given up
			err = ErrNotWaiting
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("giving up targets of %s that wait: %w", ns, err)
	}
	return nil
}
