package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

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

// runVerifyRoot checks a root by its own signatures and, where the repository
// has a root, as this one or its successor.
func runVerifyRoot(c *call) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	path := c.get("input")
	if path == "" {
		path = filepath.Join(h.Dir(), "roles", "root.json")
	}
	raw, err := readInput(path, maxJSON)
	if err != nil {
		return err
	}
	doc, err := uptane.OpenRoot(uptane.Uptane, raw, nil, time.Time{})
	if err != nil {
		return explained("%s is not valid: %w", path, err)
	}
	local, err := h.Root()
	switch {
	case errors.Is(err, home.ErrNotFound):
	case err != nil:
		return err
	case doc.Payload.Version == local.Payload.Version+1:
		if _, err := uptane.OpenRoot(uptane.Uptane, raw, &local.Payload, time.Time{}); err != nil {
			return explained("%s does not follow from the local root: %w", path, err)
		}
		c.say("It follows from the local root")
	case doc.Payload.Version == local.Payload.Version && string(doc.Signed) != string(local.Signed):
		return explained("%s is another root of version %d than the local one", path, local.Payload.Version)
	}
	c.say("Root version %d is signed by %d of its keys, valid until %s", doc.Payload.Version, len(doc.Signers), doc.Payload.Expires.Format(time.RFC3339))
	if !doc.Payload.Expires.After(c.now()) {
		c.warn("it has expired")
	}
	return nil
}
