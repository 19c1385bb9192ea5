package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
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
	r, err := c.repository(h)
	if err != nil {
		return err
	}
	if short, err := c.signedByTooFew(h, r, signed, false); err != nil || short {
		if err == nil {
			err = c.propose(h, r, signed, checksum)
		}
		return err
	}
	err = c.pushTargets(h, r, signed, checksum)
	if reposerver.Refused(err, "invalid_offline_targets") { // a newer root may demand more
		short, unclear := c.signedByTooFew(h, r, signed, true)
		if unclear != nil {
			return unclear
		}
		if short {
			return c.propose(h, r, signed, checksum)
		}
	}
	return err
}

// signedByTooFew reports whether the newest root demands more keys than have
// signed, and says so. What the local root says is enough where it is content,
// unless walk is set.
func (c *call) signedByTooFew(h *home.Home, r *reposerver.Server, signed home.Signed, walk bool) (bool, error) {
	have, need, ok, err := h.Missing(signed.Uptane)
	if !walk && (err != nil || !ok || have >= need) {
		return false, nil // the server is to say what it makes of it
	}
	if err := c.walkRoots(h, r); err != nil {
		return false, err
	}
	have, need, ok, err = h.Missing(signed.Uptane)
	if err != nil || !ok || have >= need {
		return false, nil
	}
	c.say("%d of %d keys have signed: this is proposed, to be published when the others have", have, need)
	return true, nil
}

// pushTargets sends signed targets that replace those of checksum. When somebody
// else was faster, the change is made again on what they pushed; the home has the
// result once the server has it.
func (c *call) pushTargets(h *home.Home, r *reposerver.Server, signed home.Signed, checksum string) error {
	var again *home.Again
	for try := 1; ; try++ {
		taken, err := r.PutTargets(c.ctx, signed, checksum)
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
