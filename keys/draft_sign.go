package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// waits reports whether a draft can still follow a root of that version.
func (r draftRow) waits(version int, now time.Time) bool {
	return r.ID != "" && r.Version == version+1 && now.UnixMilli() < r.EndsAt
}

// Drafts returns the roots that wait for signatures, of both repositories. What
// has waited for too long is given up.
func (v *Vault) Drafts(ctx context.Context, ns uptane.Namespace) ([]Draft, error) {
	var list []Draft
	for _, repo := range []uptane.Repository{uptane.DirectorRepository, uptane.ImageRepository} {
		state, err := v.rootState(ctx, ns, repo)
		if err != nil {
			return nil, err
		}
		row, err := v.store.draftOf(ctx, v.store.db, ns, repo)
		if errors.Is(err, db.ErrNoRows) || err == nil && row.Version <= state.version {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the draft of a root: %w", err)
		}
		if !row.waits(state.version, v.now()) {
			if _, err := v.giveUp(ctx, state, row, "it has waited too long"); err != nil {
				return nil, err
			}
			continue
		}
		d, err := v.readDraft(state, row)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

// Draft returns the root of that id that waits, or [ErrNoDraft].
func (v *Vault) Draft(ctx context.Context, ns uptane.Namespace, id string) (Draft, error) {
	v.touched(ns)
	list, err := v.Drafts(ctx, ns)
	if err != nil {
		return Draft{}, err
	}
	i := slices.IndexFunc(list, func(d Draft) bool { return d.ID == id })
	if i < 0 {
		return Draft{}, ErrNoDraft.Withf("%.80s", id)
	}
	return list[i], nil
}

// SignDraft adds signatures to the root of that id: lists of signature objects as
// they stand in documents, in Uptane's flavour and, for the Image repository, by
// the same keys in TUF's. Keys that have signed before may sign again. It answers
// [ErrNoDraft], or [ErrDraftSignature] for signatures that are wrong, of no root
// key, or of one flavour alone.
func (v *Vault) SignDraft(ctx context.Context, ns uptane.Namespace, id string, sigs, tufSigs []byte) (Draft, error) {
	d, err := v.Draft(ctx, ns, id)
	if err != nil {
		return d, err
	}
	state, err := v.rootState(ctx, ns, d.Repository)
	if err != nil {
		return d, err
	}
	act, err := v.act(ctx, ns, "root.sign", "root version %d of the %s repository, %s", d.Model.Version, d.Repository, id)
	if err != nil {
		return d, err
	}
	var out Draft
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		act := act // may be run again
		row, err := v.store.holdDraft(ctx, tx, ns, id)
		if errors.Is(err, db.ErrNoRows) {
			return ErrNoDraft.Withf("%.80s", id)
		}
		if err != nil {
			return err
		}
		if row.Document, err = addSignatures(uptane.Uptane, row.Document, sigs); err != nil {
			return err
		}
		if row.Twin != nil {
			if row.Twin, err = addSignatures(uptane.TUF, row.Twin, tufSigs); err != nil {
				return err
			}
		}
		if out, err = v.readDraft(state, row); errors.Is(err, uptane.ErrSignature) {
			return ErrDraftSignature.With(err.Error())
		}
		if err != nil {
			return err
		}
		for _, k := range out.SignedBy {
			if !slices.Contains(d.SignedBy, k) {
				act.Detail += ", by key " + string(k)
			}
		}
		return errors.Join(v.store.setSignatures(ctx, tx, row), v.store.addAct(ctx, tx, act))
	})
	if err != nil {
		return d, fmt.Errorf("adding signatures to root version %d of the %s repository: %w", d.Model.Version, d.Repository, err)
	}
	return out, nil
}

// addSignatures puts a list of signature objects into a document.
func addSignatures(f uptane.Flavour, doc, list []byte) ([]byte, error) {
	have, err := uptane.ParseEnvelope(f, doc)
	if err != nil {
		return nil, err
	}
	sigs, err := canonical.Parse(list, canonical.Options{ASCII: true})
	if err != nil || sigs.Kind() != canonical.Array || len(sigs.Items()) == 0 {
		return nil, ErrDraftSignature.Withf("no list of signatures for the %s flavour", f)
	}
	v, err := canonical.Parse(doc, canonical.Options{ASCII: true})
	if err != nil {
		return nil, err
	}
	more, err := uptane.ParseEnvelope(f, v.With("signatures", sigs).Uptane())
	if err != nil {
		return nil, ErrDraftSignature.With(err.Error())
	}
	for _, s := range more.Signatures {
		have.Signatures = slices.DeleteFunc(have.Signatures, func(old uptane.Signature) bool { return old.KeyID == s.KeyID })
		have.Signatures = append(have.Signatures, s)
	}
	return have.Encode(f), nil
}

