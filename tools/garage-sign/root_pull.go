package main

import (
	"errors"
	"time"

	"sealift/internal/home"
	"sealift/internal/reposerver"
	"sealift/uptane"
)

// runRootPull fetches the server's root and every one between the local root and
// that, unless its word is taken for it.
func runRootPull(c *call) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	r, err := c.repository(h)
	if err != nil {
		return err
	}
	verify := !c.has("force") && h.Config().ServerType != home.Director
	var local int64
	if verify {
		root, err := h.Root()
		if errors.Is(err, home.ErrNotFound) {
			return explained("there is no local root to verify the server's by; `root pull --force` takes the server's word for it")
		}
		if err != nil {
			return err
		}
		local = root.Payload.Version
	}
	raw, err := r.Root(c.ctx, 0)
	if err != nil {
		return err
	}
	newest, err := uptane.OpenRoot(uptane.Uptane, raw, nil, time.Time{})
	if err != nil {
		return explained("the server's root is not valid: %w", err)
	}
	var chain [][]byte
	if verify {
		chain, err = r.Roots(c.ctx, local+1, newest.Payload.Version-1)
	}
	if errors.Is(err, reposerver.ErrRoot) {
		return explained("%w", err)
	}
	if err != nil {
		return err
	}
	version, err := h.PullRoot(raw, chain, verify)
	if err != nil {
		return explained("the server's root does not follow from the local one: %w", err)
	}
	c.say("Pulled root version %d", version)
	if !newest.Payload.Expires.After(c.now()) {
		c.warn("this root has expired on " + newest.Payload.Expires.Format(time.RFC3339))
	}
	return nil
}
