package home

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sealift/internal/hsm"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// Keyring is a folder of key files: NAME.pub with the public key object and
// NAME.sec with the private one, plain or sealed. It need not be part of a Home.
type Keyring struct {
	dir    string
	opts   Options
	opened map[string]crypto.Signer // private keys that were asked for
}

// OpenKeyring gives access to the key files in dir, which is made by the first
// key that is stored.
func OpenKeyring(dir string, o Options) *Keyring {
	return &Keyring{dir: dir, opts: o.complete(), opened: map[string]crypto.Signer{}}
}

func (k *Keyring) file(name, ext string) string { return filepath.Join(k.dir, name+ext) }

// checkName keeps key names inside the folder.
func checkName(name string) error {
	ok := len(name) >= 1 && len(name) <= 100 && name[0] != '.'
	for _, c := range name {
		ok = ok && c > ' ' && c < 0x7f && !strings.ContainsRune(`/\:*?"<>|`, c)
	}
	if !ok {
		return fmt.Errorf("checking key name %q: %w", name, uptane.ErrName)
	}
	return nil
}

// Has reports whether there is a public key of this name.
func (k *Keyring) Has(name string) bool { return exists(k.file(name, ".pub")) }

// HasPrivate reports whether there is a private key of this name.
func (k *Keyring) HasPrivate(name string) bool { return exists(k.file(name, ".sec")) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Names lists the public keys.
func (k *Keyring) Names() ([]string, error) {
	entries, err := os.ReadDir(k.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listing keys: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".pub"); ok && checkName(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// Public reads NAME.pub. Errors wrap ErrNotFound or ErrKeyFile.
func (k *Keyring) Public(name string) (uptane.Key, error) {
	if err := checkName(name); err != nil {
		return uptane.Key{}, err
	}
	raw, err := readFile(k.file(name, ".pub"), maxKeyFile)
	if err != nil {
		return uptane.Key{}, err
	}
	key, err := uptane.ParseKey(raw)
	if err != nil {
		return uptane.Key{}, fmt.Errorf("reading %s: %w: %w", k.file(name, ".pub"), ErrKeyFile, err)
	}
	return key, nil
}

// Generate makes and stores a key. A sealed one is encrypted under the
// passphrase that Passphrases.Choose gives. bits counts for RSA alone, 0 is a
// good size. Errors wrap ErrExists where the name is taken.
func (k *Keyring) Generate(name string, kind KeyType, bits int, sealed bool) (uptane.Key, error) {
	if err := checkName(name); err != nil {
		return uptane.Key{}, err
	}
	if k.Has(name) || k.HasPrivate(name) {
		return uptane.Key{}, fmt.Errorf("generating key %s: %w", name, ErrExists)
	}
	private, err := generate(kind, bits)
	if err != nil {
		return uptane.Key{}, fmt.Errorf("generating key %s: %w", name, err)
	}
	key, err := uptane.NewKey(private.Public())
	if err != nil {
		return uptane.Key{}, fmt.Errorf("generating key %s: %w", name, err)
	}
	return key, k.storePair(name, private, sealed)
}

// storePair writes both files of a key, the private one sealed under the
// passphrase that Passphrases.Choose gives, if sealed is set.
func (k *Keyring) storePair(name string, private crypto.Signer, sealed bool) error {
	key, err := uptane.NewKey(private.Public())
	if err != nil {
		return fmt.Errorf("storing key %s: %w", name, err)
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
	pub, err := publicFile(key)
	if err != nil {
		return err
	}
	return k.store(name, pub, sec)
}

// Import stores a key that came as two files, byte for byte: sec may be plain,
// sealed or a reference to a key elsewhere. A plain pair that does not belong
// together is refused with ErrKeyFile, a name that is taken with ErrExists.
func (k *Keyring) Import(name string, pub, sec []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	key, err := uptane.ParseKey(pub)
	if err != nil {
		return fmt.Errorf("importing key %s: %w: %w", name, ErrKeyFile, err)
	}
	if formOf(sec) == plain {
		private, err := ParsePrivate(sec)
		if err != nil {
			return fmt.Errorf("importing key %s: %w", name, err)
		}
		if err := belong(key, private); err != nil {
			return fmt.Errorf("importing key %s: %w", name, err)
		}
	}
	return k.store(name, pub, sec)
}

// store writes the private key first: a public key alone looks whole. When it
// returns both are on the disk, and no key that was there is gone: errors wrap
// ErrExists.
func (k *Keyring) store(name string, pub, sec []byte) error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("storing key %s: %w", name, err)
	}
	if err := createFile(k.file(name, ".sec"), sec, 0o600); err != nil {
		return err
	}
	if err := createFile(k.file(name, ".pub"), pub, 0o600); err != nil {
		return err
	}
	if err := syncDir(k.dir); err != nil {
		return fmt.Errorf("storing key %s: %w", name, err)
	}
	return nil
}

// private is the private key of that name. It is opened once: that may take a
// passphrase and its time.
func (k *Keyring) private(name string) (crypto.Signer, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if key := k.opened[name]; key != nil {
		return key, nil
	}
	key, err := k.readPrivate(name)
	if err == nil {
		k.opened[name] = key
	}
	return key, err
}

// readPrivate reads NAME.sec and holds it against NAME.pub.
func (k *Keyring) readPrivate(name string) (crypto.Signer, error) {
	path := k.file(name, ".sec")
	raw, err := readFile(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	warnIfWide(path, k.opts.Warn)
	switch formOf(raw) {
	case sealed:
		if raw, err = k.opts.Passphrases.Open(raw, path); err != nil {
			return nil, err
		}
	case token:
		return k.openToken(name, path, string(raw))
	case propose:
		return nil, fmt.Errorf("reading %s: %w: %w", path, ErrKeyFile, ErrPropose)
	}
	private, err := ParsePrivate(raw)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return private, k.checkPublic(name, private)
}

// checkPublic holds a private key against NAME.pub, if there is one.
func (k *Keyring) checkPublic(name string, private crypto.Signer) error {
	if !k.Has(name) {
		return nil
	}
	public, err := k.Public(name)
	if err != nil {
		return err
	}
	if err := belong(public, private); err != nil {
		return fmt.Errorf("reading key %s: %w", name, err)
	}
	return nil
}

func belong(public uptane.Key, private crypto.Signer) error {
	own, err := uptane.NewKey(private.Public())
	if err != nil {
		return err
	}
	if own != public {
		return fmt.Errorf("the public and the private file are of different keys: %w", ErrKeyFile)
	}
	return nil
}

// ErrPropose marks a private key file that says "propose": whoever has it may
// propose documents, and somebody else signs them.
var ErrPropose = errors.New("it may propose and has no key to sign")

// form is what a private key file holds.
type form int

const (
	plain form = iota
	sealed
	token
	propose
)

func formOf(raw []byte) form {
	trimmed := bytes.TrimSpace(raw)
	switch {
	case hsm.IsURI(string(trimmed)):
		return token
	case bytes.Equal(trimmed, []byte("propose")):
		return propose
	}
	var box struct {
		KDF        json.RawMessage `json:"kdf"`
		Ciphertext string          `json:"ciphertext"`
	}
	if json.Unmarshal(trimmed, &box) == nil && len(box.KDF) > 0 && box.Ciphertext != "" {
		return sealed
	}
	return plain
}

// Signer signs with the named keys, whatever the job. Private keys are read,
// and passphrases asked for, when the first message is signed.
func (k *Keyring) Signer(names ...string) uptane.Signer {
	return &fileSigner{ring: k, names: names}
}

type fileSigner struct {
	ring  *Keyring
	names []string
	keys  []crypto.Signer
}

// Sign signs msg with every key. All or none: a missing key is an error.
func (s *fileSigner) Sign(_ context.Context, _ uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	if s.keys == nil {
		for _, name := range s.names {
			key, err := s.ring.private(name)
			if err != nil {
				s.keys = nil
				return nil, err
			}
			s.keys = append(s.keys, key)
		}
	}
	var sigs []uptane.RawSig
	for _, key := range s.keys {
		sig, err := uptane.Sign(key, msg)
		if err != nil {
			return nil, err
		}
		sigs = append(sigs, sig)
	}
	return sigs, nil
}

// StorePublic stores a public key whose private one is elsewhere. Errors wrap
// ErrExists where the name is taken.
func (k *Keyring) StorePublic(name string, key uptane.Key) error {
	if err := checkName(name); err != nil {
		return err
	}
	if k.Has(name) || k.HasPrivate(name) {
		return fmt.Errorf("storing public key %s: %w", name, ErrExists)
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("storing public key %s: %w", name, err)
	}
	pub, err := publicFile(key)
	if err != nil {
		return err
	}
	return createFile(k.file(name, ".pub"), pub, 0o600)
}

func publicFile(key uptane.Key) ([]byte, error) {
	v, err := canonical.Parse(key.Wire(uptane.Uptane), ascii)
	if err != nil {
		return nil, fmt.Errorf("writing public key %s: %w", key.ID(), err)
	}
	return pretty(v), nil
}
