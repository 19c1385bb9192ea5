package main

import (
	"net/http"
	"slices"
	"time"

	"sealift/internal/home"
	"sealift/internal/reposerver"
	"sealift/uptane"
)

// lostRoots are the roots before one that the server lacks, because it was
// restored from a backup, and that the home has kept; none where that cannot be
// told: then the server says what it lacks.
func (c *call) lostRoots(h *home.Home, r *reposerver.Server, signed home.Signed) []home.Signed {
	a, err := r.Must(c.ctx, http.MethodGet, "root.json", nil, nil)
	if err != nil {
		return nil
	}
	newest, err := uptane.OpenRoot(uptane.Uptane, a.Body, nil, time.Time{})
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

// sendRoot sends a root, its TUF flavour first.
func (c *call) sendRoot(r *reposerver.Server, signed home.Signed) error {
	if err := r.StageTwin(c.ctx, uptane.RoleRoot, signed.TUF); err != nil {
		return err
	}
	_, err := r.Must(c.ctx, http.MethodPost, "root", signed.Uptane, nil)
	return err
}
