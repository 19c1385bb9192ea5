package main

import (
	"fmt"

	"sealift/internal/home"
	"sealift/internal/reposerver"
)

// remote is the repository's API, reached as the home says.
func (c *call) remote(h *home.Home) (*reposerver.Server, error) {
	client, err := h.HTTPClient(c.ctx, c.get("cacert"))
	if err != nil {
		return nil, err
	}
	r := reposerver.Config{URL: h.Config().BaseURL(), Client: client, Agent: c.program + "/" + version(), Warn: c.warn}
	if c.has("verbose") {
		r.Trace = func(line string) { fmt.Fprintln(c.stderr, line) }
	}
	return reposerver.New(r), nil
}
