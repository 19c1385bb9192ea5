package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"sealift/internal/home"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// maxRootSteps bounds how many roots one command follows.
const maxRootSteps = 1024

// walkRoots brings the local root up to date: each next root must be signed by
// the keys of the one before, so a key rotation on the server needs no attention
// here.
func (c *call) walkRoots(h *home.Home, r *remote) error {
	root, err := h.Root()
	if errors.Is(err, home.ErrNotFound) {
		return explained("there is no root to start trust from; `root pull --force` takes the server's word for one")
	}
	if err != nil {
		return err
	}
	next := root.Payload.Version + 1
	for range maxRootSteps {
		path := fmt.Sprintf("%d.root.json", next)
		a, err := r.send(c.ctx, http.MethodGet, path, nil, nil)
		if err != nil {
			return err
		}
		if err := a.refusal(http.MethodGet, path); err != nil {
			if a.status != http.StatusNotFound {
				c.warn(fmt.Sprintf("cannot tell whether there is a newer root: %v", err))
			}
			return nil
		}
		if _, err := h.AdvanceRoot(a.body); err != nil {
			return explained("the server's root version %d is not a successor of the local one: %w", next, err)
		}
		c.say("Followed the server to root version %d", next)
		next++
	}
	return explained("the server has more than %d new roots", maxRootSteps)
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
	if err := c.walkRoots(h, r); err != nil {
		return err
	}
	a, err := r.must(c.ctx, http.MethodGet, "targets.json", nil, nil)
	if err != nil {
		return err
	}
	checksum := a.header.Get(checksumHeader)
	if checksum == "" {
		return explained("the server sent targets without %s, so nothing could be pushed over them", checksumHeader)
	}
	version, err := h.PullTargets(a.body, checksum)
	if err != nil && (rootRefusal(err) || errors.Is(err, home.ErrNotFound)) {
		return explained("the server's targets cannot be trusted: %w", err)
	}
	if err != nil {
		return err
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
	a, err := r.must(c.ctx, http.MethodGet, "targets.json", nil, nil)
	if err != nil {
		return err
	}
	_, err = c.stdout.Write(append(a.body, '\n'))
	return err
}

func runTargetsPush(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	signed, err := h.Signed(uptane.RoleTargets)
	if errors.Is(err, home.ErrNotFound) {
		return explained("there are no signed targets; `targets sign` makes them")
	}
	if err != nil {
		return err
	}
	checksum, err := h.Checksum()
	if err != nil {
		return err
	}
	if checksum == home.ChecksumOf(signed.Uptane) {
		return explained("version %d is already published; `targets sign` makes the next one", signed.Version)
	}
	r, err := c.remote(h)
	if err != nil {
		return err
	}
	if err := c.stageTwin(r, "targets", signed.TUF); err != nil {
		return err
	}
	header := http.Header{}
	if checksum != "" {
		header.Set(checksumHeader, checksum)
	}
	a, err := r.must(c.ctx, http.MethodPut, "targets", signed.Uptane, header)
	if err != nil {
		if err = c.pushRefused(r, err, signed); err != nil {
			return err
		}
		a.header = http.Header{} // an earlier push had arrived
	}
	c.warnSize(a.header.Get("x-ats-targets-role-size-limit"), len(signed.Uptane))
	if err := h.Pushed(uptane.RoleTargets, signed, a.header.Get(checksumHeader)); err != nil {
		return err
	}
	c.say("Pushed targets version %d", signed.Version)
	return nil
}

// pushRefused explains a refusal. It returns nil when the server has exactly
// these targets: then an earlier push arrived and its answer was lost.
func (c *call) pushRefused(r *remote, err error, signed home.Signed) error {
	var e *remoteError
	if !errors.As(err, &e) {
		return err
	}
	if !(e.Status == http.StatusPreconditionFailed && e.Code == "role_checksum_mismatch") && e.Status != http.StatusPreconditionRequired {
		return err
	}
	if a, getErr := r.must(c.ctx, http.MethodGet, "targets.json", nil, nil); getErr == nil {
		if doc, parseErr := canonical.Normalize(a.body, canonical.Options{ASCII: true}); parseErr == nil && bytes.Equal(doc, signed.Uptane) {
			return nil
		}
	}
	return exitError{exitConflict, fmt.Errorf("%w\nThe server's targets are not the ones these were made from: somebody else has pushed since. "+
		"Run `targets pull`, make the change again, then `targets sign` and `targets push`", err)}
}

// warnSize tells in time that targets are about to outgrow what a server takes.
func (c *call) warnSize(limit string, size int) {
	n, err := strconv.Atoi(limit)
	if err == nil && n > 0 && size > n/10*8 {
		c.warn(fmt.Sprintf("targets have %d bytes, the server takes up to %d; `targets delete` removes old ones", size, n))
	}
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
	a, err := r.must(c.ctx, http.MethodGet, "root.json", nil, nil)
	if err != nil {
		return err
	}
	newest, err := uptane.OpenRoot(uptane.Uptane, a.body, nil, time.Time{})
	if err != nil {
		return explained("the server's root is not valid: %w", err)
	}
	var chain [][]byte
	for n := local + 1; verify && n < newest.Payload.Version; n++ {
		if n-local > maxRootSteps {
			return explained("the server has more than %d new roots", maxRootSteps)
		}
		between, err := r.must(c.ctx, http.MethodGet, fmt.Sprintf("%d.root.json", n), nil, nil)
		if err != nil {
			return err
		}
		chain = append(chain, between.body)
	}
	version, err := h.PullRoot(a.body, chain, verify)
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
	if err := c.stageTwin(r, "root", signed.TUF); err != nil {
		return err
	}
	_, err = r.must(c.ctx, http.MethodPost, "root", signed.Uptane, nil)
	if refused(err, "invalid_root_role") {
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
