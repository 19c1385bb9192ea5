package main

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
	_, err = c.stdout.Write(append(raw, '\n'))
	return err
}
