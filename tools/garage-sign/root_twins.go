package main

import (
	"encoding/json"
	"errors"
	"net/http"

	"sealift/internal/home"
)

// runRootTwins fills the gaps in the chain of roots that clients of TUF 1.0
// follow: roots signed by another tool, or with signatures made elsewhere.
func runRootTwins(c *call) error {
	h, r, err := c.connect()
	if err != nil {
		return err
	}
	a, err := r.Must(c.ctx, http.MethodGet, "tuf", nil, nil)
	if err != nil {
		return err
	}
	var state struct{ RootVersion, TUFRootVersion int64 }
	if err := json.Unmarshal(a.Body, &state); err != nil {
		return errors.New("the server does not say which roots it has")
	}
	if state.TUFRootVersion == state.RootVersion {
		c.say("Nothing is missing up to root version %d", state.RootVersion)
		return nil
	}
	if err := c.walkRoots(h, r); err != nil {
		return err
	}
	chain, err := r.Roots(c.ctx, max(state.TUFRootVersion, 1), state.RootVersion)
	if err != nil {
		return err
	}
	twins, err := h.SignRootTwins(c.ctx, state.TUFRootVersion+1, chain)
	if errors.Is(err, home.ErrNotFound) {
		return explained("%w", err)
	}
	if err != nil {
		return explained("the server's roots do not lead to the local one: %w", err)
	}
	for i, twin := range twins {
		if _, err := r.Must(c.ctx, http.MethodPut, "tuf/root", twin, nil); err != nil {
			return err
		}
		c.say("Pushed TUF's flavour of root version %d", state.TUFRootVersion+1+int64(i))
	}
	return nil
}
