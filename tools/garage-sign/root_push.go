package main

import (
	"errors"
	"slices"
	"time"

	"sealift/internal/home"
	"sealift/internal/reposerver"
	"sealift/uptane"
)

// runRootPush sends the signed root, and those before it that the server lacks.
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
	r, err := c.repository(h)
	if err != nil {
		return err
	}
	for _, earlier := range c.lostRoots(h, r, signed) {
		if err := r.PutRoot(c.ctx, earlier); err != nil {
			return err
		}
		c.say("Pushed root version %d, which the server lacked", earlier.Version)
	}
	err = r.PutRoot(c.ctx, signed)
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

// lostRoots are the roots before one that the server lacks, because it was
// restored from a backup, and that the home has kept; none where that cannot be
// told: then the server says what it lacks.
func (c *call) lostRoots(h *home.Home, r *reposerver.Server, signed home.Signed) []home.Signed {
	raw, err := r.Root(c.ctx, 0)
	if err != nil {
		return nil
	}
	newest, err := uptane.OpenRoot(uptane.Uptane, raw, nil, time.Time{})
	if err != nil {
		return nil
	}
	kept, err := h.Roots()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(kept, func(s home.Signed) bool {
		return s.Version <= newest.Payload.Version || s.Version >= signed.Version
	})
}
