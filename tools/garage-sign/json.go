package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"sealift/internal/home"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// maxJSON bounds documents of any kind.
const maxJSON = 16 << 20

// runSignJSON puts a signature around JSON of any kind.
func runSignJSON(c *call) error {
	raw, err := readInput(c.get("input"), maxJSON)
	if err != nil {
		return err
	}
	v, err := canonical.Parse(raw, canonical.Options{ASCII: true})
	if err != nil {
		return fmt.Errorf("reading %s: %w", c.get("input"), err)
	}
	if kind, ok := v.Member("_type"); ok {
		name, _ := kind.Text()
		c.warn("this is metadata of type " + name + ", signed as it is: make sure that you know what it says")
	}
	path := c.get("priv-key")
	name, ok := strings.CutSuffix(filepath.Base(path), ".sec")
	if !ok {
		return usagef("--priv-key must name a file that ends in .sec")
	}
	sigs, err := home.OpenKeyring(filepath.Dir(path), c.options()).Signer(name).Sign(c.ctx, uptane.Job{}, v.Uptane())
	if err != nil {
		return err
	}
	if c.has("pub-key") {
		key, err := readPublic(c.get("pub-key"))
		if err != nil {
			return err
		}
		if key != sigs[0].Key {
			return explained("%s and %s are of different keys", path, c.get("pub-key"))
		}
	}
	text, err := home.Pretty(uptane.Frame(uptane.Uptane, v.Uptane(), sigs...))
	if err != nil {
		return err
	}
	_, err = c.stdout.Write(text)
	return err
}

// runVerifyJSON checks what runSignJSON printed.
func runVerifyJSON(c *call) error {
	raw, err := readInput(c.get("input"), maxJSON)
	if err != nil {
		return err
	}
	key, err := readPublic(c.get("pub-key"))
	if err != nil {
		return err
	}
	e, err := uptane.ParseEnvelope(uptane.Uptane, raw)
	if err == nil {
		_, err = uptane.NewKeyring(1, key).Verify(uptane.Uptane, e.Signed, e.Signatures)
	}
	if err != nil {
		return explained("%s is not signed by %s: %w", c.get("input"), key.ID(), err)
	}
	c.say("Signed by %s", key.ID())
	return nil
}
