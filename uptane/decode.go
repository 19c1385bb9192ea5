package uptane

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane/canonical"
)

// timeLayout is the only form of time that clients read: 20 characters.
const timeLayout = "2006-01-02T15:04:05Z"

// maxThreshold is the highest threshold that clients accept.
const maxThreshold = 1000

// payloadOf decodes the payload of a role into go-tuf's type and applies every
// rule about shape. It reads the parsed value member by member: go-tuf's own
// decoding matches names in any case, loses digits of large numbers and panics
// on some nulls.
func payloadOf(f Flavour, role Role, v canonical.Value) (any, error) {
	if err := checkType(f, role, v); err != nil {
		return nil, err
	}
	version, expires, err := headOf(v)
	if err != nil {
		return nil, err
	}
	p := decoder{f: f}
	var payload any
	switch role.payloadType() {
	case RoleRoot:
		payload, err = p.root(v, version, expires)
	case RoleTargets:
		payload, err = p.targets(v, version, expires)
	case RoleSnapshot:
		meta, e := p.meta(v)
		payload, err = &metadata.SnapshotType{Type: string(RoleSnapshot), SpecVersion: specVersion, Version: version,
			Expires: expires, Meta: meta, UnrecognizedFields: rest(v, "meta")}, e
	case RoleTimestamp:
		meta, e := p.meta(v)
		payload, err = &metadata.TimestampType{Type: string(RoleTimestamp), SpecVersion: specVersion, Version: version,
			Expires: expires, Meta: meta, UnrecognizedFields: rest(v, "meta")}, e
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s version %d: %w", role, version, err)
	}
	return payload, nil
}

func checkType(f Flavour, role Role, v canonical.Value) error {
	name, _ := text(v, "_type")
	if !role.Valid() || name != f.typeName(role) {
		return fmt.Errorf("reading %s whose type is %q: %w", role, name, ErrType)
	}
	return nil
}

// headOf reads what every payload has.
func headOf(v canonical.Value) (version int64, expires time.Time, err error) {
	if err := exact(v, "_type", "version", "expires", "spec_version", "consistent_snapshot", "keys", "roles", "meta",
		"targets", "delegations", "custom"); err != nil {
		return 0, expires, err
	}
	version, err = integer(v, "version")
	if err == nil && (version < 1 || version > MaxVersion) {
		err = fmt.Errorf("reading version %d, not between 1 and %d: %w", version, MaxVersion, ErrVersion)
	}
	if err != nil {
		return 0, expires, err
	}
	s, _ := text(v, "expires")
	expires, err = time.Parse(timeLayout, s)
	if err != nil || len(s) != len(timeLayout) {
		return 0, expires, malformed("reading expiry %q that is not YYYY-MM-DDTHH:MM:SSZ", s)
	}
	return version, expires, nil
}

type decoder struct{ f Flavour }

func (d decoder) root(v canonical.Value, version int64, expires time.Time) (*metadata.RootType, error) {
	r := &metadata.RootType{Type: string(RoleRoot), SpecVersion: specVersion, Version: version, Expires: expires,
		Roles: map[string]*metadata.Role{}, UnrecognizedFields: rest(v, "consistent_snapshot", "keys", "roles")}
	if flag, ok := v.Member("consistent_snapshot"); ok {
		if r.ConsistentSnapshot, ok = flag.Flag(); !ok {
			return nil, malformed("reading consistent_snapshot that is no boolean")
		}
	}
	var err error
	if r.Keys, err = d.keys(v); err != nil {
		return nil, err
	}
	roles, err := object(v, "roles")
	if err != nil {
		return nil, err
	}
	for _, m := range roles.Members() {
		role := &metadata.Role{UnrecognizedFields: rest(m.Value, "keyids", "threshold")}
		if role.KeyIDs, role.Threshold, err = d.trust(m.Value); err != nil {
			return nil, fmt.Errorf("reading keys of role %q: %w", m.Name, err)
		}
		r.Roles[m.Name] = role
	}
	return r, checkRoot(d.f, r)
}

