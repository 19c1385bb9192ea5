package main

import (
	"fmt"

	"sealift/uptane/canonical"
)

func runTargetsPull(c *call) error {
	h, r, err := c.connect()
	if err != nil {
		return err
	}
	raw, checksum, err := c.serverTargets(h, r, true)
	if err != nil {
		return err
	}
	version, err := h.PullTargets(raw, checksum)
	if err != nil {
		return untrusted(err)
	}
	c.say("Pulled targets version %d", version)
	return nil
}

func runGetTargets(c *call) error {
	_, r, err := c.connect()
	if err != nil {
		return err
	}
	raw, _, err := r.Targets(c.ctx)
	if err != nil {
		return err
	}
	// What is JSON cannot move the cursor.
	if _, err := canonical.Parse(raw, canonical.Options{Free: true}); err != nil {
		return fmt.Errorf("reading the server's targets: %w", err)
	}
	_, err = c.stdout.Write(append(raw, '\n'))
	return err
}
