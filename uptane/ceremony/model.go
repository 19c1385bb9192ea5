// Package ceremony is the model of a root that people are about to sign: what it
// will say in place of the one in force. Whoever proposes it, whoever signs it and
// whoever publishes it encode it themselves, from the model and the root before;
// bytes that somebody else has encoded are signed by nobody.
//
// Nothing here signs, stores or asks for the time.
package ceremony

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
)

// ErrModel marks a model that no root can be made of.
var ErrModel = errors.New("no such root can be")

// maxKeys bounds the keys of a role.
const maxKeys = 50

// Model is what a root says: all that people decide about.
type Model struct {
	Version int64                 `json:"version"`
	Expires time.Time             `json:"expires"` // whole seconds
	Roles   map[uptane.Role]Trust `json:"roles"`   // all four
}

// Trust is who may sign for a role, and how many of them must.
type Trust struct {
	Threshold int
	Keys      []uptane.Key
}

type trustJSON struct {
	Threshold int               `json:"threshold"`
	Keys      []json.RawMessage `json:"keys"`
}

// MarshalJSON writes the keys as key objects.
func (t Trust) MarshalJSON() ([]byte, error) {
	out := trustJSON{Threshold: t.Threshold, Keys: []json.RawMessage{}}
	for _, k := range t.Keys {
		out.Keys = append(out.Keys, k.Wire(uptane.Uptane))
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote. Errors wrap ErrModel or are those of
// [uptane.ParseKey].
func (t *Trust) UnmarshalJSON(raw []byte) error {
	var in trustJSON
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	if len(in.Keys) > maxKeys {
		return fmt.Errorf("%d keys of one role, at most %d: %w", len(in.Keys), maxKeys, ErrModel)
	}
	*t = Trust{Threshold: in.Threshold}
	for _, raw := range in.Keys {
		k, err := uptane.ParseKey(raw)
		if err != nil {
			return err
		}
		t.Keys = append(t.Keys, k)
	}
	return nil
}

// Has reports whether k may sign.
func (t Trust) Has(k uptane.Key) bool { return slices.Contains(t.Keys, k) }

// Roles are the roles of a model, in the order in which people read them.
func Roles() []uptane.Role {
	return []uptane.Role{uptane.RoleRoot, uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp}
}

// Online reports whether a role of a repository is signed on the server.
func Online(repo uptane.Repository, role uptane.Role) bool {
	return role == uptane.RoleSnapshot || role == uptane.RoleTimestamp || role == uptane.RoleTargets && repo == uptane.DirectorRepository
}

// Of is the model of a root in the Uptane flavour. Errors wrap uptane.ErrKey.
func Of(root *metadata.RootType) (Model, error) {
	m := Model{Version: root.Version, Expires: root.Expires.UTC(), Roles: map[uptane.Role]Trust{}}
	for _, role := range Roles() {
		ring, err := uptane.RingOf(uptane.Uptane, root, role)
		if err != nil {
			return m, err
		}
		m.Roles[role] = Trust{Threshold: ring.Threshold, Keys: ring.Keys}
	}
	return m, nil
}

// RoleOf returns the role that a key of that id serves, "" for none.
func (m Model) RoleOf(id uptane.KeyID) (uptane.Role, uptane.Key) {
	for _, role := range Roles() {
		for _, k := range m.Roles[role].Keys {
			if k.ID() == id {
				return role, k
			}
		}
	}
	return "", uptane.Key{}
}

// Payloads are the bytes that are signed, in both flavours, and what they say.
type Payloads struct {
	ID          string // SHA-256 of Uptane, hex: names what is signed
	Uptane, TUF []byte
	Root        *metadata.RootType
}

// Payloads encodes the successor of before, a root of the Uptane flavour. What the
// model does not speak of stays as it is there: roles and members that no client
// of ours reads. Errors wrap ErrModel.
func (m Model) Payloads(before *metadata.RootType) (Payloads, error) {
	var p Payloads
	raw, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, before)
	if err != nil {
		return p, fmt.Errorf("reading the root before: %w", err)
	}
	root, err := uptane.ParsePayload[metadata.RootType](uptane.Uptane, uptane.RoleRoot, raw)
	if err != nil {
		return p, fmt.Errorf("reading the root before: %w", err)
	}
	if m.Version != before.Version+1 {
		return p, fmt.Errorf("version %d after %d: %w", m.Version, before.Version, ErrModel)
	}
	root.Version, root.Expires = m.Version, m.Expires.UTC()
	if err := m.setKeys(root); err != nil {
		return p, fmt.Errorf("%w: %w", ErrModel, err)
	}
	if p.Uptane, err = uptane.Payload(uptane.Uptane, uptane.RoleRoot, root); err == nil {
		p.TUF, err = uptane.Payload(uptane.TUF, uptane.RoleRoot, root)
	}
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrModel, err)
	}
	sum := sha256.Sum256(p.Uptane)
	p.ID, p.Root = hex.EncodeToString(sum[:]), root
	return p, nil
}

func (m Model) setKeys(root *metadata.RootType) error {
	old, err := Of(root)
	if err != nil {
		return err
	}
	for _, role := range Roles() { // all go before any comes: a key may change its role only by mistake
		for _, k := range old.Roles[role].Keys {
			uptane.RemoveKey(root, role, k)
		}
	}
	for _, role := range Roles() {
		trust := m.Roles[role]
		if len(trust.Keys) > maxKeys {
			return fmt.Errorf("%d keys of %s, at most %d", len(trust.Keys), role, maxKeys)
		}
		for _, k := range trust.Keys {
			if err := uptane.AddKey(root, role, k); err != nil {
				return err
			}
		}
		root.Roles[string(role)].Threshold = trust.Threshold
	}
	return nil
}
