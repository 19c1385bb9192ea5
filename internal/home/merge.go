package home

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// merge makes the change that leads from base to mine again, on theirs. All
// three are payloads of targets.
type merge struct {
	base, mine, theirs canonical.Value
	conflicts          []string
}

// targets returns the merged payload, at the version of theirs.
func (m *merge) targets() canonical.Value {
	out := m.theirs
	for _, name := range m.names(m.base, m.mine, m.theirs) {
		switch name {
		case "_type", "version", "spec_version":
			continue
		case "expires":
			out = set(out, name, m.expires())
		case "targets":
			out = out.With(name, m.files())
		case "delegations":
			out = set(out, name, m.delegations())
		default:
			v, ok := three(member(m.base, name), member(m.mine, name), member(m.theirs, name), same)
			if !ok {
				m.conflicts = append(m.conflicts, name)
			}
			out = set(out, name, v)
		}
	}
	return out
}

// expires keeps an expiry that was moved forward on purpose; otherwise the later
// one counts, so that nobody shortens by accident what another has extended.
func (m *merge) expires() *canonical.Value {
	base, mine, theirs := text(m.base, "expires"), text(m.mine, "expires"), text(m.theirs, "expires")
	v := canonical.Text(max(mine, theirs)) // one form of time: as text it sorts by time
	if mine < base {
		v = canonical.Text(mine)
	}
	return &v
}

// files merges targets one by one.
func (m *merge) files() canonical.Value {
	base, mine, out := object(m.base, "targets"), object(m.mine, "targets"), object(m.theirs, "targets")
	var added []canonical.Member
	for _, name := range m.names(base, mine) {
		was, is, there := member(base, name), member(mine, name), member(out, name)
		if same(was, is) {
			continue // not touched here
		}
		v, ok := three(was, is, there, sameImage)
		switch {
		case !ok:
			m.conflicts = append(m.conflicts, fmt.Sprintf("target %s", name))
		case v == is && is != nil:
			added = append(added, canonical.Member{Name: name, Value: *is})
		default:
			out = set(out, name, v)
		}
	}
	return renumber(out, added)
}

// renumber puts targets into the others with release counters that follow the
// ones there; those that have none get none.
func renumber(out canonical.Value, added []canonical.Member) canonical.Value {
	counter := func(m canonical.Member) int64 { return intOf(object(m.Value, "custom"), "releaseCounter") }
	slices.SortStableFunc(added, func(a, b canonical.Member) int { return cmp.Compare(counter(a), counter(b)) })
	for _, m := range added {
		if n := counter(m); n > 0 {
			custom := object(m.Value, "custom")
			listed, _ := custom.Member("hardwareIds")
			var ids []uptane.HardwareID
			for _, item := range listed.Items() {
				id, _ := item.Text()
				ids = append(ids, uptane.HardwareID(id))
			}
			n = max(n, highestCounter(out.Without(m.Name), ids)+1)
			m.Value = m.Value.With("custom", custom.With("releaseCounter", canonical.Int(n)))
		}
		out = out.With(m.Name, m.Value)
	}
	return out
}

// delegations takes the side that changed; where both did, role by role, with
// the new ones of this side first.
func (m *merge) delegations() *canonical.Value {
	base, mine, theirs := member(m.base, "delegations"), member(m.mine, "delegations"), member(m.theirs, "delegations")
	if v, ok := three(base, mine, theirs, same); ok {
		return v
	}
	keys := object(m.theirs, "delegations", "keys")
	for _, k := range object(m.mine, "delegations", "keys").Members() {
		keys = keys.With(k.Name, k.Value)
	}
	was, is, there := rolesOf(base), rolesOf(mine), rolesOf(theirs)
	var first, roles []canonical.Value
	for _, role := range there {
		name := text(role, "name")
		v, ok := three(named(was, name), named(is, name), &role, same)
		if !ok {
			m.conflicts = append(m.conflicts, "delegation "+name)
		}
		if v != nil {
			roles = append(roles, *v)
		}
	}
	for _, role := range is {
		name := text(role, "name")
		if named(there, name) != nil {
			continue
		}
		switch was := named(was, name); {
		case was == nil:
			first = append(first, role)
		case !same(was, &role):
			m.conflicts = append(m.conflicts, "delegation "+name)
		}
	}
	v := pruned(canonical.Fields(
		canonical.Member{Name: "keys", Value: keys},
		canonical.Member{Name: "roles", Value: canonical.List(append(first, roles...)...)}))
	return &v
}

// pruned is a delegations block without the keys that no role lists.
func pruned(block canonical.Value) canonical.Value {
	used := map[string]bool{}
	for _, role := range rolesOf(&block) {
		ids, _ := role.Member("keyids")
		for _, id := range ids.Items() {
			s, _ := id.Text()
			used[s] = true
		}
	}
	keys := object(block, "keys")
	for _, k := range keys.Members() {
		if !used[k.Name] {
			keys = keys.Without(k.Name)
		}
	}
	return block.With("keys", keys)
}

func rolesOf(block *canonical.Value) []canonical.Value {
	if block == nil {
		return nil
	}
	list, _ := block.Member("roles")
	return list.Items()
}

func named(roles []canonical.Value, name string) *canonical.Value {
	i := slices.IndexFunc(roles, func(r canonical.Value) bool { return text(r, "name") == name })
	if i < 0 {
		return nil
	}
	return &roles[i]
}

// three decides between two changes of one thing, nil standing for its absence;
// false where both changed it, to different ends.
func three(base, mine, theirs *canonical.Value, alike func(a, b *canonical.Value) bool) (*canonical.Value, bool) {
	switch {
	case same(mine, base), alike(mine, theirs):
		return theirs, true
	case same(theirs, base):
		return mine, true
	}
	return theirs, false
}

func same(a, b *canonical.Value) bool {
	if a == nil || b == nil {
		return a == b
	}
	return bytes.Equal(a.Uptane(), b.Uptane())
}

// sameImage compares entries but for what says when and in which order they were
// made.
func sameImage(a, b *canonical.Value) bool {
	plain := func(v *canonical.Value) *canonical.Value {
		if v == nil {
			return nil
		}
		custom := object(*v, "custom")
		for _, name := range []string{"createdAt", "updatedAt", "releaseCounter"} {
			custom = custom.Without(name)
		}
		out := v.With("custom", custom)
		return &out
	}
	return same(plain(a), plain(b))
}

// names lists the members of some objects, each once.
func (m *merge) names(objects ...canonical.Value) []string {
	var all []string
	for _, o := range objects {
		for _, member := range o.Members() {
			all = append(all, member.Name)
		}
	}
	slices.SortFunc(all, strings.Compare)
	return slices.Compact(all)
}

func member(v canonical.Value, name string) *canonical.Value {
	m, ok := v.Member(name)
	if !ok {
		return nil
	}
	return &m
}

func set(v canonical.Value, name string, to *canonical.Value) canonical.Value {
	if to == nil {
		return v.Without(name)
	}
	return v.With(name, *to)
}

// object follows a path of members to an object; an empty one where there is
// none.
func object(v canonical.Value, path ...string) canonical.Value {
	for _, name := range path {
		v, _ = v.Member(name)
	}
	if v.Kind() != canonical.Object {
		return canonical.Fields()
	}
	return v
}
