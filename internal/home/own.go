package home

import (
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sealift/internal/hsm"
	"sealift/uptane"
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
	return k.StorePrivate(name, private, sealed)
}

// StorePrivate stores a private key and proves that what is on disk can sign as
// it. It is sealed under the passphrase that Passphrases.Choose gives, if sealed
// is set. Errors wrap ErrExists where the name is taken.
func (k *Keyring) StorePrivate(name string, private crypto.Signer, sealed bool) error {
	if err := checkName(name); err != nil {
		return err
	}
	if k.Has(name) || k.HasPrivate(name) {
		return fmt.Errorf("storing key %s: %w", name, ErrExists)
	}
	key, err := uptane.NewKey(private.Public())
	if err != nil {
		return fmt.Errorf("storing key %s: %w", name, err)
	}
	if err := k.storePair(name, private, sealed); err != nil {
		return err
	}
	return k.Prove(name, key)
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

// openToken opens the key in a PKCS#11 token or a key service that a private key file
// names.
func (k *Keyring) openToken(name, path, uri string) (crypto.Signer, error) {
	key, err := hsm.Open(uri, k.surroundings())
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w: %w", path, ErrKeyFile, err)
	}
	if err := k.checkPublic(name, key); err != nil {
		key.Close()
		return nil, err
	}
	return key, nil // the session ends with the process
}

func (k *Keyring) surroundings() hsm.Surroundings {
	return hsm.Surroundings{Getenv: k.opts.Passphrases.Getenv, Prompt: k.opts.Passphrases.Prompt, Service: k.opts.Service}
}

// UseToken stores a reference to the key of a PKCS#11 token or a key service that uri
// names. In a token, one that is not there is made: RSA of bits, 0 for Ed25519; it
// cannot leave the token. Errors wrap ErrExists where the name is taken, or are those
// of package hsm.
func (k *Keyring) UseToken(name, uri string, bits int) (uptane.Key, error) {
	return k.refer(name, func() (hsm.Key, string, error) { return hsm.Use(uri, bits, k.surroundings()) })
}

// MakeAt is UseToken for a new key at a place: for what is new there see hsm.Make.
func (k *Keyring) MakeAt(name, place, label string, bits int) (uptane.Key, error) {
	return k.refer(name, func() (hsm.Key, string, error) { return hsm.Make(place, label, bits, k.surroundings()) })
}

// refer stores a reference to a key that is elsewhere.
func (k *Keyring) refer(name string, find func() (hsm.Key, string, error)) (uptane.Key, error) {
	if err := checkName(name); err != nil {
		return uptane.Key{}, err
	}
	if k.Has(name) || k.HasPrivate(name) {
		return uptane.Key{}, fmt.Errorf("storing key %s: %w", name, ErrExists)
	}
	private, uri, err := find()
	if err != nil {
		return uptane.Key{}, err
	}
	key, err := uptane.NewKey(private.Public())
	if err := errors.Join(err, private.Close()); err != nil {
		return uptane.Key{}, fmt.Errorf("using key %s at %s: %w", name, uri, err)
	}
	pub, err := publicFile(key)
	if err != nil {
		return uptane.Key{}, err
	}
	return key, k.store(name, pub, []byte(uri+"\n"))
}

// Successor makes the key that takes the place of another one: of keytype, or of the
// other's type for "", in the token where the other one is, or else in a file that is
// sealed as by Generate. People make keys in a key service: then it wraps
// hsm.ErrMadeThere. Errors are those of Generate and of UseToken.
func (k *Keyring) Successor(name string, gone uptane.Key, keytype string) (uptane.Key, error) {
	if keytype == "" {
		keytype = gone.Algorithm()
		if _, _, err := ParseKeyType(keytype); err != nil {
			keytype = "" // keys like it are made no more
		}
	}
	kind, bits, err := ParseKeyType(keytype)
	if err != nil {
		return uptane.Key{}, err
	}
	old := k.Named(gone)
	if old == "" {
		return k.Generate(name, kind, bits, true)
	}
	raw, err := readFile(k.file(old, ".sec"), maxKeyFile)
	if err != nil || formOf(raw) != token {
		return k.Generate(name, kind, bits, true)
	}
	uri, err := hsm.Beside(string(raw), fmt.Sprintf("sealift-%s-%.8s", name, strings.ToLower(rand.Text())))
	if err != nil {
		return uptane.Key{}, fmt.Errorf("making key %s beside %s: %w", name, old, err)
	}
	return k.UseToken(name, uri, bits)
}
