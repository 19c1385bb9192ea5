package uptane

import (
	"fmt"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Keyring is the trust in a role: its keys and how many of them must sign.
type Keyring struct {
	Threshold int
	Keys      []Key

	// listed has the ids by which a document of flavour calls the keys. Where it
	// is nil, or for documents of the other flavour, ids follow from the keys.
	listed  map[KeyID]Key
	flavour Flavour
}

// NewKeyring trusts keys of which threshold must sign.
func NewKeyring(threshold int, keys ...Key) Keyring {
	return Keyring{Threshold: threshold, Keys: keys}
}

// Has reports whether k may sign.
func (r Keyring) Has(k Key) bool { return slices.Contains(r.Keys, k) }

// RingOf is the trust that a root of flavour f puts into a top-level role. It
// also verifies documents of the other flavour. Errors wrap ErrKey.
func RingOf(f Flavour, root *metadata.RootType, role Role) (Keyring, error) {
	r := root.Roles[string(role)]
	if r == nil {
		return Keyring{}, fmt.Errorf("reading keys of %s: root version %d has no such role: %w", role, root.Version, ErrKey)
	}
	return ringOf(f, root.Keys, r.KeyIDs, r.Threshold)
}

// DelegationRing is the trust that targets metadata of flavour f put into a role
// delegated to. Errors wrap ErrKey.
func DelegationRing(f Flavour, targets *metadata.TargetsType, role Role) (Keyring, error) {
	if targets.Delegations != nil {
		for _, r := range targets.Delegations.Roles {
			if r.Name == string(role) {
				return ringOf(f, targets.Delegations.Keys, r.KeyIDs, r.Threshold)
			}
		}
	}
	return Keyring{}, fmt.Errorf("reading keys of %s: no such delegation: %w", role, ErrKey)
}

func ringOf(f Flavour, keys map[string]*metadata.Key, ids []string, threshold int) (Keyring, error) {
	if err := checkTrust(keys, ids, threshold); err != nil {
		return Keyring{}, err
	}
	ring := Keyring{Threshold: threshold, flavour: f, listed: make(map[KeyID]Key, len(ids))}
	for _, id := range ids {
		k, err := keyOfModel(keys[id])
		if err != nil {
			return Keyring{}, err
		}
		ring.Keys = append(ring.Keys, k)
		ring.listed[KeyID(id)] = k
	}
	return ring, nil
}

// checkTrust demands that the threshold can be reached, by distinct keys: one
// key under two ids would count twice at some clients.
func checkTrust(keys map[string]*metadata.Key, ids []string, threshold int) error {
	if threshold < 1 || threshold > maxThreshold || threshold > len(ids) {
		return fmt.Errorf("reading threshold %d of %d keys: %w", threshold, len(ids), ErrKey)
	}
	seen := make(map[Key]bool, len(ids))
	for _, id := range ids {
		if keys[id] == nil {
			return fmt.Errorf("reading key %q that is not among the keys: %w", id, ErrKey)
		}
		k, err := keyOfModel(keys[id])
		if err != nil {
			return fmt.Errorf("reading key %q: %w", id, err)
		}
		if seen[k] {
			return fmt.Errorf("reading key %q that a role lists twice: %w", id, ErrKey)
		}
		seen[k] = true
	}
	return nil
}

// Verify checks that enough distinct keys signed msg and returns those that did.
// Signatures of other keys are passed over. Errors wrap ErrSignature.
func (r Keyring) Verify(f Flavour, msg []byte, sigs []Signature) ([]Key, error) {
	return r.verify(f, msg, sigs, nil)
}

// verify is Verify where some keys are known to have signed msg.
func (r Keyring) verify(f Flavour, msg []byte, sigs []Signature, known []Key) ([]Key, error) {
	var signed []Key
	var last error
	for _, s := range sigs {
		k, ok := r.find(f, s.KeyID)
		if !ok || slices.Contains(signed, k) {
			continue
		}
		if slices.Contains(known, k) {
			signed = append(signed, k)
			continue
		}
		method := s.Method
		if f == TUF {
			method = k.method()
		}
		if err := k.verify(method, msg, s.Sig, f.saltLength()); err != nil {
			last = err
			continue
		}
		signed = append(signed, k)
	}
	if r.Threshold < 1 || len(signed) < r.Threshold {
		return nil, notEnough(len(signed), r.Threshold, last)
	}
	return signed, nil
}

func notEnough(have, need int, last error) error {
	if last != nil {
		return fmt.Errorf("counting %d of %d signatures: %w", have, need, last)
	}
	return fmt.Errorf("counting %d of %d signatures: %w", have, need, ErrSignature)
}

func (r Keyring) find(f Flavour, id KeyID) (Key, bool) {
	if r.listed != nil && r.flavour == f {
		k, ok := r.listed[id]
		return k, ok
	}
	for _, k := range r.Keys {
		if f.KeyID(k) == id {
			return k, true
		}
	}
	return Key{}, false
}
