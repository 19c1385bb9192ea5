package main

import (
	"errors"
	"path/filepath"
	"time"

	"sealift/internal/home"
	"sealift/uptane"
)

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
