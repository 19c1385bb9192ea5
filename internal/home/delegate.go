package home

import (
	"fmt"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// Delegation lets somebody else sign for a part of the targets.
type Delegation struct {
	Name        string
	Paths       []string // patterns of target file names
	Keys        []uptane.Key
	Threshold   int  // how many of the keys must sign
	Terminating bool // nobody further down is asked about these paths
}

// Delegate writes d into the unsigned targets, before all others; one of the
// same name is replaced. Errors wrap ErrNotFound where there are no unsigned
// targets, or are those of package uptane for what no client would follow.
func (h *Home) Delegate(d Delegation) error {
	return h.editDelegations(func(keys canonical.Value, roles []canonical.Value) (canonical.Value, []canonical.Value, error) {
		var ids, paths []canonical.Value
		for _, k := range d.Keys {
			v, err := canonical.Parse(k.Wire(uptane.Uptane), ascii)
			if err != nil {
				return keys, nil, err
			}
			keys = keys.With(string(k.ID()), v)
			ids = append(ids, canonical.Text(string(k.ID())))
		}
		for _, p := range d.Paths {
			if err := uptane.CheckPath(p); err != nil {
				return keys, nil, err
			}
			paths = append(paths, canonical.Text(p))
		}
		role := canonical.Fields(
			canonical.Member{Name: "name", Value: canonical.Text(d.Name)},
			canonical.Member{Name: "keyids", Value: canonical.List(ids...)},
			canonical.Member{Name: "paths", Value: canonical.List(paths...)},
			canonical.Member{Name: "threshold", Value: canonical.Int(int64(d.Threshold))},
			canonical.Member{Name: "terminating", Value: canonical.Flag(d.Terminating)})
		return keys, append([]canonical.Value{role}, withoutRole(roles, d.Name)...), nil
	})
}

// RemoveDelegation takes a delegation out of the unsigned targets, and keys that
// no other needs. Errors wrap ErrNotFound.
func (h *Home) RemoveDelegation(name string) error {
	return h.editDelegations(func(keys canonical.Value, roles []canonical.Value) (canonical.Value, []canonical.Value, error) {
		if named(roles, name) == nil {
			return keys, nil, fmt.Errorf("removing delegation %q: %w", name, ErrNotFound)
		}
		return keys, withoutRole(roles, name), nil
	})
}

func withoutRole(roles []canonical.Value, name string) []canonical.Value {
	return slices.DeleteFunc(slices.Clone(roles), func(r canonical.Value) bool { return text(r, "name") == name })
}

// editDelegations changes the delegations of the unsigned targets; what clients
// would not read is not written.
func (h *Home) editDelegations(change func(keys canonical.Value, roles []canonical.Value) (canonical.Value, []canonical.Value, error)) error {
	if h.config.ServerType == Director {
		return ErrDirector
	}
	v, err := h.unsigned(uptane.RoleTargets)
	if err != nil {
		return err
	}
	block := object(v, "delegations")
	keys, roles, err := change(object(block, "keys"), rolesOf(&block))
	if err != nil {
		return fmt.Errorf("editing delegations: %w", err)
	}
	if len(roles) == 0 {
		return h.setUnsigned(uptane.RoleTargets, v.Without("delegations"))
	}
	v = v.With("delegations", pruned(block.With("keys", keys).With("roles", canonical.List(roles...))))
	if _, err := asTargets(v); err != nil {
		return fmt.Errorf("editing delegations: %w", err)
	}
	return h.setUnsigned(uptane.RoleTargets, v)
}

// asTargets reads a payload that may still have version 0 or another form of
// time.
func asTargets(v canonical.Value) (*metadata.TargetsType, error) {
	expires, err := timeOf(v, "expires")
	if err != nil {
		return nil, err
	}
	v = withTime(v.With("version", canonical.Int(max(intOf(v, "version"), 1))), "expires", expires)
	return uptane.ParsePayload[metadata.TargetsType](uptane.Uptane, uptane.RoleTargets, v.Uptane())
}

// Delegations returns the delegations of the unsigned targets, in the order in
// which they are asked.
func (h *Home) Delegations() ([]Delegation, error) {
	v, err := h.unsigned(uptane.RoleTargets)
	if err != nil {
		return nil, err
	}
	model, err := asTargets(v)
	if err != nil {
		return nil, fmt.Errorf("reading delegations: %w", err)
	}
	if model.Delegations == nil {
		return nil, nil
	}
	var list []Delegation
	for _, role := range model.Delegations.Roles {
		ring, err := uptane.DelegationRing(uptane.Uptane, model, uptane.Role(role.Name))
		if err != nil {
			return nil, err
		}
		list = append(list, Delegation{Name: role.Name, Paths: role.Paths, Keys: ring.Keys, Threshold: ring.Threshold, Terminating: role.Terminating})
	}
	return list, nil
}
