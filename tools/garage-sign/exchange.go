package main

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"sealift/internal/home"
	"sealift/internal/reposerver"
	"sealift/uptane"
)

// maxRootSteps bounds how many roots one command follows.
const maxRootSteps = 1024

// walkRoots brings the local root up to date.
func (c *call) walkRoots(h *home.Home, r *reposerver.Server) error {
	followed, err := r.FollowRoots(c.ctx, h)
	for _, version := range followed {
		c.say("Followed the server to root version %d", version)
	}
	switch {
	case errors.Is(err, reposerver.ErrRoot):
		return explained("%w", err)
	case errors.Is(err, home.ErrNotFound):
		return explained("there is no root to start trust from; `root pull --force` takes the server's word for one")
	}
	return err
}

func runTargetsPull(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	r, err := c.remote(h)
	if err != nil {
		return err
	}
	raw, checksum, err := c.serverTargets(h, r, true)
	if err != nil {
		return err
	}
	version, err := h.PullTargets(raw, checksum)
	if err != nil {
		return untrusted(err)
	}
	c.say("Pulled targets version %d", version)
	return nil
}

func runGetTargets(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	r, err := c.remote(h)
	if err != nil {
		return err
	}
	a, err := r.Must(c.ctx, http.MethodGet, "targets.json", nil, nil)
	if err != nil {
		return err
	}
	_, err = c.stdout.Write(append(a.Body, '\n'))
	return err
}

func runRootPull(c *call) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	r, err := c.remote(h)
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
	a, err := r.Must(c.ctx, http.MethodGet, "root.json", nil, nil)
	if err != nil {
		return err
	}
	newest, err := uptane.OpenRoot(uptane.Uptane, a.Body, nil, time.Time{})
	if err != nil {
		return explained("the server's root is not valid: %w", err)
	}
	var chain [][]byte
	for n := local + 1; verify && n < newest.Payload.Version; n++ {
		if n-local > maxRootSteps {
			return explained("the server has more than %d new roots", maxRootSteps)
		}
		between, err := r.Must(c.ctx, http.MethodGet, fmt.Sprintf("%d.root.json", n), nil, nil)
		if err != nil {
			return err
		}
		chain = append(chain, between.Body)
	}
	version, err := h.PullRoot(a.Body, chain, verify)
	if err != nil {
		return explained("the server's root does not follow from the local one: %w", err)
	}
	c.say("Pulled root version %d", version)
	if !newest.Payload.Expires.After(c.now()) {
		c.warn("this root has expired on " + newest.Payload.Expires.Format(time.RFC3339))
	}
	return nil
}

func runRootPush(c *call) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	signed, err := h.Signed(uptane.RoleRoot)
	if errors.Is(err, home.ErrNotFound) {
		return explained("there is no signed root; `root sign` makes one")
	}
	if err != nil {
		return err
	}
	if _, err := uptane.OpenRoot(uptane.Uptane, signed.Uptane, nil, time.Time{}); err != nil {
		return explained("the signed root is not valid, `root sign` makes it anew: %w", err)
	}
	r, err := c.remote(h)
	if err != nil {
		return err
	}
	for _, earlier := range c.lostRoots(h, r, signed) {
		if err := c.sendRoot(r, earlier); err != nil {
			return err
		}
		c.say("Pushed root version %d, which the server lacked", earlier.Version)
	}
	err = c.sendRoot(r, signed)
	if reposerver.Refused(err, "invalid_root_role") {
		return explained("the server refuses this root: %w", err)
	}
	if err != nil {
		return err
	}
	if err := h.Pushed(uptane.RoleRoot, signed, ""); err != nil {
		return err
	}
	c.say("Pushed root version %d", signed.Version)
	return nil
}
