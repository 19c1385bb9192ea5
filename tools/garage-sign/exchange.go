package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"sealift/internal/home"
	"sealift/internal/reposerver"
	"sealift/uptane"
	"sealift/uptane/canonical"
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
	if err := c.walkRoots(h, r); err != nil {
		return err
	}
	a, err := r.Must(c.ctx, http.MethodGet, "targets.json", nil, nil)
	if err != nil {
		return err
	}
	checksum := a.Header.Get(reposerver.ChecksumHeader)
	if checksum == "" {
		return explained("the server sent targets without %s, so nothing could be pushed over them", reposerver.ChecksumHeader)
	}
	version, err := h.PullTargets(a.Body, checksum)
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
	a, err := r.Must(c.ctx, http.MethodGet, "targets.json", nil, nil)
	if err != nil {
		return err
	}
	_, err = c.stdout.Write(append(a.Body, '\n'))
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
	if err := r.StageTwin(c.ctx, uptane.RoleTargets, signed.TUF); err != nil {
		return err
	}
	header := http.Header{}
	if checksum != "" {
		header.Set(reposerver.ChecksumHeader, checksum)
	}
	a, err := r.Must(c.ctx, http.MethodPut, "targets", signed.Uptane, header)
	if err != nil {
		if err = c.pushRefused(r, err, signed); err != nil {
			return err
		}
		a.Header = http.Header{} // an earlier push had arrived
	}
	c.warnSize(a.Header.Get("x-ats-targets-role-size-limit"), len(signed.Uptane))
	if err := h.Pushed(uptane.RoleTargets, signed, a.Header.Get(reposerver.ChecksumHeader)); err != nil {
		return err
	}
	c.say("Pushed targets version %d", signed.Version)
	return nil
}

// pushRefused explains a refusal. It returns nil when the server has exactly
// these targets: then an earlier push arrived and its answer was lost.
func (c *call) pushRefused(r *reposerver.Server, err error, signed home.Signed) error {
	var e *reposerver.Refusal
	if !errors.As(err, &e) {
		return err
	}
	if !(e.Status == http.StatusPreconditionFailed && e.Code == "role_checksum_mismatch") && e.Status != http.StatusPreconditionRequired {
		return err
	}
	if a, getErr := r.Must(c.ctx, http.MethodGet, "targets.json", nil, nil); getErr == nil {
		if doc, parseErr := canonical.Normalize(a.Body, canonical.Options{ASCII: true}); parseErr == nil && bytes.Equal(doc, signed.Uptane) {
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
