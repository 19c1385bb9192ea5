package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/home"
	"sealift/uptane"
)

// editRoot changes the unsigned root of the repository.
func (c *call) editRoot(change func(h *home.Home, root *metadata.RootType) error) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	if _, err := h.Unsigned(uptane.RoleRoot); errors.Is(err, home.ErrNotFound) {
		return noUnsignedRoot()
	}
	return h.EditRoot(func(root *metadata.RootType) error { return change(h, root) })
}

func noUnsignedRoot() error {
	return explained("there is no unsigned root yet; `root pull` fetches the server's")
}

func runKeyAdd(c *call, role string) error {
	return c.editRoot(func(h *home.Home, root *metadata.RootType) error {
		for _, name := range c.list("key-name") {
			key, err := h.Keys().Public(name)
			if err != nil {
				return err
			}
			if err := uptane.AddKey(root, uptane.Role(role), key); err != nil {
				return err
			}
			c.say("Key %s (%s) may sign for %s in the unsigned root", name, key.ID(), role)
		}
		return nil
	})
}

func runKeyRemove(c *call, role string) error {
	if !c.has("key-name") && !c.has("key-id") {
		return usagef("Missing option --key-name or --key-id")
	}
	return c.editRoot(func(h *home.Home, root *metadata.RootType) error {
		ring, err := uptane.RingOf(uptane.Uptane, root, uptane.Role(role))
		if err != nil {
			return err
		}
		ids := slices.Clone(c.list("key-id"))
		for _, name := range c.list("key-name") {
			key, err := h.Keys().Public(name)
			if err != nil {
				return err
			}
			ids = append(ids, string(key.ID()))
		}
		for _, id := range ids {
			i := slices.IndexFunc(ring.Keys, func(k uptane.Key) bool { return string(k.ID()) == id })
			if i < 0 {
				return fmt.Errorf("key %s does not sign for %s: %w", id, role, home.ErrNotFound)
			}
			uptane.RemoveKey(root, uptane.Role(role), ring.Keys[i])
			c.say("Key %s no longer signs for %s in the unsigned root", id, role)
		}
		return nil
	})
}

func runSetThreshold(c *call, role string) error {
	n, err := strconv.Atoi(c.get("threshold"))
	if err != nil || n < 1 {
		return usagef("'%s' is no threshold", c.get("threshold"))
	}
	return c.editRoot(func(_ *home.Home, root *metadata.RootType) error {
		if root.Roles[role] == nil {
			return fmt.Errorf("role %s: %w", role, home.ErrNotFound)
		}
		root.Roles[role].Threshold = n
		return nil
	})
}

func runGetUnsigned(c *call, role string) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	payload, err := h.Unsigned(uptane.Role(role))
	if err != nil {
		return err
	}
	_, err = c.stdout.Write(payload)
	return err
}

func runIncrement(c *call, role string) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	version, err := h.IncrementVersion(uptane.Role(role))
	if err != nil {
		return err
	}
	c.say("The unsigned %s has version %d", role, version)
	return nil
}

func runRootSign(c *call) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	outside, err := c.outside()
	if err != nil {
		return err
	}
	old := c.list("old-root-alias")
	if len(outside) > 0 {
		if c.has("key-name") {
			return usagef("Only one of --key-name and --signatures can be given")
		}
		return c.report("root", h)(h.SignOutside(c.ctx, uptane.RoleRoot, outside, old...))
	}
	s := home.Signing{Keys: c.list("key-name"), Force: c.has("force")}
	if len(s.Keys) > 0 {
		s.Keys = append(slices.Clone(s.Keys), old...)
	}
	if s.Expires, err = c.expires(); err != nil {
		return err
	}
	return c.report("root", h)(h.SignRoot(c.ctx, s))
}

// report says what was signed.
func (c *call) report(role string, h *home.Home) func(home.Signed, error) error {
	return func(s home.Signed, err error) error {
		if errors.Is(err, home.ErrPast) {
			return explained("%w; give --expires or --expire-after, or --force", err)
		}
		if err != nil {
			return err
		}
		flavours := "Uptane"
		if s.TUF != nil {
			flavours = "Uptane and TUF"
		}
		until := ""
		if !s.Expires.IsZero() {
			until = ", valid until " + s.Expires.Format("2006-01-02T15:04:05Z")
		}
		if e, err := uptane.ParseEnvelope(uptane.Uptane, s.Uptane); err == nil && len(e.Signatures) == 0 {
			c.say("Nobody has signed %s version %d%s: this key may propose only; `%s push` lets it wait for signatures", role, s.Version, until, role)
			return nil
		}
		c.say("Signed %s version %d (%s)%s; send it with `%s push`", role, s.Version, flavours, until, role)
		return nil
	}
}

// outside reads --signatures and refuses what contradicts it.
func (c *call) outside() ([]home.Outside, error) {
	var list []home.Outside
	for _, given := range c.list("signatures") {
		for item := range strings.SplitSeq(given, ",") {
			name, sig, ok := strings.Cut(item, "=")
			raw, err := base64.StdEncoding.DecodeString(sig)
			if !ok || name == "" || err != nil {
				return nil, usagef("'%s' is no signature like NAME=BASE64", item)
			}
			list = append(list, home.Outside{Name: name, Sig: raw})
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	for _, other := range []string{"version", "expires", "expire-after"} {
		if c.has(other) {
			return nil, usagef("--%s changes what --signatures have signed; only one can be given", other)
		}
	}
	return list, nil
}
