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
	"sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/ceremony"
)

// What callers are told about roots that people are signing.
var (
	ErrNoDraft         = fault.New(fault.NotFound, "root_draft_not_found", "no such root waits for signatures")
	ErrDraftChanged    = fault.New(fault.PreconditionFailed, "root_draft_changed", "another root waits for signatures")
	ErrDraftSignature  = fault.New(fault.Invalid, "root_draft_signature", "these are no signatures for this root")
	ErrDraftIncomplete = fault.New(fault.PreconditionFailed, "root_draft_incomplete", "too few people have signed")
)

const (
	// DraftLife is how long a root waits for signatures.
	DraftLife = 30 * 24 * time.Hour
	// draftRootLife is how long a root is valid for which nothing else is asked.
	draftRootLife = 365 * 24 * time.Hour
	// signatureSize is more than one signature takes in a root.
	signatureSize = 1024
)

// DraftRequest says how the next root is to differ from the one in force.
type DraftRequest struct {
	Repository uptane.Repository
	Replaces   string                         // id of the draft that it takes the place of, "" for none
	Expires    time.Time                      // zero: a year from now
	Roles      map[uptane.Role]ceremony.Trust // those that change
	Rotate     []uptane.Role                  // online roles that get new keys, made here, as many as they have
	KeyType    string                         // of these: ed25519, rsa2048, rsa3072, rsa4096; "" as the keys that go
}

// Draft is a root that people are signing.
type Draft struct {
	ID          string // names what is signed
	Repository  uptane.Repository
	Before      ceremony.Model // in force
	Model       ceremony.Model // to come
	Made        []uptane.KeyID // online keys that were made for it and sign nothing yet
	SignedBy    []uptane.KeyID // of root keys of either
	Quorum      ceremony.Quorum
	CreatedAt   time.Time
	CreatedBy   string
	EndsAt      time.Time // given up then
	Uptane, TUF []byte    // with the signatures so far; TUF nil for the Director
}

// DraftRoot begins the next root of a repository, unsigned. Online keys that it
// rotates are made now and sign nothing before it is published. There is one draft
// of a repository at a time; signatures of the one that it replaces are lost, and
// keys that were made for that, too. It answers [ErrNoRoot], [ErrBehind], [ErrDraftChanged],
// [ErrInvalidRoot] with [Reasons], or a fault for a role that is not online.
func (v *Vault) DraftRoot(ctx context.Context, ns uptane.Namespace, ask DraftRequest) (d Draft, err error) {
	state, model, err := v.beginDraft(ctx, ns, ask)
	if err != nil {
		return Draft{}, err
	}
	now := v.now()
	made := []madeKey{}
	defer func() {
		if err != nil {
			v.discard(ctx, made...)
		}
	}()
	for _, role := range ask.Rotate {
		gone := model.Roles[role].Keys
		trust := ceremony.Trust{Threshold: model.Roles[role].Threshold}
		for i := range max(len(gone), 1) {
			keytype := ask.KeyType
			if keytype == "" && i < len(gone) {
				keytype = successorType(gone[i])
			}
			k, err := v.makeOnline(ctx, ns, ask.Repository, role, keytype)
			if err != nil {
				return Draft{}, err
			}
			made = append(made, k)
			trust.Keys = append(trust.Keys, k.Key)
		}
		model.Roles[role] = trust
	}
	row, err := v.encodeDraft(ctx, state, model, made)
	if err != nil {
		return Draft{}, fmt.Errorf("drafting root of the %s repository: %w", ask.Repository, err)
	}
	row.CreatedAt, row.EndsAt, row.CreatedBy = now.UnixMilli(), now.Add(DraftLife).UnixMilli(), v.actor(ctx)
	act, err := v.act(ctx, ns, "root.draft", "root version %d of the %s repository, %s", row.Version, ask.Repository, row.ID)
	if err != nil {
		return Draft{}, err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		// First, as publish does: no root comes between, which would leave this behind.
		if err := v.store.renewStamp(ctx, tx, ns, stampRoots); err != nil {
			return err
		}
		if last, err := v.store.rootVersion(ctx, tx, ns, ask.Repository); err != nil || last != state.version {
			return errOr(err, ErrDraftChanged.Withf("root version %d was published at the same moment", last))
		}
		old, err := v.store.draftOf(ctx, tx, ns, ask.Repository)
		if err != nil && !errors.Is(err, db.ErrNoRows) {
			return err
		}
		if waits := err == nil && old.waits(state.version, now); waits && old.ID != ask.Replaces {
			return ErrDraftChanged.Withf("%s waits, not %q", old.ID, ask.Replaces)
		}
		if _, err := v.dropDraft(ctx, tx, state, old, "replaced"); err != nil {
			return err
		}
		for _, k := range made {
			if err := v.storeOnline(ctx, tx, k); err != nil {
				return err
			}
		}
		why, err := v.rehearseKeys(ctx, tx, state, model)
		if err := errOr(err, why.fault()); err != nil {
			return err
		}
		return errors.Join(v.store.addDraft(ctx, tx, row), v.store.addAct(ctx, tx, act))
	})
	if errors.Is(err, db.ErrExists) {
		err = ErrDraftChanged.With("somebody else has begun one at the same moment")
	}
	if err != nil {
		return Draft{}, fmt.Errorf("drafting root of the %s repository: %w", ask.Repository, err)
	}
	return v.readDraft(state, row)
}

