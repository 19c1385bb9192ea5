package main

import (
	"errors"
	"strings"
	"time"

	"sealift/internal/home"
)

// runRootCosign signs a root that somebody else has put together: it comes as a
// file and goes on as one, until enough people have signed, or waits at the server.
func runRootCosign(c *call) error {
	if !c.has("input") {
		return runRootCosignDraft(c)
	}
	h, err := c.home()
	if err != nil {
		return err
	}
	given, err := home.ReadSignedRoot(c.get("input"))
	if err != nil {
		return explained("this is no root that can be signed: %w", err)
	}
	review, err := h.ReviewRoot(given)
	switch {
	case errors.Is(err, home.ErrNotFound):
		return explained("%w; `root pull` fetches it", err)
	case err != nil:
		return explained("this must not be signed: %w", err)
	}
	c.say("Root version %d:", review.Version)
	for _, line := range review.Lines {
		c.say("  %s", line)
	}
	if c.has("key-name") {
		if err := c.confirm("Sign this with " + strings.Join(c.list("key-name"), " and ") + "?"); err != nil {
			return err
		}
	}
	signed, err := h.CosignRoot(c.ctx, review, c.list("key-name"))
	if err != nil {
		return err
	}
	if out := c.get("output"); out != "" {
		if err := home.WriteSigned(out, signed); err != nil {
			return err
		}
	}
	q, err := review.Quorum(signed)
	if err != nil {
		return err
	}
	c.say("Signed by %d of %d keys of the root before and %d of %d of its own", q.Old, q.OldNeeds, q.New, q.NewNeeds)
	if q.Reached() {
		c.say("That is enough: `root push` publishes it")
	}
	if !review.Expires.After(c.now()) {
		c.warn("this root has expired on " + review.Expires.Format(time.RFC3339))
	}
	return nil
}
