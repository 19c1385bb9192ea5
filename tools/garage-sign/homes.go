package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"sealift/internal/home"
)

// options are what a home asks of the world.
func (c *call) options() home.Options {
	return home.Options{
		Passphrases: &home.Passphrases{
			Getenv: c.getenv,
			Names:  []string{"GARAGE_SIGN_PASSPHRASE", "SEALIFT_PASSPHRASE"},
			Prompt: c.prompt,
		},
		Warn:    c.warn,
		Now:     c.now,
		Service: keyService(),
	}
}

// homeDir is the folder of all homes, which are called repositories on the
// command line.
func (c *call) homeDir() string {
	if dir := c.get("home-dir"); dir != "" {
		return dir
	}
	return "tuf"
}

func (c *call) repoDir() (string, error) {
	name := c.get("repo")
	if name == "" || name == "." || name == ".." || filepath.Base(name) != name {
		return "", usagef("'%s' cannot be the name of a repository", name)
	}
	return filepath.Join(c.homeDir(), name), nil
}

// home opens the repository that --repo names, for this command alone until it
// ends.
func (c *call) home() (*home.Home, error) {
	dir, err := c.repoDir()
	if err != nil {
		return nil, err
	}
	h, err := home.Open(dir, c.options())
	if errors.Is(err, home.ErrNotFound) {
		return nil, explained("there is no repository at %s; make one with: %s init --repo %s --credentials FILE", dir, c.program, c.get("repo"))
	}
	if err != nil {
		return nil, err
	}
	return h, c.lock(h)
}

// lock waits until no other command works in the home.
func (c *call) lock(h *home.Home) error {
	for {
		unlock, ok, err := h.TryLock()
		if err != nil {
			return err
		}
		if ok {
			c.locks = append(c.locks, unlock)
			return nil
		}
		if err := c.wait(c.ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// imageHome is home for what a Director does not have.
func (c *call) imageHome() (*home.Home, error) {
	h, err := c.home()
	if err == nil && h.Config().ServerType == home.Director {
		err = fmt.Errorf("%s: %w", c.name(), home.ErrDirector)
	}
	return h, err
}
