package main

import (
	"crypto"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"sealift/internal/home"
	"sealift/internal/otatuf"
	"sealift/uptane"
)

// oldKey is a private key of the old server that the last root names.
type oldKey struct {
	role    uptane.Role
	key     uptane.Key
	private crypto.Signer
	raw     []byte // the object that was encrypted
	online  bool   // it signs here
	offline bool   // it goes into a home
}

// keyDump is the table of keys and what opens them.
type keyDump struct {
	rows   []otatuf.Key
	cipher *otatuf.Cipher
}

func readKeyDump(dir string) (keyDump, error) {
	var d keyDump
	f, err := os.Open(filepath.Join(dir, "keys.sql"))
	if err != nil {
		return d, fmt.Errorf("reading the dump of the keys: %w", err)
	}
	defer f.Close()
	if d.rows, err = otatuf.ReadKeys(f); err != nil {
		return d, fmt.Errorf("reading keys.sql: %w", err)
	}
	salt, password := os.Getenv("DB_ENCRYPTION_SALT"), os.Getenv("DB_ENCRYPTION_PASSWORD")
	if salt == "" || password == "" {
		return d, fmt.Errorf("DB_ENCRYPTION_SALT or DB_ENCRYPTION_PASSWORD is not set; they are in the configuration of the old key server")
	}
	d.cipher, err = otatuf.NewCipher(salt, password)
	return d, err
}

// takeKeys opens the private keys that the last root names. Others, of roots that
// were replaced, stay where they are. One that has two roles is refused: builds
// would get a root key with that of the targets.
func (r *oldRepository) takeKeys(d keyDump, onlineTargets bool) error {
	r.absent = map[uptane.Role]int{}
	for _, role := range importRoles() {
		ring, err := uptane.RingOf(uptane.Uptane, &r.last, role)
		if err != nil {
			return fmt.Errorf("reading the last root of the %s repository: %w", r.name, err)
		}
		for _, key := range ring.Keys {
			i := slices.IndexFunc(d.rows, func(k otatuf.Key) bool { return k.Public == key })
			if i < 0 || d.rows[i].Private == "" {
				r.absent[role]++
				continue
			}
			k, err := openKey(d, d.rows[i])
			if err != nil {
				return err
			}
			if slices.ContainsFunc(r.keys, func(other oldKey) bool { return other.key == key }) {
				return fmt.Errorf("key %s of %s of the %s repository has another role, too, and the old server has its private half: give each role a key of its own there, and fetch everything again", key.ID(), role, r.name)
			}
			k.role = role
			targets := role == uptane.RoleTargets && r.name == uptane.ImageRepository
			k.offline = role == uptane.RoleRoot || targets
			k.online = !k.offline || targets && onlineTargets
			r.keys = append(r.keys, k)
		}
	}
	return nil
}

func openKey(d keyDump, row otatuf.Key) (oldKey, error) {
	raw, err := d.cipher.Open(row.Private)
	if err != nil {
		return oldKey{}, fmt.Errorf("key %s: %w", row.ID, err)
	}
	private, err := home.ParsePrivate(raw)
	if err != nil {
		return oldKey{}, fmt.Errorf("key %s: %w", row.ID, err)
	}
	key, err := uptane.NewKey(private.Public())
	if err != nil {
		return oldKey{}, fmt.Errorf("key %s: %w", row.ID, err)
	}
	if key != row.Public {
		return oldKey{}, fmt.Errorf("key %s: its private key is another one's, %s", row.ID, key.ID())
	}
	return oldKey{key: key, private: private, raw: raw}, nil
}

// online are the private keys that sign here.
func (r oldRepository) online() map[uptane.Role][]crypto.Signer {
	list := map[uptane.Role][]crypto.Signer{}
	for _, k := range r.keys {
		if k.online {
			list[k.role] = append(list[k.role], k.private)
		}
	}
	return list
}

// known are all keys of the last root whose private halves the old server had.
func (r oldRepository) known() (list []uptane.Key) {
	for _, k := range r.keys {
		list = append(list, k.key)
	}
	return list
}

// hasTargetsKey tells whether builds can get a key to sign with.
func (s *oldServer) hasTargetsKey() bool {
	return slices.ContainsFunc(s.repositories[uptane.ImageRepository].keys, func(k oldKey) bool { return k.role == uptane.RoleTargets })
}
