package repo

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// The functions of this file answer ErrUnsigned with the metadata that are to be
// signed, nil when nothing would change, or why a push would be refused.

// coreMembers of custom have a meaning here; the others are the owner's.
func coreMembers() []string {
	return []string{"name", "version", "hardwareIds", "targetFormat", "uri", "createdAt", "updatedAt", "cliUploaded", "releaseCounter", "ecuIdentifiers"}
}

// NewTarget asks for a target.
type NewTarget struct {
	Filename    string
	SHA256      string
	Length      int64
	Name        string
	Version     string
	HardwareIDs []uptane.HardwareID
	Format      string // "" is BINARY
	URI         string // "" the bytes are or come here
	Uploaded    bool   // they must be here
}

// AddTarget proposes targets with one more, or with another entry for it.
func (r *Repo) AddTarget(ctx context.Context, ns uptane.Namespace, n NewTarget) error {
	sum, err := hex.DecodeString(n.SHA256)
	if err != nil || len(sum) != 32 {
		return ErrInvalid.With("checksum must be a sha256 in hex")
	}
	if err := uptane.CheckFilename(n.Filename); err != nil {
		return ErrInvalid.With(err.Error())
	}
	if n.Format == "" {
		n.Format = uptane.FormatBinary
	}
	return r.propose(ctx, ns, func(d *draft) error {
		t := uptane.Target{Filename: n.Filename, Length: n.Length, Hashes: metadata.Hashes{"sha256": sum}, Custom: uptane.Custom{
			Name: n.Name, Version: n.Version, HardwareIDs: n.HardwareIDs, TargetFormat: n.Format, URI: n.URI,
			CreatedAt: d.now, UpdatedAt: d.now, ReleaseCounter: d.nextRelease(n.Filename, n.HardwareIDs)}}
		if t.Custom.HardwareIDs == nil {
			t.Custom.HardwareIDs = []uptane.HardwareID{}
		}
		if n.Uploaded {
			t.Custom.CLIUploaded = &n.Uploaded
		}
		if old, ok := d.custom(n.Filename); ok {
			t.Custom.CreatedAt, t.Custom.Extra, t.Custom.ReleaseCounter = old.CreatedAt, old.Extra, max(old.ReleaseCounter, 1)
		}
		file, err := t.File()
		if err != nil {
			return ErrInvalid.With(err.Error())
		}
		entry, err := canonical.Of(file, canonical.Options{ASCII: true})
		if err != nil {
			return ErrInvalid.With(err.Error())
		}
		d.setTargets(d.targets().With(n.Filename, entry))
		return nil
	})
}

// custom is the custom part of a target of the draft.
func (d *draft) custom(filename string) (uptane.Custom, bool) {
	var c uptane.Custom
	entry, ok := d.targets().Member(filename)
	if ok {
		raw, _ := entry.Member("custom")
		ok = c.UnmarshalJSON(raw.Uptane()) == nil
	}
	return c, ok
}

// nextRelease is above the counters of all targets for the same hardware.
func (d *draft) nextRelease(filename string, ids []uptane.HardwareID) int64 {
	highest := int64(0)
	for _, m := range d.targets().Members() {
		if m.Name == filename {
			continue
		}
		c, _ := d.custom(m.Name)
		if slices.ContainsFunc(c.HardwareIDs, func(id uptane.HardwareID) bool { return slices.Contains(ids, id) }) {
			highest = max(highest, c.ReleaseCounter)
		}
	}
	return highest + 1
}

// TargetEdit is what becomes different of a target; nil stays.
type TargetEdit struct {
	URI         *string
	HardwareIDs []uptane.HardwareID // empty: they stay
	Proprietary map[string]json.RawMessage
	// Merge adds Proprietary to what is there, and an empty one clears it;
	// otherwise Proprietary takes its place.
	Merge bool
}

