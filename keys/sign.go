package keys

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"fmt"

	"github.com/jmoiron/sqlx"

	"sealift/internal/fault"
	"sealift/uptane"
)

// ErrKeyOffline: the current root names too few keys for the role that are
// held here.
var ErrKeyOffline = fault.New(fault.PreconditionFailed, "role_key_not_found",
	"the keys of this role are not on the server")

// Sign signs msg with the online keys that the current root names for the
// role. Every use of a key is in the record, committed, before Sign returns.
// It answers uptane.ErrRootChanged unless the root of the job is current,
// [ErrKeyOffline] where the keys here do not reach the threshold and
// [ErrClockBehind] while the clock cannot be right.
// It must not be called inside a transaction.
func (v *Vault) Sign(ctx context.Context, job uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	sigs, err := v.sign(ctx, job, msg)
	if err != nil {
		return nil, fmt.Errorf("signing %s of the %s repository in namespace %s: %w", job.Role, job.Repository, job.Namespace, err)
	}
	return sigs, nil
}

func (v *Vault) sign(ctx context.Context, job uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	anyRoot := job.RootVersion == 0
	const tries = 3 // a root can hardly change more often meanwhile
	for range tries {
		state, err := v.rootState(ctx, job.Namespace, job.Repository)
		if err != nil {
			return nil, err
		}
		if anyRoot {
			job.RootVersion = state.version
		}
		if job.RootVersion > state.version { // published by another replica just now
			v.touched(job.Namespace)
			continue
		}
		if job.RootVersion < state.version {
			break
		}
		signers, err := v.signers(ctx, state, job.Role)
		if err != nil {
			return nil, err
		}
		if err := v.spare(signers); err != nil {
			return nil, err
		}
		recorded, err := v.enterUse(ctx, job, signers, msg)
		if err != nil {
			return nil, err
		}
		if recorded {
			return v.signAll(signers, msg)
		}
		v.touched(job.Namespace) // another replica has a newer root
		if !anyRoot {
			break
		}
	}
	return nil, uptane.ErrRootChanged
}

// enterUse records the use of all keys at once, or of none because the root is
// no longer current.
func (v *Vault) enterUse(ctx context.Context, job uptane.Job, signers []onlineSigner, msg []byte) (bool, error) {
	now, number, err := v.checkClock(ctx)
	if err != nil {
		return false, err
	}
	r := use{Job: job, SHA256: hexSum(msg), Signed: now, Clock: number}
	var added bool
	if len(signers) == 1 {
		r.KeyID = signers[0].key.ID()
		added, err = v.store.addRecord(ctx, v.store.db, r)
	} else {
		err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
			for _, s := range signers {
				r.KeyID = s.key.ID()
				if added, err = v.store.addRecord(ctx, tx, r); err != nil || !added {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return false, fmt.Errorf("recording signature: %w", err)
	}
	if added {
		v.clock.signedAt(number, now)
	}
	return added, nil
}

func (v *Vault) signAll(signers []onlineSigner, msg []byte) ([]uptane.RawSig, error) {
	sigs := make([]uptane.RawSig, 0, len(signers))
	for _, s := range signers {
		sig, err := uptane.Sign(s.signer, msg)
		if s.uri != "" {
			err = v.tried(s.key, s.uri, err)
		}
		if err != nil {
			return nil, err
		}
		sigs = append(sigs, sig)
	}
	return sigs, nil
}

// signers opens the keys that the root names for the role, once per change.
func (v *Vault) signers(ctx context.Context, state *rootState, role uptane.Role) ([]onlineSigner, error) {
	if state.version == 0 {
		return nil, ErrNoRoot
	}
	state.mu.Lock()
	defer state.mu.Unlock()
	if list, ok := state.signers[role]; ok {
		return list, nil
	}
	rows, err := v.store.onlineKeys(ctx, v.store.db, state.ns, state.repo)
	if err != nil {
		return nil, fmt.Errorf("reading online keys: %w", err)
	}
	var list []onlineSigner
	named := state.roles[role]
	for _, row := range rows {
		key, err := uptane.ParseSPKI(row.SPKI)
		if err != nil {
			return nil, fmt.Errorf("reading online keys: %w", err)
		}
		if row.Role != role || !named.has(key) {
			continue
		}
		signer, uri, err := v.openOnline(ctx, state, row, key)
		if uri != "" && err != nil {
			err = v.tried(key, uri, err)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, onlineSigner{key, signer, uri})
	}
	if len(list) < max(named.threshold, 1) {
		return nil, ErrKeyOffline.Withf("%s of the %s repository: %d of %d keys that are needed", role, state.repo, len(list), named.threshold)
	}
	state.signers[role] = list
	return list, nil
}

// openOnline opens a private key of an online role and makes sure that it is the
// one of that public key. It tells its URI if it is in a token or key service; the
// latter is not asked yet.
func (v *Vault) openOnline(ctx context.Context, state *rootState, row onlineKeyRow, key uptane.Key) (crypto.Signer, string, error) {
	signer, uri, err := v.seals.openOnline(ctx, row.sealed, roleKey{state.ns, state.repo, row.Role, key})
	if private, ok := signer.(ed25519.PrivateKey); err == nil && ok {
		signer, err = uptane.HoldKey(private)
	}
	if err != nil {
		return nil, uri, fmt.Errorf("opening key %s: %w", key.ID(), err)
	}
	return signer, uri, nil
}
