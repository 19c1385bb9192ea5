package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"sealift/internal/home"
	"sealift/internal/reposerver"
)

// zipFrom is how many bytes a body has at least that is compressed.
const zipFrom = 500_000

// serverConfig is how the API at url is reached, which the home's credentials are
// for.
func (c *call) serverConfig(h *home.Home, url string) (reposerver.Config, error) {
	client, err := h.HTTPClient(c.ctx, c.get("cacert"))
	config := reposerver.Config{URL: url, Client: client, Agent: c.program + "/" + version(), ZipFrom: zipFrom, Warn: c.warn}
	if err != nil {
		return config, err
	}
	if s := c.getenv("CLI_GZIP_MIN_BYTES"); s != "" {
		if config.ZipFrom, err = strconv.Atoi(s); err != nil || config.ZipFrom < 1 {
			return config, usagef("CLI_GZIP_MIN_BYTES is '%s', which is no number of bytes", s)
		}
	}
	if c.has("verbose") {
		config.Trace = func(line string) { fmt.Fprintln(c.stderr, line) }
	}
	return config, nil
}

// repository is the API of the home's repository.
func (c *call) repository(h *home.Home) (*reposerver.Server, error) {
	config, err := c.serverConfig(h, h.Config().BaseURL())
	if err != nil {
		return nil, err
	}
	return reposerver.New(config), nil
}

// connect opens the home, which must not be a Director's, and its repository.
func (c *call) connect() (*home.Home, *reposerver.Server, error) {
	h, err := c.imageHome()
	if err != nil {
		return nil, nil, err
	}
	r, err := c.repository(h)
	return h, r, err
}

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

// serverTargets fetches the server's targets, unverified, and their checksum,
// after following its roots if walk is set.
func (c *call) serverTargets(h *home.Home, r *reposerver.Server, walk bool) (raw []byte, checksum string, err error) {
	if walk {
		if err := c.walkRoots(h, r); err != nil {
			return nil, "", err
		}
	}
	raw, checksum, err = r.Targets(c.ctx)
	if errors.Is(err, reposerver.ErrNoChecksum) {
		err = explained("%w, so nothing could be pushed over them", err)
	}
	return raw, checksum, err
}

// untrusted explains why what the server sent is not taken.
func untrusted(err error) error {
	if rootRefusal(err) || errors.Is(err, home.ErrNotFound) {
		return explained("the server's targets cannot be trusted: %w", err)
	}
	return err
}

// withheld reports whether a server says that it does not have what was asked
// for, or does not give it away.
func withheld(err error) bool {
	var no *reposerver.Refusal
	return errors.As(err, &no) && (no.Status == http.StatusNotFound || no.Status == http.StatusMethodNotAllowed ||
		no.Status == http.StatusForbidden || no.Status == http.StatusGone || no.Status == http.StatusNotImplemented || no.Code == "missing_entity")
}
