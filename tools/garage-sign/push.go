package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"sealift/internal/home"
	"sealift/internal/reposerver"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// How often a change is made again because somebody else was faster, and the
// longest pause before. Fifty builds that push at once are through long before.
const (
	pushTries    = 60
	longestPause = 5 * time.Second
)

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
	if have, need, ok, err := h.Missing(signed.Uptane); err == nil && ok && have < need {
		c.say("%d of %d keys have signed: this is proposed, to be published when the others have", have, need)
		return c.propose(h, r, signed, checksum)
	}
	return c.pushTargets(h, r, signed, checksum)
}

// pushTargets sends signed targets that replace those of checksum. When somebody
// else was faster, the change is made again on what they pushed; the home has the
// result once the server has it.
func (c *call) pushTargets(h *home.Home, r *reposerver.Server, signed home.Signed, checksum string) error {
	var again *home.Again
	for try := 1; ; try++ {
		taken, err := c.put(r, signed, checksum)
		if err != nil && !overtaken(err) {
			return err
		}
		if err == nil {
			return c.pushed(h, again, signed, checksum, taken)
		}
		if !c.has("once") {
			if err := c.wait(c.ctx, pauseBefore(try)); err != nil {
				return err
			}
		}
		raw, now, fetchErr := c.serverTargets(h, r, try == 1)
		switch {
		case fetchErr != nil:
			return fetchErr
		case isThis(raw, signed): // an earlier push came through and its answer was lost
			return c.pushed(h, again, signed, checksum, now)
		case now == checksum:
			return err // nobody pushed: it is refused for what it is
		case c.has("once"), try == pushTries:
			return conflictError(err)
		}
		if again, err = c.again(h, r, raw, now, err); err != nil || again == nil {
			return err
		}
		signed, checksum = again.Signed, now
	}
}

// pauseBefore is a random time that grows with each try, so that those who
// collided once do not go on colliding.
func pauseBefore(try int) time.Duration {
	return rand.N(min(longestPause, 100*time.Millisecond<<min(try, 10)))
}

// pushed notes that the server has taken targets.
func (c *call) pushed(h *home.Home, again *home.Again, signed home.Signed, replaced, checksum string) error {
	if again != nil {
		if err := h.KeepAgain(again, replaced); err != nil {
			return err
		}
	}
	if err := h.Pushed(uptane.RoleTargets, signed, checksum); err != nil {
		return err
	}
	c.say("Pushed targets version %d", signed.Version)
	return nil
}

// overtaken reports whether a server refuses a push for what has been pushed
// before it.
func overtaken(err error) bool {
	var e *reposerver.Refusal
	return errors.As(err, &e) && (e.Status == http.StatusPreconditionFailed && e.Code == "role_checksum_mismatch" ||
		e.Status == http.StatusPreconditionRequired || e.Status == http.StatusConflict && e.Code == "invalid_version_bump")
}

func conflictError(err error) error {
	return exitError{exitConflict, fmt.Errorf("%w\nThe server's targets are not the ones these were made from: somebody else has pushed since. "+
		"Run `targets pull`, make the change again, then `targets sign` and `targets push`", err)}
}

// put sends targets as they are and returns what the server calls them now.
func (c *call) put(r *reposerver.Server, signed home.Signed, checksum string) (string, error) {
	if err := r.StageTwin(c.ctx, uptane.RoleTargets, signed.TUF); err != nil {
		return "", err
	}
	header := http.Header{}
	if checksum != "" {
		header.Set(reposerver.ChecksumHeader, checksum)
	}
	a, err := r.Must(c.ctx, http.MethodPut, "targets", signed.Uptane, header)
	if err != nil {
		return "", err
	}
	c.warnSize(a.Header.Get("x-ats-targets-role-size-limit"), len(signed.Uptane))
	return a.Header.Get(reposerver.ChecksumHeader), nil
}

// isThis tells whether what a server sent is exactly this document.
func isThis(raw []byte, signed home.Signed) bool {
	doc, err := canonical.Normalize(raw, canonical.Options{ASCII: true})
	return err == nil && bytes.Equal(doc, signed.Uptane)
}

// again makes the change anew on what the server has now. why is what it said to
// the last push. Nil means that nothing is left to push.
func (c *call) again(h *home.Home, r *reposerver.Server, raw []byte, checksum string, why error) (*home.Again, error) {
	change, err := h.Change()
	if errors.Is(err, home.ErrReapply) {
		return nil, conflictError(why)
	}
	if err != nil {
		return nil, err
	}
	again, err := h.Reapply(c.ctx, change, raw, checksum)
	if errors.Is(err, uptane.ErrSignature) { // the root may be new
		if err := c.walkRoots(h, r); err != nil {
			return nil, err
		}
		again, err = h.Reapply(c.ctx, change, raw, checksum)
	}
	switch {
	case errors.Is(err, home.ErrConflict):
		return nil, exitError{exitConflict, fmt.Errorf("%w\n%w; run `targets pull` and decide which it shall be", why, err)}
	case err != nil:
		return nil, untrusted(err)
	case again == nil:
		c.say("Somebody else has pushed just this already; nothing is left to push")
	default:
		c.say("Somebody else has pushed meanwhile; made the change again on targets version %d", again.Version-1)
	}
	return again, nil
}

// serverTargets fetches the server's targets, unverified, and their checksum,
// after following its roots if walk is set.
func (c *call) serverTargets(h *home.Home, r *reposerver.Server, walk bool) (raw []byte, checksum string, err error) {
	if walk {
		if err := c.walkRoots(h, r); err != nil {
			return nil, "", err
		}
	}
	a, err := r.Must(c.ctx, http.MethodGet, "targets.json", nil, nil)
	if err != nil {
		return nil, "", err
	}
	checksum = a.Header.Get(reposerver.ChecksumHeader)
	if checksum == "" {
		return nil, "", explained("the server sent targets without %s, so nothing could be pushed over them", reposerver.ChecksumHeader)
	}
	return a.Body, checksum, nil
}

// untrusted explains why what the server sent is not taken.
func untrusted(err error) error {
	if rootRefusal(err) || errors.Is(err, home.ErrNotFound) {
		return explained("the server's targets cannot be trusted: %w", err)
	}
	return err
}

// warnSize tells in time that targets are about to outgrow what a server takes.
func (c *call) warnSize(limit string, size int) {
	n, err := strconv.Atoi(limit)
	if err == nil && n > 0 && size > n/10*8 {
		c.warn(fmt.Sprintf("targets have %d bytes, the server takes up to %d; `targets delete` removes old ones", size, n))
	}
}
