package uptane

import (
	"encoding/json"
	"fmt"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane/canonical"
)

// MaxDelegationDepth is how many roles may lie between the top level and a role,
// itself included: clients search no deeper.
const MaxDelegationDepth = 5

// Delegation is what targets metadata say about one role that they delegate to.
type Delegation struct {
	Role        Role
	Paths       []string
	Terminating bool
	Ring        Keyring
	// Raw is a delegations block with this role and its keys alone, in canonical
	// form and with the ids by which the document calls the keys.
	Raw json.RawMessage
}

// Covers reports whether one of the path patterns covers a target file name.
func (d Delegation) Covers(filename string) bool {
	for _, p := range d.Paths {
		if MatchPath(p, filename) {
			return true
		}
	}
	return false
}

// Delegations returns the roles that the payload of targets metadata delegates
// to, in their order of priority. Errors wrap ErrMalformed, ErrKey or ErrName.
func Delegations(f Flavour, signed []byte) ([]Delegation, error) {
	v, err := canonical.Parse(signed, canonical.Options{ASCII: true})
	if err != nil {
		return nil, fmt.Errorf("reading delegations: %w: %w", ErrMalformed, err)
	}
	block, ok := v.Member("delegations")
	if !ok || block.Kind() == canonical.Null {
		return nil, nil
	}
	all, err := decoder{f: f}.delegations(block)
	if err != nil {
		return nil, err
	}
	keys, _ := block.Member("keys")
	roles, _ := block.Member("roles")
	out := make([]Delegation, len(all.Roles))
	for i, r := range all.Roles {
		own := make([]canonical.Member, len(r.KeyIDs))
		for n, id := range r.KeyIDs {
			key, _ := keys.Member(id) // it is there: the block was read
			own[n] = canonical.Member{Name: id, Value: key}
		}
		raw := canonical.Fields().With("keys", canonical.Fields(own...)).With("roles", canonical.List(roles.Items()[i]))
		if out[i], err = delegationOf(f, all, r, raw); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ParseDelegation reads [Delegation.Raw].
func ParseDelegation(f Flavour, raw []byte) (Delegation, error) {
	v, err := canonical.Parse(raw, canonical.Options{ASCII: true})
	if err != nil {
		return Delegation{}, fmt.Errorf("reading delegation: %w: %w", ErrMalformed, err)
	}
	block, err := decoder{f: f}.delegations(v)
	if err != nil {
		return Delegation{}, err
	}
	if len(block.Roles) != 1 {
		return Delegation{}, malformed("reading %d delegations where one is meant", len(block.Roles))
	}
	return delegationOf(f, block, block.Roles[0], v)
}

func delegationOf(f Flavour, block *metadata.Delegations, r metadata.DelegatedRole, raw canonical.Value) (Delegation, error) {
	ring, err := ringOf(f, block.Keys, r.KeyIDs, r.Threshold)
	return Delegation{Role: Role(r.Name), Paths: r.Paths, Terminating: r.Terminating, Ring: ring, Raw: json.RawMessage(raw.Uptane())}, err
}