func (d decoder) targets(v canonical.Value, version int64, expires time.Time) (*metadata.TargetsType, error) {
	t := &metadata.TargetsType{Type: string(RoleTargets), SpecVersion: specVersion, Version: version, Expires: expires,
		Targets: map[string]*metadata.TargetFiles{}, UnrecognizedFields: rest(v, "targets", "delegations")}
	files, err := object(v, "targets")
	if err != nil {
		return nil, err
	}
	for _, m := range files.Members() {
		if err := CheckFilename(m.Name); err != nil {
			return nil, err
		}
		if t.Targets[m.Name], err = d.file(m); err != nil {
			return nil, fmt.Errorf("reading target %q: %w", m.Name, err)
		}
	}
	if del, ok := v.Member("delegations"); ok && del.Kind() != canonical.Null {
		t.Delegations, err = d.delegations(del)
	}
	return t, err
}

func (d decoder) file(m canonical.Member) (*metadata.TargetFiles, error) {
	if err := exact(m.Value, "length", "hashes", "custom"); err != nil {
		return nil, err
	}
	t := &metadata.TargetFiles{Path: m.Name, UnrecognizedFields: rest(m.Value, "length", "hashes", "custom")}
	var err error
	if t.Length, err = integer(m.Value, "length"); err != nil {
		return nil, err
	}
	if t.Length < 0 {
		return nil, malformed("reading negative length")
	}
	if t.Hashes, err = hashes(m.Value); err != nil {
		return nil, err
	}
	if len(t.Hashes["sha256"]) == 0 {
		return nil, malformed("reading target without sha256")
	}
	if custom, ok := m.Value.Member("custom"); ok && custom.Kind() != canonical.Null {
		if custom.Kind() != canonical.Object {
			return nil, malformed("reading custom that is no object")
		}
		raw := json.RawMessage(custom.Uptane())
		t.Custom = &raw
	}
	return t, nil
}

func (d decoder) delegations(v canonical.Value) (*metadata.Delegations, error) {
	if err := exact(v, "keys", "roles"); err != nil {
		return nil, err
	}
	out := &metadata.Delegations{Roles: []metadata.DelegatedRole{}, UnrecognizedFields: rest(v, "keys", "roles")}
	var err error
	if out.Keys, err = d.keys(v); err != nil {
		return nil, err
	}
	list, _ := v.Member("roles")
	if list.Kind() != canonical.Array {
		return nil, malformed("reading delegations without a list of roles")
	}
	seen := map[string]bool{}
	for _, item := range list.Items() {
		role, err := d.delegation(item)
		if err != nil {
			return nil, err
		}
		if seen[strings.ToLower(role.Name)] {
			return nil, malformed("reading delegation %q twice", role.Name)
		}
		seen[strings.ToLower(role.Name)] = true
		if err := checkTrust(out.Keys, role.KeyIDs, role.Threshold); err != nil {
			return nil, fmt.Errorf("reading delegation %q: %w", role.Name, err)
		}
		out.Roles = append(out.Roles, role)
	}
	return out, nil
}

func (d decoder) delegation(v canonical.Value) (metadata.DelegatedRole, error) {
	known := []string{"name", "keyids", "threshold", "terminating", "paths"}
	name, _ := text(v, "name")
	r := metadata.DelegatedRole{Name: name, UnrecognizedFields: rest(v, known...)}
	if !Role(name).Delegation() {
		return r, fmt.Errorf("reading delegation named %q: %w", name, ErrName)
	}
	if err := exact(v, append(known, "path_hash_prefixes")...); err != nil {
		return r, err
	}
	if _, ok := v.Member("path_hash_prefixes"); ok {
		return r, malformed("reading delegation %q by hash prefix, which clients do not follow", name)
	}
	if flag, ok := v.Member("terminating"); ok {
		if r.Terminating, ok = flag.Flag(); !ok {
			return r, malformed("reading terminating that is no boolean")
		}
	}
	var err error
	if r.Paths, err = texts(v, "paths"); err != nil {
		return r, err
	}
	for _, p := range r.Paths {
		if err := CheckPath(p); err != nil {
			return r, err
		}
	}
	r.KeyIDs, r.Threshold, err = d.trust(v)
	return r, err
}

