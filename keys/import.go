package keys

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

// A repository of another server is taken over with all its roots and the private
// keys of its online roles, so that devices go on from what they trust. Between
// [Vault.BeginImport] and [Vault.FinishImport] the rest of it is brought here;
// devices get nothing of the namespace until then.

var (
	// ErrImportUnfinished: part of what is taken over is not here yet.
	ErrImportUnfinished = fault.New(fault.Unavailable, "import_unfinished",
		"the namespace is being taken over from another server; it is served when that has been finished")
	// ErrImportConflict: the namespace has roots of its own.
	ErrImportConflict = fault.New(fault.Conflict, "import_conflict",
		"the namespace has other roots than the server it is to be taken over from")
)

// Takeover is a repository of another server.
type Takeover struct {
	Repository uptane.Repository
	// Roots are all of them, from version 1.
	Roots [][]byte
	// Keys are the private keys of online roles. Those of the last root must be
	// among them, others must not. One of the Image repository's targets is taken,
	// though it is not needed: whoever gives it wants the server to have it.
	Keys map[uptane.Role][]crypto.Signer
	// Known are keys whose private halves the other server had beside these: those
	// that are taken offline here, too.
	Known []uptane.Key
}

// Import is how far a namespace was taken over.
type Import struct {
	Begun, Finished time.Time // zero: not yet
}

// Import tells how far a namespace was taken over from another server.
func (v *Vault) Import(ctx context.Context, ns uptane.Namespace) (Import, error) {
	row, err := v.store.takeover(ctx, ns)
	if err != nil {
		return Import{}, fmt.Errorf("reading the import of namespace %s: %w", ns, err)
	}
	i := Import{Finished: maybeTime(row.Finished)}
	if row.Begun > 0 {
		i.Begun = time.UnixMilli(row.Begun).UTC()
	}
	return i, nil
}

// BeginImport takes over the roots and online keys of repositories in a namespace
// that has no roots, all or nothing. Where that was done before it compares: the
// same roots change nothing, others answer [ErrImportConflict]. Roots that no
// client would follow, or whose keys are missing, answer [ErrInvalidRoot]. The
// keys, and those known beside them, are marked as imported until a root is
// published that does not name them. One key may stand for root and for targets of
// the Image repository, where the server has its private half for neither.
func (v *Vault) BeginImport(ctx context.Context, ns uptane.Namespace, list ...Takeover) error {
	if !ns.Valid() {
		return errNamespace.Withf("%.80q", ns)
	}
	v.touched(ns)
	before, err := v.Import(ctx, ns)
	if err != nil {
		return err
	}
	if !before.Begun.IsZero() {
		return v.sameRoots(ctx, ns, list)
	}
	var all []importing
	for _, t := range list {
		i, err := v.judgeTakeover(ctx, ns, t)
		if err != nil {
			return fmt.Errorf("importing the %s repository: %w", t.Repository, err)
		}
		all = append(all, i)
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error { return v.storeImport(ctx, tx, ns, all) })
	if errors.Is(err, db.ErrExists) {
		err = ErrImportConflict
	}
	v.touched(ns)
	if err != nil {
		return fmt.Errorf("importing roots and keys of namespace %s: %w", ns, err)
	}
	return nil
}

// FinishImport lets devices have what was taken over. It may be called again.
func (v *Vault) FinishImport(ctx context.Context, ns uptane.Namespace) error {
	now, err := v.Import(ctx, ns)
	if err != nil || now.Begun.IsZero() || !now.Finished.IsZero() {
		return err
	}
	act, err := v.act(ctx, ns, "import.finish", "everything is here, devices are served")
	if err != nil {
		return err
	}
	return v.changeRecovery(ctx, ns, act, func(ctx context.Context, tx *sqlx.Tx) error {
		return v.store.finishTakeover(ctx, tx, ns, act.At)
	})
}

// sameRoots refuses roots that are not those that were taken over. Newer ones may
// have been published here since.
func (v *Vault) sameRoots(ctx context.Context, ns uptane.Namespace, list []Takeover) error {
	for _, t := range list {
		for i, doc := range t.Roots {
			have, err := v.Root(ctx, ns, t.Repository, i+1)
			if errors.Is(err, ErrNoRoot) {
				return ErrImportConflict.Withf("root %d of the %s repository was published by the other server after the import", i+1, t.Repository)
			}
			if err != nil {
				return err
			}
			given, err := uptane.OpenRoot(uptane.Uptane, doc, nil, time.Time{})
			if err != nil || string(given.Raw) != string(have) {
				return ErrImportConflict.Withf("root %d of the %s repository is another one here", i+1, t.Repository)
			}
		}
	}
	return nil
}

// importing is a repository that was found good.
type importing struct {
	state *rootState // without any root
	roots []nextRoot
	keys  []madeKey
	known []uptane.Key
	act   Act
}