// EditTarget proposes another custom part for a target of the top level. It
// answers ErrTargetMissing.
func (r *Repo) EditTarget(ctx context.Context, ns uptane.Namespace, filename string, e TargetEdit) error {
	return r.propose(ctx, ns, func(d *draft) error {
		entry, ok := d.targets().Member(filename)
		if !ok {
			return r.notTop(ctx, ns, filename)
		}
		custom, _ := entry.Member("custom")
		if custom.Kind() != canonical.Object {
			custom = canonical.Fields()
		}
		before := string(custom.Uptane())
		if e.URI != nil {
			custom = custom.With("uri", canonical.Text(*e.URI))
		}
		if len(e.HardwareIDs) > 0 {
			ids := make([]canonical.Value, len(e.HardwareIDs))
			for i, id := range e.HardwareIDs {
				ids[i] = canonical.Text(string(id))
			}
			custom = custom.With("hardwareIds", canonical.List(ids...))
		}
		custom, err := e.proprietary(custom)
		if err != nil {
			return err
		}
		if string(custom.Uptane()) == before {
			return nil
		}
		custom = custom.With("updatedAt", canonical.Text(d.now.Format("2006-01-02T15:04:05Z")))
		d.setTargets(d.targets().With(filename, entry.With("custom", custom)))
		return nil
	})
}

func (e TargetEdit) proprietary(custom canonical.Value) (canonical.Value, error) {
	if e.Proprietary == nil {
		return custom, nil
	}
	core := coreMembers()
	if !e.Merge || len(e.Proprietary) == 0 {
		for _, m := range custom.Members() {
			if !slices.Contains(core, m.Name) {
				custom = custom.Without(m.Name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Proprietary)) {
		if slices.Contains(core, name) {
			continue // they have routes of their own
		}
		v, err := canonical.Parse(e.Proprietary[name], canonical.Options{ASCII: true})
		if err != nil {
			return custom, ErrInvalid.Withf("member %q: %v", name, err)
		}
		custom = custom.With(name, v)
	}
	return custom, nil
}

// notTop says why a name is no target of the top level.
func (r *Repo) notTop(ctx context.Context, ns uptane.Namespace, filename string) error {
	if _, role, err := r.target(ctx, ns, filename); err == nil && role != uptane.RoleTargets {
		return ErrTargetMissing.Withf("%q is a target of the delegated role %s; whoever signs for it can change it", filename, role)
	}
	return ErrTargetMissing
}

// DropTargets proposes targets without these. It answers ErrTargetMissing for the
// first that is not there. Devices keep what they run; nobody can be given what is
// gone, not even by a thief of every key on this server.
func (r *Repo) DropTargets(ctx context.Context, ns uptane.Namespace, filenames ...string) error {
	return r.propose(ctx, ns, func(d *draft) error {
		for _, name := range filenames {
			if _, ok := d.targets().Member(name); !ok {
				return fmt.Errorf("retiring %q: %w", name, r.notTop(ctx, ns, name))
			}
		}
		d.drop(filenames)
		return nil
	})
}

// Superseded lists the targets of the top level that newer ones replace: those of
// which, for each of their hardware ids, keep others have a higher release
// counter.
func (r *Repo) Superseded(ctx context.Context, ns uptane.Namespace, keep int) ([]string, error) {
	d, _, err := r.draft(ctx, ns)
	if err != nil {
		return nil, err
	}
	counters := map[uptane.HardwareID][]int64{}
	customs := map[string]uptane.Custom{}
	for _, m := range d.targets().Members() {
		c, ok := d.custom(m.Name)
		if !ok {
			continue
		}
		customs[m.Name] = c
		for _, id := range c.HardwareIDs {
			counters[id] = append(counters[id], c.ReleaseCounter)
		}
	}
	var old []string
	for _, name := range slices.Sorted(maps.Keys(customs)) {
		c := customs[name]
		replaced := len(c.HardwareIDs) > 0
		for _, id := range c.HardwareIDs {
			newer := 0
			for _, n := range counters[id] {
				if n > c.ReleaseCounter {
					newer++
				}
			}
			replaced = replaced && newer >= max(keep, 1)
		}
		if replaced {
			old = append(old, name)
		}
	}
	return old, nil
}