// keys reads key objects under the ids by which the document calls them.
func (d decoder) keys(v canonical.Value) (map[string]*metadata.Key, error) {
	list, err := object(v, "keys")
	if err != nil {
		return nil, err
	}
	keys := make(map[string]*metadata.Key, len(list.Members()))
	for _, m := range list.Members() {
		k, err := keyOf(m.Value)
		if err != nil {
			return nil, fmt.Errorf("reading key %q: %w", m.Name, err)
		}
		keys[m.Name] = modelKey(k)
	}
	return keys, nil
}

func (d decoder) trust(v canonical.Value) (keyids []string, threshold int, err error) {
	if err := exact(v, "keyids", "threshold"); err != nil {
		return nil, 0, err
	}
	n, err := integer(v, "threshold")
	if err != nil {
		return nil, 0, err
	}
	keyids, err = texts(v, "keyids")
	return keyids, int(n), err
}

func (d decoder) meta(v canonical.Value) (map[string]*metadata.MetaFiles, error) {
	list, err := object(v, "meta")
	if err != nil {
		return nil, err
	}
	out := make(map[string]*metadata.MetaFiles, len(list.Members()))
	for _, m := range list.Members() {
		if _, version, err := ParseFilename(m.Name); err != nil || version != 0 {
			return nil, fmt.Errorf("reading name %q in meta: %w", m.Name, ErrName)
		}
		file := &metadata.MetaFiles{UnrecognizedFields: rest(m.Value, "length", "hashes", "version")}
		if err := exact(m.Value, "length", "hashes", "version"); err != nil {
			return nil, err
		}
		if file.Version, err = integer(m.Value, "version"); err != nil {
			return nil, err
		}
		if _, ok := m.Value.Member("length"); ok {
			if file.Length, err = integer(m.Value, "length"); err != nil {
				return nil, err
			}
		}
		if _, ok := m.Value.Member("hashes"); ok {
			if file.Hashes, err = hashes(m.Value); err != nil {
				return nil, err
			}
		}
		out[m.Name] = file
	}
	return out, nil
}

// exact refuses members whose names differ from known ones in case only, which
// another reader would take for them.
func exact(v canonical.Value, known ...string) error {
	for _, m := range v.Members() {
		for _, name := range known {
			if m.Name != name && strings.EqualFold(m.Name, name) {
				return malformed("reading member %q where %q is meant", m.Name, name)
			}
		}
	}
	return nil
}

// rest keeps the members that are not known, digit for digit.
func rest(v canonical.Value, known ...string) map[string]any {
	known = append(known, "_type", "version", "expires", "spec_version")
	var out map[string]any
	for _, m := range v.Members() {
		if !slices.Contains(known, m.Name) {
			if out == nil {
				out = map[string]any{}
			}
			out[m.Name] = json.RawMessage(m.Value.Uptane())
		}
	}
	return out
}

func integer(v canonical.Value, name string) (int64, error) {
	m, _ := v.Member(name)
	n, ok := m.Int()
	if !ok {
		return 0, malformed("reading %s that is no integer", name)
	}
	return n, nil
}

func object(v canonical.Value, name string) (canonical.Value, error) {
	m, _ := v.Member(name)
	if m.Kind() != canonical.Object {
		return m, malformed("reading %s that is no object", name)
	}
	return m, nil
}

func texts(v canonical.Value, name string) ([]string, error) {
	m, _ := v.Member(name)
	if m.Kind() != canonical.Array {
		return nil, malformed("reading %s that is no list", name)
	}
	out := make([]string, len(m.Items()))
	for i, item := range m.Items() {
		s, ok := item.Text()
		if !ok {
			return nil, malformed("reading %s that is no list of strings", name)
		}
		out[i] = s
	}
	return out, nil
}

// hashes reads {"sha256":"<hex>"}; hex may be of either case, as a client's own
// tools write both.
func hashes(v canonical.Value) (metadata.Hashes, error) {
	list, err := object(v, "hashes")
	if err != nil {
		return nil, err
	}
	out := make(metadata.Hashes, len(list.Members()))
	for _, m := range list.Members() {
		s, _ := m.Value.Text()
		sum, err := hex.DecodeString(s)
		if err != nil || len(sum) == 0 || m.Name == "sha256" && len(sum) != 32 || m.Name == "sha512" && len(sum) != 64 {
			return nil, malformed("reading %s %q", m.Name, s)
		}
		out[m.Name] = sum
	}
	return out, nil
}
