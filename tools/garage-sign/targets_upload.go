package main

import (
	"os"
	"strconv"
	"time"

	"sealift/internal/reposerver"
	"sealift/uptane"
)

func runTargetsUpload(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	timeout := time.Hour
	if s := c.get("timeout"); s != "" {
		seconds, err := strconv.Atoi(s)
		if err != nil || seconds < 1 {
			return usagef("'%s' is no number of seconds", s)
		}
		timeout = time.Duration(seconds) * time.Second
	}
	name := targetFilename(c)
	if err := uptane.CheckFilename(name); err != nil {
		return err
	}
	f, err := os.Open(c.get("input"))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return explained("%s is no regular file", c.get("input"))
	}
	r, err := c.repository(h)
	if err != nil {
		return err
	}
	u := reposerver.Upload{Filename: name, File: f, Size: info.Size(), Timeout: timeout, Force: c.has("force"), Wait: c.wait}
	if err := r.Upload(c.ctx, u); err != nil {
		return err
	}
	c.say("Uploaded %s, %d bytes; `targets add-uploaded` makes it a target", name, u.Size)
	return nil
}
