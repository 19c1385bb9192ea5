package main

import (
	"errors"

	"sealift/internal/credentials"
	"sealift/internal/home"
)

const maxArchive = 16 << 20

func runInit(c *call) error {
	dir, err := c.repoDir()
	if err != nil {
		return err
	}
	kind := home.RepoServer
	switch c.get("servertype") {
	case "", "reposerver":
	case "director":
		kind = home.Director
	default:
		return usagef("'%s' is no server type, only reposerver and director are", c.get("servertype"))
	}
	raw, err := readInput(c.get("credentials"), maxArchive)
	if err != nil {
		return err
	}
	h, err := home.Import(dir, raw, c.get("reposerver"), kind, c.options())
	switch {
	case errors.Is(err, home.ErrExists):
		return exitError{exitFailed, errors.New(dir + " is already initialized")}
	case errors.Is(err, credentials.ErrNoMember):
		return exitError{exitFailed, errors.Join(err, errors.New("the archive is not one for signing; --reposerver can stand in for tufrepo.url"))}
	case err != nil:
		return err
	}
	c.say("Made repository %s for %s", dir, h.Config().Reposerver)
	return nil
}
