package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

var (
	errNotOnline = fault.New(fault.Invalid, "role_not_online", "this role is signed with keys that are never on the server")
	errKeyType   = fault.New(fault.Invalid, "invalid_key_type", "no such type of key")
)

// onlineRoles are the roles signed on the server, by repository.
func onlineRoles(repo uptane.Repository) []uptane.Role {
	switch repo {
	case uptane.DirectorRepository:
		return []uptane.Role{uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp}
	case uptane.ImageRepository:
		return []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp}
	}
	return nil
}

func isOnline(repo uptane.Repository, role uptane.Role) bool {
	for _, r := range onlineRoles(repo) {
		if r == role {
			return true
		}
	}
	return false
}

// GenerateOnline makes a private key for a role, seals it and returns its
// public key. It signs as soon as a root names it. The type is "ed25519" (or
// empty), "rsa2048", "rsa3072" or "rsa4096", in any case. Roles that are
// signed offline are refused: root everywhere, targets of the Image
// repository.
func (v *Vault) GenerateOnline(ctx context.Context, ns uptane.Namespace, repo uptane.Repository, role uptane.Role, keytype string) (uptane.Key, error) {
	k, err := v.makeOnline(ctx, ns, repo, role, keytype)
	if err != nil {
		return uptane.Key{}, err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error { return v.storeOnline(ctx, tx, k) })
	if err != nil {
		v.discard(ctx, k)
		return uptane.Key{}, fmt.Errorf("generating %s key of the %s repository: %w", role, repo, err)
	}
	v.touched(ns)
	return k.Key, nil
}

// madeKey is a new private key, sealed, that is to be stored.
type madeKey struct {
	roleKey
	packed []byte // by the custodian
	box    sealed
	act    Act
}

// makeOnline makes a private key for an online role and seals it.
func (v *Vault) makeOnline(ctx context.Context, ns uptane.Namespace, repo uptane.Repository, role uptane.Role, keytype string) (k madeKey, err error) {
	if !ns.Valid() {
		return k, errNamespace.Withf("%.80q", ns)
	}
	if !isOnline(repo, role) {
		return k, errNotOnline.Withf("%s of the %s repository", role, repo)
	}
	private, packed, err := v.seals.makes.Make(keytype, fmt.Sprintf("%s-%s-%s", ns, repo, role))
	if err != nil {
		return k, err
	}
	k.packed = packed
	defer func() {
		if err != nil {
			v.discard(ctx, k)
		}
	}()
	key, err := uptane.NewKey(private.Public())
	if err != nil {
		return k, err
	}
	k.roleKey = roleKey{ns, repo, role, key}
	if k.box, err = v.seals.sealBytes(ctx, packed, string(ns), string(repo), string(role), string(key.ID())); err != nil {
		return k, err
	}
	k.act, err = v.act(ctx, ns, "key.generate", "%s key %s for %s of the %s repository", key.Algorithm(), key.ID(), role, repo)
	return k, err
}

// discarding is how long the deletion of keys that nobody needs may keep an answer
// back.
const discarding = 10 * time.Second

// discard deletes from their token what was made and never came into the database.
// What cannot be deleted, or may have been stored after all when a connection broke
// while a transaction committed, stays there and is told.
func (v *Vault) discard(ctx context.Context, made ...madeKey) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discarding)
	defer cancel()
	for _, k := range made {
		if !isPackedURI(k.packed) {
			continue
		}
		var rows []onlineKeyRow
		err := v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) (err error) {
			// Waits for a transaction of which nobody knows yet how it ends.
			if err = v.store.renewStamp(ctx, tx, k.Namespace, stampRoots); err == nil {
				rows, err = v.store.onlineKeys(ctx, tx, k.Namespace, k.Repository)
			}
			return err
		})
		if err == nil && held(rows, k.Role, k.Key) {
			continue
		}
		if err == nil {
			err = v.seals.makes.Discard(k.packed)
		}
		if err != nil {
			v.log.Warn("a key that was made for nothing stays in its token: delete it there, if sealift keys list does not name it", "namespace", k.Namespace, "role", k.Role, "key", string(k.packed), "error", err)
		}
	}
}

// storeOnline enters a new key in a transaction.
func (v *Vault) storeOnline(ctx context.Context, tx *sqlx.Tx, k madeKey) error {
	if mine, err := v.store.claimKey(ctx, tx, k.roleKey, k.act.At); err != nil || !mine {
		return errOr(err, errKeyElsewhere)
	}
	err := v.store.addOnlineKey(ctx, tx, k.roleKey, k.box, k.act.At)
	if errors.Is(db.Err(err), db.ErrExists) { // none that is made here is there twice
		return errNoNewKey.Withf("the one that is named for %s of the %s repository, %s, is in use: make another one there, give it the name, and ask again", k.Role, k.Repository, k.Key.ID())
	}
	return errors.Join(err,
		v.store.renewStamp(ctx, tx, k.Namespace, stampRoots),
		v.store.addAct(ctx, tx, k.act))
}

// held reports whether the private key of a role's key is among rows.
func held(rows []onlineKeyRow, role uptane.Role, key uptane.Key) bool {
	return slices.ContainsFunc(rows, func(r onlineKeyRow) bool { return r.Role == role && bytes.Equal(r.SPKI, key.SPKI()) })
}

// OnlineKeys returns the public keys whose private keys are held for a role,
// oldest first, whether a root names them or not.
func (v *Vault) OnlineKeys(ctx context.Context, ns uptane.Namespace, repo uptane.Repository, role uptane.Role) ([]uptane.Key, error) {
	rows, err := v.store.onlineKeys(ctx, v.store.db, ns, repo)
	if err != nil {
		return nil, fmt.Errorf("reading online keys: %w", err)
	}
	var list []uptane.Key
	for _, r := range rows {
		if r.Role != role {
			continue
		}
		key, err := uptane.ParseSPKI(r.SPKI)
		if err != nil {
			return nil, fmt.Errorf("reading online keys: %w", err)
		}
		list = append(list, key)
	}
	return list, nil
}

func newPrivateKey(keytype string) (crypto.Signer, error) {
	bits, err := bitsOf(keytype)
	if err != nil {
		return nil, err
	}
	if bits == 0 {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return rsa.GenerateKey(rand.Reader, bits)
}

// successorType is the type of the key that takes the place of another: the same,
// or the default where keys like it are made no more.
func successorType(gone uptane.Key) string {
	if _, err := bitsOf(gone.Algorithm()); err != nil {
		return ""
	}
	return gone.Algorithm()
}

// bitsOf returns the size of an RSA key of that type, 0 for Ed25519.
func bitsOf(keytype string) (int, error) {
	switch strings.ToLower(keytype) {
	case "", "ed25519":
		return 0, nil
	case "rsa", "rsa2048":
		return 2048, nil
	case "rsa3072":
		return 3072, nil
	case "rsa4096":
		return 4096, nil
	case "ecprime256v1", "ecdsa", "ec":
		return 0, errKeyType.With("ECDSA: devices refuse a whole root for one such key; use ed25519 or rsa2048, rsa3072, rsa4096")
	}
	return 0, errKeyType.Withf("%.40q; use ed25519, rsa2048, rsa3072 or rsa4096", keytype)
}

// errOr returns err, or the other one where err is nil.
func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
