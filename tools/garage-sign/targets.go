package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/home"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

func runTargetsInit(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	version, err := strconv.ParseInt(c.get("version"), 10, 32)
	if err != nil || version < 0 {
		return usagef("'%s' is no version", c.get("version"))
	}
	expires, err := c.expires()
	if err != nil {
		return err
	}
	if err := h.InitTargets(version, expires); err != nil {
		return err
	}
	c.say("The unsigned targets are empty and have version %d", version)
	return nil
}

func runTargetsAdd(c *call) error {
	t, err := c.describedTarget()
	if err != nil {
		return err
	}
	return c.addTarget(t)
}

// describedTarget is a target whose length and hash are options.
func (c *call) describedTarget() (uptane.Target, error) {
	var none uptane.Target
	length, err := strconv.ParseInt(c.get("length"), 10, 64)
	if err != nil || length < 0 {
		return none, usagef("'%s' is no length", c.get("length"))
	}
	if !uptane.KeyID(c.get("sha256")).Valid() {
		return none, usagef("'%s' is no SHA-256 in lower-case hex", c.get("sha256"))
	}
	sum, err := hex.DecodeString(c.get("sha256"))
	if err != nil {
		return none, err
	}
	t, err := c.target(length, sum)
	if err != nil {
		return none, err
	}
	switch strings.ToUpper(c.get("format")) {
	case "", uptane.FormatBinary:
	case uptane.FormatOSTree:
		t.Custom.TargetFormat = uptane.FormatOSTree
	default:
		return none, usagef("'%s' is no format, only ostree and binary are", c.get("format"))
	}
	t.Custom.URI = c.get("url")
	return t, nil
}

func runTargetsAddUploaded(c *call) error {
	sum, length, err := hashFile(c.get("input"))
	if err != nil {
		return err
	}
	t, err := c.target(length, sum)
	if err != nil {
		return err
	}
	uploaded := true
	t.Custom.CLIUploaded = &uploaded
	if c.has("verifyIntegrity") {
		h, err := c.imageHome()
		if err != nil {
			return err
		}
		if err := c.verifyUploaded(h, t.Filename, sum, length); err != nil {
			return err
		}
		return c.addTo(h, t)
	}
	return c.addTarget(t)
}

// target is what the options say about an image; its file name is made of name
// and version.
func (c *call) target(length int64, sum []byte) (uptane.Target, error) {
	uploaded := false
	t := uptane.Target{
		Filename: targetFilename(c),
		Length:   length,
		Hashes:   metadata.Hashes{"sha256": sum},
		Custom: uptane.Custom{Name: c.get("name"), Version: c.get("version"), TargetFormat: uptane.FormatBinary,
			CLIUploaded: &uploaded, HardwareIDs: []uptane.HardwareID{}},
	}
	for s := range strings.SplitSeq(c.get("hardwareids"), ",") {
		id := uptane.HardwareID(strings.TrimSpace(s))
		if !id.Valid() {
			return t, usagef("'%s' is no hardware id", s)
		}
		if !slices.Contains(t.Custom.HardwareIDs, id) {
			t.Custom.HardwareIDs = append(t.Custom.HardwareIDs, id)
		}
	}
	var err error
	if n := c.get("release"); n != "" {
		if t.Custom.ReleaseCounter, err = strconv.ParseInt(n, 10, 32); err != nil || t.Custom.ReleaseCounter < 1 {
			return t, usagef("'%s' is no release counter", n)
		}
	}
	t.Custom.Extra, err = customMeta(c.get("customMeta"))
	return t, err
}

func targetFilename(c *call) string { return c.get("name") + "-" + c.get("version") }

// customMeta reads --customMeta. Members with a meaning of their own have other
// options, or are for this program to set.
func customMeta(s string) (map[string]json.RawMessage, error) {
	if s == "" {
		return nil, nil
	}
	v, err := canonical.Parse([]byte(s), canonical.Options{ASCII: true})
	if err != nil || v.Kind() != canonical.Object {
		return nil, usagef("--customMeta is no JSON object of ASCII text and integers: %v", err)
	}
	extra := map[string]json.RawMessage{}
	for _, m := range v.Members() {
		for _, own := range []string{"name", "version", "hardwareIds", "targetFormat", "uri", "cliUploaded", "releaseCounter", "ecuIdentifiers"} {
			if strings.EqualFold(m.Name, own) {
				return nil, usagef("--customMeta cannot set %s", m.Name)
			}
		}
		if m.Name == "createdAt" || m.Name == "updatedAt" {
			continue // these are always now
		}
		extra[m.Name] = m.Value.Uptane()
	}
	return extra, nil
}

func (c *call) addTarget(t uptane.Target) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	return c.addTo(h, t)
}

func (c *call) addTo(h *home.Home, t uptane.Target) error {
	err := h.AddTarget(t)
	if errors.Is(err, home.ErrNotFound) {
		return noUnsignedTargets()
	}
	if err != nil {
		return err
	}
	c.say("Added target %s to the unsigned targets", t.Filename)
	return nil
}

func noUnsignedTargets() error {
	return explained("there are no unsigned targets; `targets pull` fetches the server's, `targets init` begins new ones")
}

func runTargetsDelete(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	if err := h.DeleteTarget(c.get("filename")); err != nil {
		return err
	}
	c.say("Removed target %s from the unsigned targets", c.get("filename"))
	return nil
}

func runTargetsSign(c *call) error {
	outside, err := c.outside()
	if err != nil {
		return err
	}
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	if len(outside) > 0 {
		return c.report("targets", h)(h.SignOutside(c.ctx, uptane.RoleTargets, outside, c.list("key-name")...))
	}
	if !c.has("key-name") {
		return usagef("Missing option --key-name")
	}
	s := home.Signing{Keys: c.list("key-name"), Force: c.has("force")}
	if v := c.get("version"); v != "" {
		if s.Version, err = strconv.ParseInt(v, 10, 32); err != nil || s.Version < 1 {
			return usagef("'%s' is no version", v)
		}
	}
	if s.Expires, err = c.expires(); err != nil {
		return err
	}
	return c.report("targets", h)(h.SignTargets(c.ctx, s))
}