// WithdrawDraft gives up the root of that id, and the online keys that were made
// for it. It answers [ErrNoDraft].
func (v *Vault) WithdrawDraft(ctx context.Context, ns uptane.Namespace, id string) error {
	d, err := v.Draft(ctx, ns, id)
	if err != nil {
		return err
	}
	state, err := v.rootState(ctx, ns, d.Repository)
	if err != nil {
		return err
	}
	row, err := v.store.draftOf(ctx, v.store.db, ns, d.Repository)
	if errors.Is(err, db.ErrNoRows) || err == nil && row.ID != id { // another took its place just now
		return ErrNoDraft.Withf("%.80s", id)
	}
	if err != nil {
		return fmt.Errorf("reading the draft of a root: %w", err)
	}
	gone, err := v.giveUp(ctx, state, row, "withdrawn")
	if err == nil && !gone { // published meanwhile, or given up by somebody else
		err = ErrNoDraft.Withf("%.80s", id)
	}
	return err
}

func (v *Vault) giveUp(ctx context.Context, state *rootState, row draftRow, why string) (gone bool, err error) {
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		gone, err = v.dropDraft(ctx, tx, state, row, why)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("giving up root version %d of the %s repository: %w", row.Version, row.Repository, err)
	}
	return gone, nil
}

// dropDraft removes a draft with the keys that were made for it and that the root
// in force does not name, and reports whether it was there. One without an id never
// is.
func (v *Vault) dropDraft(ctx context.Context, tx *sqlx.Tx, state *rootState, row draftRow, why string) (bool, error) {
	if row.ID == "" {
		return false, nil
	}
	// First, as publish does: no root names keys that are deleted at this moment.
	if err := v.store.renewStamp(ctx, tx, state.ns, stampRoots); err != nil {
		return false, err
	}
	gone, err := v.store.removeDraft(ctx, tx, row)
	if err != nil || !gone {
		return false, err
	}
	act, err := v.act(ctx, state.ns, "root.withdraw", "root version %d of the %s repository, %s: %s", row.Version, row.Repository, row.ID, why)
	if err != nil {
		return false, err
	}
	var made []uptane.KeyID
	if err := json.Unmarshal([]byte(row.Made), &made); err != nil {
		return false, err
	}
	return true, errors.Join(v.store.addAct(ctx, tx, act), v.forgetKeys(ctx, tx, state, made, state.roles))
}

// forgetKeys deletes private keys of online roles, but those that a root names.
func (v *Vault) forgetKeys(ctx context.Context, tx *sqlx.Tx, state *rootState, ids []uptane.KeyID, named map[uptane.Role]roleTrust) error {
	for _, id := range ids {
		if slices.ContainsFunc(topLevel(), func(r uptane.Role) bool {
			return slices.ContainsFunc(named[r].keys, func(k uptane.Key) bool { return k.ID() == id })
		}) {
			continue
		}
		gone, err := v.store.removeOnlineKey(ctx, tx, state.ns, id)
		if err != nil {
			return err
		}
		if !gone {
			continue
		}
		act, err := v.act(ctx, state.ns, "key.delete", "key %s of the %s repository: no root names it", id, state.repo)
		if err == nil {
			err = v.store.addAct(ctx, tx, act)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settle ends what a new root makes superfluous: the draft of its version, and
// private keys that the root before it named and it does not.
func (v *Vault) settle(ctx context.Context, tx *sqlx.Tx, state *rootState, next nextRoot) error {
	var ids []uptane.KeyID
	for _, role := range onlineRoles(state.repo) {
		for _, k := range state.roles[role].keys {
			ids = append(ids, k.ID())
		}
	}
	row, err := v.store.draftOf(ctx, tx, state.ns, state.repo)
	if errors.Is(err, db.ErrNoRows) {
		return v.forgetKeys(ctx, tx, state, ids, next.roles)
	}
	if err != nil {
		return err
	}
	var made []uptane.KeyID
	if err := json.Unmarshal([]byte(row.Made), &made); err != nil {
		return err
	}
	if _, err := v.store.removeDraft(ctx, tx, row); err != nil {
		return err
	}
	return v.forgetKeys(ctx, tx, state, append(ids, made...), next.roles)
}
