package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sealift/internal/home"
	"sealift/internal/hsm"
	"sealift/uptane"
)

const maxKeyFile = 64 << 10

func runKeyGenerate(c *call) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	return c.generate(h.Keys(), c.get("name"))
}

// generate makes a key. It is sealed when that is asked for or a passphrase is
// set, and plain otherwise, as scripts written for the older tool expect.
func (c *call) generate(ring *home.Keyring, name string) error {
	kind := home.Ed25519
	switch strings.ToLower(c.get("type")) {
	case "", "ed25519":
	case "rsa":
		kind = home.RSA
	case "ecprime256v1", "ecdsa", "ec":
		return usagef("ECDSA keys cannot be used: devices refuse a whole document that holds or is signed with one; ed25519 and rsa can")
	default:
		return usagef("'%s' is no key type, only ed25519 and rsa are", c.get("type"))
	}
	bits := 0
	if s := c.get("keysize"); s != "" && kind == home.RSA {
		var err error
		if bits, err = strconv.Atoi(s); err != nil || bits < 2048 {
			return usagef("'%s' is no size of an RSA key: 2048, 3072 or 4096", s)
		}
	}
	if uri := c.get("pkcs11"); uri != "" {
		return c.useToken(ring, name, uri, kind, bits)
	}
	sealed := c.sealing()
	key, err := ring.Generate(name, kind, bits, sealed)
	if err != nil {
		return err
	}
	if !sealed {
		c.warn("the private key of " + name + " is stored in plain text; --sealed or GARAGE_SIGN_PASSPHRASE encrypts it")
	}
	c.say("Made %s key %s with id %s", key.Algorithm(), name, key.ID())
	return nil
}

// explains reports whether an error of package hsm says all that there is to say.
func explains(err error) bool {
	return slices.ContainsFunc([]error{hsm.ErrNotBuiltIn, hsm.ErrPIN, hsm.ErrNotFound, hsm.ErrNoService, hsm.ErrKind, hsm.ErrAway, hsm.ErrBusy},
		func(known error) bool { return errors.Is(err, known) })
}

// useToken takes a key of a PKCS#11 token, which is made if it is not there, or of a
// key service.
func (c *call) useToken(ring *home.Keyring, name, uri string, kind home.KeyType, bits int) error {
	if kind == home.RSA && bits == 0 {
		bits = 3072
	}
	key, err := ring.UseToken(name, uri, bits)
	switch {
	case explains(err):
		return explained("%w", err)
	case errors.Is(err, hsm.ErrURI):
		return usagef("%v", err)
	case err != nil:
		return err
	}
	c.say("The %s key %s of the token has id %s", key.Algorithm(), name, key.ID())
	return nil
}

// sealing tells whether private keys are stored encrypted.
func (c *call) sealing() bool {
	return c.has("sealed") || c.getenv("GARAGE_SIGN_PASSPHRASE") != "" || c.getenv("GARAGE_SIGN_PASSPHRASE_FILE") != ""
}

func (c *call) userKeys() *home.Keyring {
	dir := c.get("keys-path")
	if dir == "" {
		dir = filepath.Join(c.homeDir(), "user-keys")
	}
	return home.OpenKeyring(dir, c.options())
}

func runUserKeyGen(c *call) error { return c.generate(c.userKeys(), c.get("key-name")) }

func runUserKeyID(c *call) error {
	key, err := readPublic(c.get("input"))
	if err != nil {
		return err
	}
	c.say("%s", key.ID())
	return nil
}

// readPublic reads a public key file.
func readPublic(path string) (uptane.Key, error) {
	raw, err := readInput(path, maxKeyFile)
	if err != nil {
		return uptane.Key{}, err
	}
	key, err := uptane.ParseKey(raw)
	if err != nil {
		return key, fmt.Errorf("reading %s: %w", path, err)
	}
	return key, nil
}

func runImportPublic(c *call) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	raw, err := readInput(c.get("input"), maxKeyFile)
	if err != nil {
		return err
	}
	key, err := home.ParsePublic(raw)
	if errors.Is(err, uptane.ErrMalformed) {
		return explained("%s is no public key in PEM, nor the public key file of this tool", c.get("input"))
	}
	if err != nil {
		return err
	}
	for _, name := range c.list("key-name") {
		if err := h.Keys().StorePublic(name, key); err != nil {
			return err
		}
		c.say("Stored public key %s with id %s", name, key.ID())
	}
	return nil
}
