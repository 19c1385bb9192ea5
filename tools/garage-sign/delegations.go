package main

import (
	"errors"
	"strconv"
	"strings"

	"sealift/internal/home"
	"sealift/uptane"
)

// runDelegate lets others sign for a part of the targets.
func runDelegate(c *call) error {
	role, err := c.delegation()
	if err != nil {
		return err
	}
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	d := home.Delegation{Name: string(role), Paths: c.list("prefix"), Threshold: 1, Terminating: !c.has("not-terminating")}
	if n := c.get("threshold"); n != "" {
		if d.Threshold, err = strconv.Atoi(n); err != nil || d.Threshold < 1 {
			return usagef("'%s' is no threshold", n)
		}
	}
	for _, path := range c.list("key") {
		key, err := readPublic(path)
		if err != nil {
			return err
		}
		d.Keys = append(d.Keys, key)
	}
	err = h.Delegate(d)
	if errors.Is(err, home.ErrNotFound) {
		return noUnsignedTargets()
	}
	if err != nil {
		return err
	}
	c.say("The unsigned targets delegate %s to %s; sign and push them", strings.Join(d.Paths, ", "), d.Name)
	return nil
}

func runUndelegate(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	if err := h.RemoveDelegation(c.get("name")); err != nil {
		return err
	}
	c.say("The unsigned targets no longer delegate to %s", c.get("name"))
	return nil
}

func runDelegationList(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	list, err := h.Delegations()
	if err != nil {
		return err
	}
	for _, d := range list {
		end := ""
		if d.Terminating {
			end = ", terminating"
		}
		c.say("%s  %d of %d keys%s", d.Name, d.Threshold, len(d.Keys), end)
		for _, p := range d.Paths {
			c.say("  path %s", p)
		}
		for _, k := range d.Keys {
			c.say("  key %s %s", k.ID(), k.Algorithm())
		}
	}
	return nil
}

// delegation is the role that --name says.
func (c *call) delegation() (uptane.Role, error) {
	role := uptane.Role(c.get("name"))
	if !role.Delegation() {
		return role, usagef("'%s' is no name of a delegation: 1 to 50 of a-z, A-Z, 0-9, _ and -", role)
	}
	return role, nil
}
