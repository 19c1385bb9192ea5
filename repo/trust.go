package repo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"

	"sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// ErrDelegations: a list of delegations breaks a rule.
var ErrDelegations = fault.New(fault.Invalid, "trusted_delegations_invalid", "the delegations are not acceptable")

// TrustedDelegations returns the delegations of the visible targets as signed:
// their roles and their keys, lists of JSON values.
func (r *Repo) TrustedDelegations(ctx context.Context, ns uptane.Namespace) (roles, keys []json.RawMessage, err error) {
	repository, err := r.repository(ctx, ns)
	if err != nil || repository.Push == "" {
		return nil, nil, err
	}
	push, err := r.store.push(ctx, ns, repository.Push)
	var block canonical.Value
	if err == nil {
		block, err = delegationsIn(push.Document)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading delegations of %s: %w", ns, err)
	}
	list, _ := block.Member("roles")
	for _, v := range list.Items() {
		roles = append(roles, v.Uptane())
	}
	named, _ := block.Member("keys")
	for _, m := range named.Members() {
		keys = append(keys, m.Value.Uptane())
	}
	return roles, keys, nil
}

// delegationsIn finds the delegations in targets as they are stored, in canonical
// form, without reading what comes behind them: the targets, which may be many.
func delegationsIn(doc []byte) (canonical.Value, error) {
	const wanted = "delegations"
	d := json.NewDecoder(bytes.NewReader(doc))
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			return canonical.Value{}, err
		}
		switch name, isName := token.(string); {
		case token == json.Delim('{'):
			depth++
		case !isName || depth == 2 && name > wanted: // the end, or a member behind: there are none
			return canonical.Fields(), nil
		case depth == 1 && name == "signed":
		default:
			var v json.RawMessage
			if err := d.Decode(&v); err != nil {
				return canonical.Value{}, err
			}
			if depth == 2 && name == wanted {
				return canonical.Parse(v, canonical.Options{ASCII: true})
			}
		}
	}
}

// SetDelegationKeys proposes targets whose delegations have these keys and no
// others; roles that need another one are refused.
func (r *Repo) SetDelegationKeys(ctx context.Context, ns uptane.Namespace, keys []json.RawMessage) error {
	members := make([]canonical.Member, len(keys))
	for i, raw := range keys {
		v, err := canonical.Parse(raw, canonical.Options{ASCII: true})
		if err != nil {
			return ErrInvalid.Withf("key %d: %v", i+1, err)
		}
		k, err := uptane.ParseKey(raw)
		if err != nil {
			return ErrInvalid.Withf("key %d: %v", i+1, err)
		}
		members[i] = canonical.Member{Name: string(k.ID()), Value: v}
	}
	named := canonical.Fields(members...)
	return r.propose(ctx, ns, func(d *draft) error {
		block := d.delegations()
		roles, _ := block.Member("roles")
		if err := requireKeys(named, roles); err != nil {
			return err
		}
		d.signed = d.signed.With("delegations", block.With("keys", named))
		return nil
	})
}

// delegations is the block of the draft, an empty one where there is none.
func (d *draft) delegations() canonical.Value {
	block, _ := d.signed.Member("delegations")
	if block.Kind() == canonical.Object {
		return block
	}
	return canonical.Fields().With("keys", canonical.Fields()).With("roles", canonical.List())
}

// requireKeys demands that every role finds its keys.
func requireKeys(keys, roles canonical.Value) error {
	for _, role := range roles.Items() {
		name, _ := role.Member("name")
		ids, _ := role.Member("keyids")
		for _, id := range ids.Items() {
			text, _ := id.Text()
			if _, ok := keys.Member(text); !ok {
				who, _ := name.Text()
				return ErrDelegations.Withf("delegation %s: key %s is not among the keys; send the keys first", who, text)
			}
		}
	}
	return nil
}

// SetDelegations proposes targets that delegate to these roles, in this order of
// priority, and to no others. Each has name, keyids, paths, threshold and
// terminating. It answers ErrDelegations unless their keys are signed already.
func (r *Repo) SetDelegations(ctx context.Context, ns uptane.Namespace, roles []json.RawMessage) error {
	list := make([]canonical.Value, len(roles))
	for i, raw := range roles {
		v, err := canonical.Parse(raw, canonical.Options{ASCII: true})
		if err != nil {
			return ErrInvalid.Withf("delegation %d: %v", i+1, err)
		}
		for _, name := range []string{"name", "keyids", "paths", "threshold", "terminating"} {
			if _, ok := v.Member(name); !ok {
				return ErrInvalid.Withf("delegation %d: %s is missing", i+1, name)
			}
		}
		if name, _ := v.Member("name"); name.Kind() != canonical.String {
			return ErrInvalid.Withf("delegation %d: its name is no text", i+1)
		} else if text, _ := name.Text(); !uptane.Role(text).Delegation() {
			return ErrDelegationName.Withf("%.60q", text)
		}
		list[i] = v
	}
	return r.propose(ctx, ns, func(d *draft) error {
		if _, ok := d.signed.Member("delegations"); !ok && len(list) > 0 {
			return ErrDelegations.With("send the keys first")
		}
		block := d.delegations()
		keys, _ := block.Member("keys")
		if err := requireKeys(keys, canonical.List(list...)); err != nil {
			return err
		}
		d.signed = d.signed.With("delegations", block.With("roles", canonical.List(list...)))
		return nil
	})
}

// DropDelegation proposes targets that do not delegate to a role; nil says that
// they do not. Keys that no other role needs go, too.
func (r *Repo) DropDelegation(ctx context.Context, ns uptane.Namespace, role uptane.Role) error {
	return r.propose(ctx, ns, func(d *draft) error {
		roles, _ := d.delegations().Member("roles")
		var left []canonical.Value
		used := map[string]bool{}
		for _, v := range roles.Items() {
			if name, _ := v.Member("name"); isText(name, string(role)) {
				continue
			}
			left = append(left, v)
			ids, _ := v.Member("keyids")
			for _, id := range ids.Items() {
				text, _ := id.Text()
				used[text] = true
			}
		}
		if len(left) == len(roles.Items()) {
			return nil
		}
		keys, _ := d.delegations().Member("keys")
		kept := slices.DeleteFunc(slices.Clone(keys.Members()), func(m canonical.Member) bool { return !used[m.Name] })
		d.signed = d.signed.With("delegations", d.delegations().With("roles", canonical.List(left...)).With("keys", canonical.Fields(kept...)))
		return nil
	})
}

func isText(v canonical.Value, s string) bool {
	text, ok := v.Text()
	return ok && text == s
}

// NameRole changes what people call a delegated role. It answers ErrNotDelegated.
func (r *Repo) NameRole(ctx context.Context, ns uptane.Namespace, role uptane.Role, name string) error {
	if len(name) < 1 || len(name) > 80 {
		return ErrDelegationName.With("friendlyName has 1 to 80 characters")
	}
	if _, err := r.Role(ctx, ns, role); err != nil {
		return err
	}
	err := r.noting(ctx, ns, role, actName, fmt.Sprintf("%s is called %q", role, name), func(ctx context.Context, tx *sqlx.Tx) (bool, error) {
		return r.store.nameRole(ctx, tx, ns, role, name)
	})
	if err != nil {
		return fmt.Errorf("naming %s of %s: %w", role, ns, err)
	}
	return nil
}
