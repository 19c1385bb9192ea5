package main

import (
	"encoding/pem"
	"path/filepath"
	"strconv"

	"sealift/internal/home"
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
	switch c.get("type") {
	case "", "ed25519":
	case "rsa":
		kind = home.RSA
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
	sealed := c.has("sealed") || c.getenv("GARAGE_SIGN_PASSPHRASE") != "" || c.getenv("GARAGE_SIGN_PASSPHRASE_FILE") != ""
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

func (c *call) userKeys() *home.Keyring {
	dir := c.get("keys-path")
	if dir == "" {
		dir = filepath.Join(c.homeDir(), "user-keys")
	}
	return home.OpenKeyring(dir, c.options())
}

func runUserKeyGen(c *call) error { return c.generate(c.userKeys(), c.get("key-name")) }

func runUserKeyID(c *call) error {
	raw, err := readInput(c.get("input"), maxKeyFile)
	if err != nil {
		return err
	}
	key, err := uptane.ParseKey(raw)
	if err != nil {
		return err
	}
	c.say("%s", key.ID())
	return nil
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
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PUBLIC KEY" {
		return explained("%s is no public key in PEM", c.get("input"))
	}
	key, err := uptane.ParseSPKI(block.Bytes)
	if err != nil {
		return err
	}
	if err := h.Keys().StorePublic(c.get("key-name"), key); err != nil {
		return err
	}
	c.say("Stored public key %s with id %s", c.get("key-name"), key.ID())
	return nil
}
