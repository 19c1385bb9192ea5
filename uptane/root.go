package uptane

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane/canonical"
)

// OpenRoot verifies a root as the successor of prev (Uptane, "How to check Root
// metadata"): a threshold of prev's root keys and of its own must have signed,
// and its version is prev's plus one. With prev nil the root is trusted for its
// own signatures alone: only for one that came with the device or the operator.
// prev must be of the same flavour. The zero now leaves expiry out, which is
// right for all but the last root of a chain. Errors are those of Open.
func OpenRoot(f Flavour, raw []byte, prev *metadata.RootType, now time.Time) (Document[metadata.RootType], error) {
	v, err := canonical.Parse(raw, canonical.Options{ASCII: true})
	if err != nil {
		return Document[metadata.RootType]{}, fmt.Errorf("opening root: %w: %w", ErrMalformed, err)
	}
	return OpenRootValue(f, v, prev, now)
}

// OpenRootValue is OpenRoot of what canonical.Parse has read, ASCII alone.
func OpenRootValue(f Flavour, v canonical.Value, prev *metadata.RootType, now time.Time) (Document[metadata.RootType], error) {
	var none Document[metadata.RootType]
	signed, sigs, err := envelopeOf(f, v)
	if err != nil {
		return none, fmt.Errorf("opening root: %w", err)
	}
	payload, err := payloadOf(f, RoleRoot, signed)
	if err != nil {
		return none, fmt.Errorf("opening root: %w", err)
	}
	next, message := payload.(*metadata.RootType), f.message(signed)
	var known []Key
	if prev != nil {
		if next.Version != prev.Version+1 {
			return none, fmt.Errorf("opening root version %d after %d: %w", next.Version, prev.Version, ErrVersion)
		}
		old, err := RingOf(f, prev, RoleRoot)
		if err != nil {
			return none, err
		}
		if known, err = old.Verify(f, message, sigs); err != nil {
			return none, fmt.Errorf("opening root version %d by the keys of version %d: %w", next.Version, prev.Version, err)
		}
	}
	own, err := RingOf(f, next, RoleRoot)
	if err != nil {
		return none, err
	}
	signers, err := own.verify(f, message, sigs, known)
	if err == nil {
		err = checkExpiry(RoleRoot, signed, now)
	}
	if err != nil {
		return none, fmt.Errorf("opening root version %d by its own keys: %w", next.Version, err)
	}
	return Document[metadata.RootType]{Payload: *next, Signed: signed.Uptane(), Raw: v.Uptane(), Signers: signers}, nil
}

// checkRoot applies the rules about the roles of a root. Unknown roles are left
// alone: clients ignore them and other servers publish some.
func checkRoot(f Flavour, r *metadata.RootType) error {
	need := []Role{RoleRoot, RoleTargets}
	if f == TUF {
		need = append(need, RoleSnapshot, RoleTimestamp)
	}
	for _, role := range need {
		if r.Roles[string(role)] == nil {
			return malformed("reading root without keys of %s", role)
		}
	}
	for name, role := range r.Roles {
		if !Role(name).TopLevel() {
			if Role(strings.ToLower(name)).TopLevel() {
				return malformed("reading root with role %q", name)
			}
			continue
		}
		if err := checkTrust(r.Keys, role.KeyIDs, role.Threshold); err != nil {
			return fmt.Errorf("reading keys of %s: %w", name, err)
		}
	}
	seen := map[Key]string{}
	for id, model := range r.Keys {
		k, err := keyOfModel(model)
		if err != nil {
			return err
		}
		if other, ok := seen[k]; ok {
			return fmt.Errorf("reading one key under the ids %q and %q: %w", other, id, ErrKey)
		}
		seen[k] = id
	}
	return nil
}

// AddKey lets k sign for a top-level role. One key serves one role: a key of
// another role is refused with ErrKey. A key that serves the role already is no
// error.
func AddKey(root *metadata.RootType, role Role, k Key) error {
	if k.IsZero() || !role.TopLevel() {
		return fmt.Errorf("adding key to role %q: %w", role, ErrKey)
	}
	id := string(k.TUFID())
	for known, model := range root.Keys {
		if other, err := keyOfModel(model); err == nil && other == k {
			id = known
		}
	}
	for name, r := range root.Roles {
		if slices.Contains(r.KeyIDs, id) {
			if name == string(role) {
				return nil
			}
			return fmt.Errorf("adding key %s to %s, it serves %s: %w", k.ID(), role, name, ErrKey)
		}
	}
	if root.Keys == nil {
		root.Keys = map[string]*metadata.Key{}
	}
	if root.Roles == nil {
		root.Roles = map[string]*metadata.Role{}
	}
	if root.Roles[string(role)] == nil {
		root.Roles[string(role)] = &metadata.Role{Threshold: 1}
	}
	root.Keys[id] = modelKey(k)
	r := root.Roles[string(role)]
	r.KeyIDs = append(r.KeyIDs, id)
	return nil
}

// RemoveKey ends k's service for a role and drops it from the root when it has no
// other. The threshold stays; Payload refuses one that cannot be reached.
func RemoveKey(root *metadata.RootType, role Role, k Key) {
	for id, model := range root.Keys {
		if other, err := keyOfModel(model); err != nil || other != k {
			continue
		}
		used := false
		for name, r := range root.Roles {
			if name == string(role) {
				r.KeyIDs = slices.DeleteFunc(r.KeyIDs, func(x string) bool { return x == id })
			}
			used = used || slices.Contains(r.KeyIDs, id)
		}
		if !used {
			delete(root.Keys, id)
		}
	}
}
