package uptane

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

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
	out, _, err := payloadBytes(f, role, payload)
	return out, err
}

// payloadBytes is Payload that also returns what a client reads in the bytes.
func payloadBytes(f Flavour, role Role, payload any) ([]byte, canonical.Value, error) {
	v, err := encode(f, role, payload)
	if err != nil {
		return nil, v, fmt.Errorf("encoding %s: %w", role, err)
	}
	out := v.Uptane()
	if v, err = canonical.Parse(out, canonical.Options{ASCII: true}); err != nil {
		return nil, v, fmt.Errorf("encoding %s: %w: %w", role, ErrMalformed, err)
	}
	if _, err := payloadOf(f, role, v); err != nil {
		return nil, v, fmt.Errorf("encoding %s: %w", role, err)
	}
	return out, v, nil
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

// encode writes the model member by member, as payloadOf reads it.
func encode(f Flavour, role Role, payload any) (canonical.Value, error) {
	if got := typeOf(payload); got != string(role.payloadType()) || !role.Valid() {
		return canonical.Value{}, fmt.Errorf("payload has type %q: %w", got, ErrType)
	}
	e := encoder{f: f}
	switch p := payload.(type) {
	case *metadata.RootType:
		return e.root(role, p)
	case *metadata.TargetsType:
		return e.targets(role, p)
	case *metadata.SnapshotType:
		return e.listing(role, p.Version, p.Expires, p.Meta, p.UnrecognizedFields)
	case *metadata.TimestampType:
		return e.listing(role, p.Version, p.Expires, p.Meta, p.UnrecognizedFields)
	}
	return canonical.Value{}, fmt.Errorf("payload is %T: %w", payload, ErrType)
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

type encoder struct{ f Flavour }

// head is what every payload has, and what its members are beside that.
func (e encoder) head(role Role, version int64, expires time.Time, extra map[string]any, members ...canonical.Member) (canonical.Value, error) {
	members = append(members,
		canonical.Member{Name: "_type", Value: canonical.Text(e.f.typeName(role))},
		canonical.Member{Name: "version", Value: canonical.Int(version)},
		canonical.Member{Name: "expires", Value: canonical.Text(expires.Format(time.RFC3339Nano))})
	if e.f == TUF {
		members = append(members, canonical.Member{Name: "spec_version", Value: canonical.Text(specVersion)})
	}
	return beside(extra, members...)
}

func (e encoder) root(role Role, r *metadata.RootType) (canonical.Value, error) {
	keys, ids, err := encodeKeys(e.f, r.Keys)
	if err != nil {
		return keys, err
	}
	if r.Roles == nil {
		return keys, malformed("roles are null")
	}
	roles := make([]canonical.Member, 0, len(r.Roles))
	for name, held := range r.Roles {
		if held == nil {
			return keys, malformed("role %q is null", name)
		}
		list, err := encodeIDs(held.KeyIDs, ids)
		if err != nil {
			return keys, fmt.Errorf("role %q: %w", name, err)
		}
		v, err := beside(held.UnrecognizedFields, canonical.Member{Name: "keyids", Value: list},
			canonical.Member{Name: "threshold", Value: canonical.Int(int64(held.Threshold))})
		if err != nil {
			return v, fmt.Errorf("role %q: %w", name, err)
		}
		roles = append(roles, canonical.Member{Name: name, Value: v})
	}
	// Aktualizr ignores the flag and its file names are never versioned; under
	// /tuf they always are.
	return e.head(role, r.Version, r.Expires, r.UnrecognizedFields, canonical.Member{Name: "keys", Value: keys},
		canonical.Member{Name: "roles", Value: canonical.Fields(roles...)},
		canonical.Member{Name: "consistent_snapshot", Value: canonical.Flag(e.f == TUF)})
}

func (e encoder) targets(role Role, t *metadata.TargetsType) (canonical.Value, error) {
	if t.Targets == nil {
		return canonical.Value{}, malformed("targets are null")
	}
	files := make([]canonical.Member, 0, len(t.Targets))
	for name, file := range t.Targets {
		v, err := encodeFile(file)
		if err != nil {
			return v, fmt.Errorf("target %q: %w", name, err)
		}
		files = append(files, canonical.Member{Name: name, Value: v})
	}
	members := []canonical.Member{{Name: "targets", Value: canonical.Fields(files...)}}
	if t.Delegations != nil {
		v, err := e.delegations(t.Delegations)
		if err != nil {
			return v, err
		}
		members = append(members, canonical.Member{Name: "delegations", Value: v})
	}
	return e.head(role, t.Version, t.Expires, t.UnrecognizedFields, members...)
}

func encodeFile(file *metadata.TargetFiles) (canonical.Value, error) {
	if file == nil {
		return canonical.Value{}, malformed("entry is null")
	}
	members := []canonical.Member{{Name: "length", Value: canonical.Int(file.Length)}, {Name: "hashes", Value: encodeHashes(file.Hashes)}}
	if file.Custom != nil {
		custom, err := canonical.Parse(*file.Custom, canonical.Options{ASCII: true})
		if err != nil {
			return custom, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		members = append(members, canonical.Member{Name: "custom", Value: custom})
	}
	return beside(file.UnrecognizedFields, members...)
}

func encodeHashes(hashes metadata.Hashes) canonical.Value {
	members := make([]canonical.Member, 0, len(hashes))
	for name, sum := range hashes {
		members = append(members, canonical.Member{Name: name, Value: canonical.Text(hex.EncodeToString(sum))})
	}
	return canonical.Fields(members...)
}

// listing is a snapshot or a timestamp.
func (e encoder) listing(role Role, version int64, expires time.Time, meta map[string]*metadata.MetaFiles, extra map[string]any) (canonical.Value, error) {
	if meta == nil {
		return canonical.Value{}, malformed("meta is null")
	}
	files := make([]canonical.Member, 0, len(meta))
	for name, file := range meta {
		if file == nil {
			return canonical.Value{}, malformed("meta of %q is null", name)
		}
		members := []canonical.Member{{Name: "version", Value: canonical.Int(file.Version)}}
		if file.Length != 0 {
			members = append(members, canonical.Member{Name: "length", Value: canonical.Int(file.Length)})
		}
		if len(file.Hashes) != 0 {
			members = append(members, canonical.Member{Name: "hashes", Value: encodeHashes(file.Hashes)})
		}
		v, err := beside(file.UnrecognizedFields, members...)
		if err != nil {
			return v, fmt.Errorf("meta of %q: %w", name, err)
		}
		files = append(files, canonical.Member{Name: name, Value: v})
	}
	return e.head(role, version, expires, extra, canonical.Member{Name: "meta", Value: canonical.Fields(files...)})
}

func (e encoder) delegations(d *metadata.Delegations) (canonical.Value, error) {
	if d.SuccinctRoles != nil {
		return canonical.Value{}, malformed("succinct delegations, which clients do not follow")
	}
	keys, ids, err := encodeKeys(e.f, d.Keys)
	if err != nil {
		return keys, err
	}
	roles := make([]canonical.Value, len(d.Roles))
	for i, role := range d.Roles {
		if roles[i], err = encodeDelegation(role, ids); err != nil {
			return keys, fmt.Errorf("delegation %q: %w", role.Name, err)
		}
	}
	return beside(d.UnrecognizedFields, canonical.Member{Name: "keys", Value: keys},
		canonical.Member{Name: "roles", Value: canonical.List(roles...)})
}

func encodeDelegation(role metadata.DelegatedRole, ids map[string]KeyID) (canonical.Value, error) {
	if len(role.PathHashPrefixes) > 0 {
		return canonical.Value{}, malformed("hash prefixes, which clients do not follow")
	}
	list, err := encodeIDs(role.KeyIDs, ids)
	if err != nil {
		return list, err
	}
	paths := make([]canonical.Value, len(role.Paths))
	for i, p := range role.Paths {
		paths[i] = canonical.Text(p)
	}
	return beside(role.UnrecognizedFields, canonical.Member{Name: "name", Value: canonical.Text(role.Name)},
		canonical.Member{Name: "keyids", Value: list},
		canonical.Member{Name: "threshold", Value: canonical.Int(int64(role.Threshold))},
		canonical.Member{Name: "terminating", Value: canonical.Flag(role.Terminating)},
		canonical.Member{Name: "paths", Value: canonical.List(paths...)})
}

// beside makes an object of members that have a meaning and of those that were
// read and have none here, which never take the place of the others.
func beside(extra map[string]any, members ...canonical.Member) (canonical.Value, error) {
	all := make([]canonical.Member, 0, len(extra)+len(members))
	for name, x := range extra {
		v, err := encodeExtra(x)
		if err != nil {
			return v, fmt.Errorf("member %q: %w: %w", name, ErrMalformed, err)
		}
		all = append(all, canonical.Member{Name: name, Value: v})
	}
	return canonical.Fields(append(all, members...)...), nil
}

func encodeExtra(x any) (canonical.Value, error) {
	if raw, ok := x.(json.RawMessage); ok {
		return canonical.Parse(raw, canonical.Options{ASCII: true})
	}
	return canonical.Of(x, canonical.Options{ASCII: true})
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
