package home

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// ImportPair stores a key that came as one object with its public and private
// part, as servers of the older kind give keys away, and proves that what is on
// disk can sign as want. It is sealed under the passphrase that
// Passphrases.Choose gives, if sealed is set. Errors wrap ErrExists or
// ErrKeyFile; the key is only to be relied on without one.
func (k *Keyring) ImportPair(name string, raw []byte, want uptane.Key, sealed bool) error {
	if err := checkName(name); err != nil {
		return err
	}
	if k.Has(name) || k.HasPrivate(name) {
		return fmt.Errorf("importing key %s: %w", name, ErrExists)
	}
	private, err := ParsePrivate(raw)
	if err != nil {
		return fmt.Errorf("importing key %s: %w", name, err)
	}
	if err := belong(want, private); err != nil {
		return fmt.Errorf("importing key %s: %w", name, err)
	}
	v, err := encodePrivate(private)
	if err != nil {
		return err
	}
	sec := pretty(v)
	if sealed {
		passphrase, err := k.opts.Passphrases.Choose("key " + name)
		if err != nil {
			return err
		}
		if sec, err = Seal(v.Uptane(), passphrase); err != nil {
			return err
		}
	}
	pub, err := publicFile(want)
	if err != nil {
		return err
	}
	if err := k.store(name, pub, sec); err != nil {
		return err
	}
	if err := syncDir(k.dir); err != nil {
		return fmt.Errorf("importing key %s: %w", name, err)
	}
	return k.Prove(name, want)
}

// Prove signs with a key as it is on disk now and verifies that with want.
func (k *Keyring) Prove(name string, want uptane.Key) error {
	private, err := k.readPrivate(name)
	if err != nil {
		return err
	}
	sig, err := uptane.Sign(private, []byte("proof that a stored key works"))
	if err != nil {
		return fmt.Errorf("proving key %s: %w", name, err)
	}
	if sig.Key != want {
		return fmt.Errorf("proving key %s: it is another key: %w", name, ErrKeyFile)
	}
	return nil
}

// Named returns the name of the local key that is key, with its private part,
// or "".
func (k *Keyring) Named(key uptane.Key) string {
	names, err := k.Names()
	if err != nil {
		return ""
	}
	i := slices.IndexFunc(names, func(name string) bool {
		own, err := k.Public(name)
		return err == nil && own == key && k.HasPrivate(name)
	})
	if i < 0 {
		return ""
	}
	return names[i]
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// SealRoot signs a root that was put together elsewhere, in the flavours of this
// home. Neither it nor the unsigned root is stored: [Home.KeepRoot] does that
// once the server has it.
func (h *Home) SealRoot(ctx context.Context, root *metadata.RootType, keys []string) (Signed, error) {
	payload, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, root)
	if err != nil {
		return Signed{}, err
	}
	v, err := canonical.Parse(payload, ascii)
	if err != nil {
		return Signed{}, err
	}
	return h.seal(ctx, uptane.RoleRoot, v, Signing{Keys: keys, Version: root.Version, Expires: root.Expires}, RootLife, rootTwin)
}

// KeepRoot makes a signed root the local one.
func (h *Home) KeepRoot(s Signed) error { return h.setSigned(uptane.RoleRoot, s) }

// ReplaceKeys makes key the only one of a role in a root.
func ReplaceKeys(root *metadata.RootType, role uptane.Role, key uptane.Key) error {
	ring, err := uptane.RingOf(uptane.Uptane, root, role)
	if err != nil {
		return err
	}
	for _, old := range ring.Keys {
		if old != key {
			uptane.RemoveKey(root, role, old)
		}
	}
	root.Roles[string(role)].Threshold = 1
	return uptane.AddKey(root, role, key)
}

// NextRoot is a copy of root to be edited, one version on and with the usual
// life.
func (h *Home) NextRoot(root uptane.Document[metadata.RootType]) (*metadata.RootType, error) {
	next, err := uptane.ParsePayload[metadata.RootType](uptane.Uptane, uptane.RoleRoot, root.Signed)
	if err != nil {
		return nil, err
	}
	next.Version++
	next.Expires = h.opts.Now().UTC().Truncate(time.Second).Add(RootLife)
	return next, nil
}

// ParsePublic reads a public key: the object of a .pub file, or PEM.
func ParsePublic(raw []byte) (uptane.Key, error) {
	if block, _ := pem.Decode(raw); block != nil && block.Type == "PUBLIC KEY" {
		return uptane.ParseSPKI(block.Bytes)
	}
	return uptane.ParseKey(raw)
}
