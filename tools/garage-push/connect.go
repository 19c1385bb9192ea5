package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"sealift/internal/credentials"
	"sealift/internal/hub"
)

// session is what credentials open.
type session struct {
	archive *credentials.Archive
	client  *http.Client
	hub     *hub.Hub
}

// connect reads the credentials and identifies itself, so that what is wrong
// with them shows before anything else is done.
func connect(ctx context.Context, program, path string, c *common, out *screen) (*session, error) {
	archive, err := credentials.Open(path)
	if err != nil {
		return nil, fmt.Errorf("Unable to read %s as archive or json file: %w", path, err) // scripts look for this text
	}
	t, err := archive.TreeHub()
	if err != nil {
		return nil, fmt.Errorf("Unable to read %s as archive or json file: %w", path, err) // scripts look for this text
	}
	if t.Server() == "" {
		return nil, fmt.Errorf("%s names no TreeHub (ostree.server in treehub.json)", path)
	}
	client, err := archive.HTTPClient(ctx, credentials.ClientConfig{CACert: c.caCert, Login: true})
	if err != nil {
		return nil, fmt.Errorf("authenticating with %s: %w", path, err)
	}
	h, err := hub.New(hub.Config{
		URL: t.Server(), Client: client, Jobs: c.jobs, Force: true, Agent: program + "/" + version,
		Retry: func(err error) { out.say(levelWarning, "Trying again: %v", err) },
	})
	if err != nil {
		return nil, err
	}
	return &session{archive: archive, client: client, hub: h}, nil
}

// fail says why and returns the exit code of a failure.
func fail(ctx context.Context, out *screen, err error) int {
	if errors.Is(err, errShown) {
		return 0
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted; what was sent stays, and the next attempt goes on from there")
	}
	out.show(true, "")
	out.say(levelFatal, "Error: %v", err)
	return 1
}