// judgeTakeover judges each root as the successor of the one before it, as if
// they were published one after the other.
func (v *Vault) judgeTakeover(ctx context.Context, ns uptane.Namespace, t Takeover) (importing, error) {
	i := importing{known: t.Known}
	var err error
	if i.state, err = v.rootState(ctx, ns, t.Repository); err != nil {
		return i, err
	}
	if i.state.version > 0 {
		return i, ErrImportConflict.Withf("the %s repository has root %d; import into a server made with sealift init --for-import", t.Repository, i.state.version)
	}
	if len(t.Roots) == 0 {
		return i, reasons{"there are no roots"}.fault()
	}
	walk := &rootState{ns: ns, repo: t.Repository, docs: map[docKey][]byte{}}
	for n, doc := range t.Roots {
		if len(doc) > maxRoot {
			return i, tooLarge(len(doc))
		}
		next, err := v.judgeRoot(ctx, walk, doc, nil)
		if err != nil {
			return i, fmt.Errorf("checking root %d: %w", n+1, err)
		}
		walk.version, walk.roles, walk.since, walk.payload = next.version, next.roles, next.since, &next.payload
		walk.docs[docKey{uptane.Uptane, next.version}] = next.raw
		i.roots = append(i.roots, next)
	}
	if !v.now().Before(walk.payload.Expires) {
		return i, reasons{fmt.Sprintf("root %d ended %s; have the old server make a new one first", walk.version, walk.payload.Expires.Format(time.RFC3339))}.fault()
	}
	if i.keys, err = v.takenKeys(ctx, walk, t.Keys); err != nil {
		return i, err
	}
	i.act, err = v.act(ctx, ns, "import.roots", "%d roots of the %s repository and %d private keys", len(i.roots), t.Repository, len(i.keys))
	return i, err
}

// takenKeys seals the private keys that the last root names and refuses others.
func (v *Vault) takenKeys(ctx context.Context, last *rootState, given map[uptane.Role][]crypto.Signer) (list []madeKey, err error) {
	var why reasons
	for role, signers := range given {
		if !isOnline(last.repo, role) && (last.repo != uptane.ImageRepository || role != uptane.RoleTargets) {
			return nil, errNotOnline.Withf("%s of the %s repository", role, last.repo)
		}
		for _, signer := range signers {
			k, err := v.takenKey(ctx, last, role, signer)
			if err != nil {
				return nil, err
			}
			if !last.roles[role].has(k.Key) {
				why.add("key %s is not one of %s in root %d", k.Key.ID(), role, last.version)
			}
			list = append(list, k)
		}
	}
	for _, role := range onlineRoles(last.repo) {
		need, have := last.roles[role].threshold, 0
		for _, k := range list {
			if k.Role == role {
				have++
			}
		}
		if have < need {
			why.add("%d of the %d private keys are there that %s needs", have, need, role)
		}
	}
	return list, why.fault()
}

func (v *Vault) takenKey(ctx context.Context, last *rootState, role uptane.Role, signer crypto.Signer) (k madeKey, err error) {
	key, err := uptane.NewKey(signer.Public())
	if err != nil {
		return k, err
	}
	packed, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return k, fmt.Errorf("encoding private key: %w", err)
	}
	k.roleKey = roleKey{last.ns, last.repo, role, key}
	if k.box, err = v.seals.sealBytes(ctx, packed, string(last.ns), string(last.repo), string(role), string(key.ID())); err != nil {
		return k, err
	}
	k.act, err = v.act(ctx, last.ns, "key.import", "%s key %s for %s of the %s repository, from another server", key.Algorithm(), key.ID(), role, last.repo)
	return k, err
}

func (v *Vault) storeImport(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, all []importing) error {
	for _, i := range all {
		for _, k := range i.keys {
			if err := v.storeOnline(ctx, tx, k); err != nil {
				return err
			}
			i.known = append(i.known, k.Key)
		}
		if err := v.storeRoots(ctx, tx, i); err != nil {
			return err
		}
		for _, key := range i.known {
			if err := v.store.markImported(ctx, tx, ns, key, i.act.At); err != nil {
				return err
			}
		}
		if err := v.store.addAct(ctx, tx, i.act); err != nil {
			return err
		}
	}
	return errors.Join(
		v.store.beginTakeover(ctx, tx, ns, v.now()),
		v.store.renewStamp(ctx, tx, ns, stampRoots))
}

// storeRoots enters the roots of a repository and what all their keys are for,
// also of those that were replaced.
func (v *Vault) storeRoots(ctx context.Context, tx *sqlx.Tx, i importing) error {
	for _, role := range topLevel() { // root first: that is what a key of two roles is entered for
		for _, next := range i.roots {
			for _, key := range next.roles[role].keys {
				mine, err := v.store.claimKey(ctx, tx, roleKey{i.state.ns, i.state.repo, role, key}, i.act.At)
				if err != nil {
					return err
				}
				if !mine && !i.ofRootToo(role, key) {
					return reasons{fmt.Sprintf("key %s of %s in root %d: %v", key.ID(), role, next.version, errKeyElsewhere)}.fault()
				}
			}
		}
	}
	for _, next := range i.roots {
		if err := v.store.addRoot(ctx, tx, i.state.ns, i.state.repo, next, i.act.At); err != nil {
			return err
		}
	}
	return nil
}

// ofRootToo tells whether a key of a role is one of root, too, and may be: on other
// servers a person can give both offline roles of the Image repository one key, and
// what stands in a root that devices have stays there for ever. Neither signs here.
func (i importing) ofRootToo(role uptane.Role, key uptane.Key) bool {
	return mayBeOfRootToo(i.state.repo, role) && slices.ContainsFunc(i.roots, func(r nextRoot) bool { return r.roles[uptane.RoleRoot].has(key) })
}

func mayBeOfRootToo(repo uptane.Repository, role uptane.Role) bool {
	return repo == uptane.ImageRepository && role == uptane.RoleTargets
}