// beginDraft is the root in force and the model of its successor, but for new
// online keys.
func (v *Vault) beginDraft(ctx context.Context, ns uptane.Namespace, ask DraftRequest) (*rootState, ceremony.Model, error) {
	var m ceremony.Model
	if onlineRoles(ask.Repository) == nil {
		return nil, m, reasons{fmt.Sprintf("there is no %.40q repository", ask.Repository)}.fault()
	}
	v.touched(ns)
	state, err := v.rootState(ctx, ns, ask.Repository)
	if err != nil {
		return nil, m, err
	}
	if state.version == 0 {
		return nil, m, ErrNoRoot
	}
	if err := v.RequireRoot(ctx, ns, ask.Repository); err != nil { // the next version exists elsewhere
		return nil, m, err
	}
	if m, err = ceremony.Of(state.payload); err != nil {
		return nil, m, err
	}
	now := v.now().UTC().Truncate(time.Second)
	m.Version++
	if m.Expires = now.Add(draftRootLife); !ask.Expires.IsZero() {
		m.Expires = ask.Expires.UTC().Truncate(time.Second)
	}
	var why reasons
	if !m.Expires.After(now) {
		why.add("it would have expired already, %s", m.Expires.Format(time.RFC3339))
	}
	for role, trust := range ask.Roles {
		if _, known := m.Roles[role]; !known {
			why.add("there is no role %.40q", role)
		}
		m.Roles[role] = trust
	}
	for i, role := range ask.Rotate {
		if !isOnline(ask.Repository, role) {
			return nil, m, errNotOnline.Withf("%s of the %s repository", role, ask.Repository)
		}
		if slices.Contains(ask.Rotate[:i], role) {
			why.add("%s is to be rotated twice", role)
		}
	}
	return state, m, why.fault()
}

// encodeDraft writes a draft without signatures.
func (v *Vault) encodeDraft(ctx context.Context, state *rootState, m ceremony.Model, made []madeKey) (draftRow, error) {
	row := draftRow{Namespace: state.ns, Repository: state.repo, Version: int(m.Version)}
	p, err := m.Payloads(state.payload)
	if err != nil {
		return row, reasons{err.Error()}.fault()
	}
	signers := len(m.Roles[uptane.RoleRoot].Keys) + len(state.roles[uptane.RoleRoot].keys)
	if n := len(p.Uptane) + signers*signatureSize; n > maxRoot {
		return row, tooLarge(n)
	}
	row.ID, row.Document = p.ID, uptane.Frame(uptane.Uptane, p.Uptane)
	if state.repo == uptane.ImageRepository {
		row.Twin = uptane.Frame(uptane.TUF, p.TUF)
	}
	ids := []uptane.KeyID{}
	for _, k := range made {
		ids = append(ids, k.Key.ID())
	}
	model, err := json.Marshal(m)
	if err != nil {
		return row, err
	}
	list, err := json.Marshal(ids)
	row.Model, row.Made = string(model), string(list)
	return row, err
}

