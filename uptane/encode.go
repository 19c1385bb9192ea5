package uptane

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane/canonical"
)

// Payload writes a payload in flavour f, in the form in which it is stored and
// served. Key ids are rewritten to those of the flavour, so one model serves
// both. It refuses what no client would read: a type that is not the role's, a
// version outside 1..MaxVersion, an expiry that is not whole seconds of UTC,
// text that is not ASCII, numbers that are no integers. The same payload always
// gives the same bytes. The payload is not changed.
func Payload[T metadata.Roles](f Flavour, role Role, payload *T) ([]byte, error) {
	v, err := encode(f, role, payload)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", role, err)
	}
	back, err := payloadOf(f, role, v)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", role, err)
	}
	again, err := encode(f, role, back)
	if err != nil {
		return nil, fmt.Errorf("encoding %s again: %w", role, err)
	}
	out := v.Uptane()
	if !bytes.Equal(out, again.Uptane()) {
		return nil, malformed("encoding %s: what was written reads differently", role)
	}
	return out, nil
}

// ParsePayload reads a payload that the caller trusts for another reason than a
// signature, such as one that is stored or still to be signed; it need not be
// canonical. Errors are those of Open.
func ParsePayload[T metadata.Roles](f Flavour, role Role, raw []byte) (*T, error) {
	payload, err := readPayload(f, role, raw)
	if err != nil {
		return nil, err
	}
	typed, ok := payload.(*T)
	if !ok {
		return nil, fmt.Errorf("reading %s as %T: %w", role, typed, ErrType)
	}
	return typed, nil
}

func encode(f Flavour, role Role, payload any) (canonical.Value, error) {
	if got := typeOf(payload); got != string(role.payloadType()) || !role.Valid() {
		return canonical.Value{}, fmt.Errorf("payload has type %q: %w", got, ErrType)
	}
	v, err := canonical.Of(payload, canonical.Options{ASCII: true})
	if err != nil {
		return v, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch p := payload.(type) {
	case *metadata.RootType:
		v, err = encodeRoot(f, v, p)
	case *metadata.TargetsType:
		if p.Delegations != nil {
			v, err = encodeDelegations(f, v, p.Delegations)
		}
	}
	if err != nil {
		return v, err
	}
	v = v.With("_type", canonical.Text(f.typeName(role)))
	if f == TUF {
		return v.With("spec_version", canonical.Text(specVersion)), nil
	}
	return v.Without("spec_version"), nil
}

func typeOf(payload any) string {
	switch p := payload.(type) {
	case *metadata.RootType:
		return p.Type
	case *metadata.TargetsType:
		return p.Type
	case *metadata.SnapshotType:
		return p.Type
	case *metadata.TimestampType:
		return p.Type
	}
	return ""
}

func encodeRoot(f Flavour, v canonical.Value, r *metadata.RootType) (canonical.Value, error) {
	keys, ids, err := encodeKeys(f, r.Keys)
	if err != nil {
		return v, err
	}
	roles, _ := v.Member("roles")
	for _, m := range roles.Members() {
		if r.Roles[m.Name] == nil {
			return v, malformed("role %q is null", m.Name)
		}
		list, err := encodeIDs(r.Roles[m.Name].KeyIDs, ids)
		if err != nil {
			return v, fmt.Errorf("role %q: %w", m.Name, err)
		}
		roles = roles.With(m.Name, m.Value.With("keyids", list))
	}
	// Aktualizr ignores the flag and its file names are never versioned; under
	// /tuf they always are.
	return v.With("keys", keys).With("roles", roles).With("consistent_snapshot", canonical.Flag(f == TUF)), nil
}

func encodeDelegations(f Flavour, v canonical.Value, d *metadata.Delegations) (canonical.Value, error) {
	if d.SuccinctRoles != nil {
		return v, malformed("succinct delegations, which clients do not follow")
	}
	keys, ids, err := encodeKeys(f, d.Keys)
	if err != nil {
		return v, err
	}
	tree, _ := v.Member("delegations")
	listed, _ := tree.Member("roles")
	roles := make([]canonical.Value, len(d.Roles))
	for i, role := range d.Roles {
		list, err := encodeIDs(role.KeyIDs, ids)
		if err != nil {
			return v, fmt.Errorf("delegation %q: %w", role.Name, err)
		}
		roles[i] = listed.Items()[i].With("keyids", list)
	}
	return v.With("delegations", tree.With("keys", keys).With("roles", canonical.List(roles...))), nil
}

// encodeKeys writes keys under the flavour's ids and tells the new id of each old.
func encodeKeys(f Flavour, keys map[string]*metadata.Key) (canonical.Value, map[string]KeyID, error) {
	ids, members := make(map[string]KeyID, len(keys)), make([]canonical.Member, 0, len(keys))
	for old, key := range keys {
		k, err := keyOfModel(key)
		if err != nil {
			return canonical.Value{}, nil, fmt.Errorf("key %q: %w", old, err)
		}
		ids[old] = f.KeyID(k)
		members = append(members, canonical.Member{Name: string(ids[old]), Value: k.value(f)})
	}
	return canonical.Fields(members...), ids, nil
}

func encodeIDs(old []string, ids map[string]KeyID) (canonical.Value, error) {
	var out []canonical.Value
	var seen []KeyID
	for _, id := range old {
		now, ok := ids[id]
		if !ok || slices.Contains(seen, now) {
			return canonical.Value{}, fmt.Errorf("key %q is missing or listed twice: %w", id, ErrKey)
		}
		seen = append(seen, now)
		out = append(out, canonical.Text(string(now)))
	}
	return canonical.List(out...), nil
}

// modelKey is k as go-tuf's payload types hold it.
func modelKey(k Key) *metadata.Key {
	v := k.value(TUF)
	keytype, _ := text(v, "keytype")
	return &metadata.Key{Type: keytype, Scheme: k.method(), Value: metadata.KeyVal{PublicKey: k.text()}}
}

func keyOfModel(k *metadata.Key) (Key, error) {
	if k == nil {
		return Key{}, malformed("key is null")
	}
	if _, private := k.Value.UnrecognizedFields["private"]; private {
		return Key{}, fmt.Errorf("reading key that holds its private part: %w", ErrKey)
	}
	return keyFrom(k.Type, k.Value.PublicKey, k.Scheme, true)
}