// rehearseKeys is claimKeys for a root that is not published yet: nothing is
// claimed.
func (v *Vault) rehearseKeys(ctx context.Context, tx *sqlx.Tx, state *rootState, m ceremony.Model) (why reasons, err error) {
	rows, err := v.store.onlineKeys(ctx, tx, state.ns, state.repo)
	if err != nil {
		return nil, err
	}
	for _, role := range topLevel() {
		for _, key := range m.Roles[role].Keys {
			if isOnline(state.repo, role) && !held(rows, role, key) {
				why.add("key %s of %s is not held by the server, which must sign with it", key.ID(), role)
				continue
			}
			elsewhere, err := v.store.usedElsewhere(ctx, tx, roleKey{state.ns, state.repo, role, key})
			if err != nil {
				return nil, err
			}
			if elsewhere && !state.roles[role].has(key) {
				why.add("key %s of %s: %v", key.ID(), role, errKeyElsewhere)
			}
		}
	}
	return why, nil
}

// readDraft reads a stored draft against the root in force. Its documents are held
// against what the model gives: what was changed in the database is no draft.
func (v *Vault) readDraft(state *rootState, row draftRow) (Draft, error) {
	d := Draft{ID: row.ID, Repository: row.Repository, Uptane: row.Document, TUF: row.Twin,
		CreatedAt: time.UnixMilli(row.CreatedAt).UTC(), EndsAt: time.UnixMilli(row.EndsAt).UTC(), CreatedBy: row.CreatedBy}
	err := errors.Join(json.Unmarshal([]byte(row.Model), &d.Model), json.Unmarshal([]byte(row.Made), &d.Made))
	if err == nil {
		d.Before, err = ceremony.Of(state.payload)
	}
	var p ceremony.Payloads
	if err == nil {
		p, err = d.Model.Payloads(state.payload)
	}
	if err == nil && p.ID != row.ID {
		err = errors.New("it is not what its model gives")
	}
	if err == nil {
		err = d.count(p)
	}
	if err != nil {
		return d, fmt.Errorf("reading the draft of root version %d of the %s repository: %w", row.Version, row.Repository, err)
	}
	return d, nil
}

// count says who has signed the documents, and demands that they are those of p
// and that both flavours are signed by the same people.
func (d *Draft) count(p ceremony.Payloads) error {
	var signers []uptane.Key
	for _, of := range []struct {
		f            uptane.Flavour
		doc, payload []byte
	}{{uptane.Uptane, d.Uptane, p.Uptane}, {uptane.TUF, d.TUF, p.TUF}} {
		if of.doc == nil {
			continue
		}
		e, err := uptane.ParseEnvelope(of.f, of.doc)
		if err == nil && string(e.Signed) != string(of.payload) {
			err = errors.New("it is not what its model gives")
		}
		if err != nil {
			return err
		}
		these, q, err := ceremony.Signers(of.f, d.Before, d.Model, of.doc)
		if err != nil {
			return err
		}
		if of.f == uptane.TUF {
			same := len(these) == len(signers) && !slices.ContainsFunc(these, func(k uptane.Key) bool { return !slices.Contains(signers, k) })
			if !same {
				return fmt.Errorf("%d keys have signed for devices and %d for TUF clients: %w", len(signers), len(these), uptane.ErrSignature)
			}
			continue
		}
		signers, d.Quorum, d.SignedBy = these, q, []uptane.KeyID{}
		for _, k := range these {
			d.SignedBy = append(d.SignedBy, k.ID())
		}
	}
	return nil
}
