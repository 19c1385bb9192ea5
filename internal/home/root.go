package home

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// RootSpec is what a first root says.
type RootSpec struct {
	Expires    time.Time
	Keys       map[uptane.Role][]uptane.Key // at least one for each top-level role
	Thresholds map[uptane.Role]int          // absent: 1
}

// InitRoot writes the unsigned root that spec describes, so that signing it
// gives version 1. Errors are those of package uptane.
func (h *Home) InitRoot(spec RootSpec) error {
	r := metadata.Root(spec.Expires.UTC().Truncate(time.Second)).Signed
	r.Roles = map[string]*metadata.Role{}
	for _, role := range []uptane.Role{uptane.RoleRoot, uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp} {
		for _, key := range spec.Keys[role] {
			if err := uptane.AddKey(&r, role, key); err != nil {
				return fmt.Errorf("writing the first root: %w", err)
			}
		}
		if n := spec.Thresholds[role]; n > 0 && r.Roles[string(role)] != nil {
			r.Roles[string(role)].Threshold = n
		}
	}
	payload, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, &r)
	if err != nil {
		return fmt.Errorf("writing the first root: %w", err)
	}
	v, err := canonical.Parse(payload, ascii)
	if err != nil {
		return err
	}
	return h.setUnsigned(uptane.RoleRoot, v.With("version", canonical.Int(0)))
}

// EditRoot changes the unsigned root. Errors of change are wrapped; nothing is
// written then, nor when the result is no valid root.
func (h *Home) EditRoot(change func(*metadata.RootType) error) error {
	v, err := h.unsigned(uptane.RoleRoot)
	if err != nil {
		return err
	}
	// A root that was never signed has version 0, which no document may have.
	version := intOf(v, "version")
	root, err := uptane.ParsePayload[metadata.RootType](uptane.Uptane, uptane.RoleRoot, v.With("version", canonical.Int(max(version, 1))).Uptane())
	if err != nil {
		return fmt.Errorf("editing the unsigned root: %w", err)
	}
	if err := change(root); err != nil {
		return fmt.Errorf("editing the unsigned root: %w", err)
	}
	payload, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, root)
	if err != nil {
		return fmt.Errorf("editing the unsigned root: %w", err)
	}
	if v, err = canonical.Parse(payload, ascii); err != nil {
		return err
	}
	return h.setUnsigned(uptane.RoleRoot, v.With("version", canonical.Int(version)))
}

// Root opens the local root, from which trust in everything else follows. Its
// expiry is not looked at: a root that has ended is replaced by its successor.
// Errors wrap ErrNotFound or those of uptane.OpenRoot.
func (h *Home) Root() (uptane.Document[metadata.RootType], error) {
	v, err := readJSON(h.signedPath(uptane.RoleRoot), maxRoleFile)
	if err != nil {
		return uptane.Document[metadata.RootType]{}, err
	}
	doc, err := uptane.OpenRoot(uptane.Uptane, v.Uptane(), nil, time.Time{})
	if err != nil {
		return doc, fmt.Errorf("reading %s: %w", h.signedPath(uptane.RoleRoot), err)
	}
	return doc, nil
}

// rootKeyNames are the local private keys that the old or the new root lists
// for root.
func (h *Home) rootKeyNames() ([]string, error) {
	v, err := h.unsigned(uptane.RoleRoot)
	if err != nil {
		return nil, err
	}
	ids := keyIDs(v)
	if old, err := h.Root(); err == nil {
		if signed, err := canonical.Parse(old.Signed, ascii); err == nil {
			ids = append(ids, keyIDs(signed)...)
		}
	}
	names, err := h.keys.Names()
	if err != nil {
		return nil, err
	}
	var local []string
	for _, name := range names {
		if key, err := h.keys.Public(name); err == nil && h.keys.HasPrivate(name) && slices.Contains(ids, string(key.ID())) {
			local = append(local, name)
		}
	}
	if len(local) == 0 {
		return nil, fmt.Errorf("signing root: none of its root keys is in %s: %w", h.keys.dir, ErrNotFound)
	}
	return local, nil
}

func keyIDs(root canonical.Value) []string {
	roles, _ := root.Member("roles")
	role, _ := roles.Member(string(uptane.RoleRoot))
	list, _ := role.Member("keyids")
	var ids []string
	for _, item := range list.Items() {
		s, _ := item.Text()
		ids = append(ids, s)
	}
	return ids
}

// AdvanceRoot takes next as the successor of the local root, if it is one, and
// makes it the local root. The unsigned root is left alone, as it may be in the
// middle of being edited.
func (h *Home) AdvanceRoot(next []byte) (int64, error) {
	old, err := h.Root()
	if err != nil {
		return 0, err
	}
	doc, err := uptane.OpenRoot(uptane.Uptane, next, &old.Payload, time.Time{})
	if err != nil {
		return 0, err
	}
	return doc.Payload.Version, h.setSigned(uptane.RoleRoot, Signed{Uptane: doc.Raw})
}

// PullRoot makes the newest root the local and the unsigned one. Where verify
// is set, chain are the roots between the local one and newest, in order, and
// all must follow from the local one; a root of the local version must be the
// local root. Otherwise newest is trusted for its own signatures.
func (h *Home) PullRoot(newest []byte, chain [][]byte, verify bool) (int64, error) {
	doc, err := uptane.OpenRoot(uptane.Uptane, newest, nil, time.Time{})
	if err != nil {
		return 0, err
	}
	if verify {
		if err := h.followRoots(doc, chain); err != nil {
			return 0, err
		}
		for _, raw := range chain {
			if err := h.keepRoot(Signed{Uptane: raw}); err != nil {
				return 0, err
			}
		}
	}
	keep := Signed{Uptane: doc.Raw}
	if local, err := h.Signed(uptane.RoleRoot); err == nil && slices.Equal(local.Uptane, doc.Raw) {
		keep.TUF = local.TUF
	}
	if err := h.setSigned(uptane.RoleRoot, keep); err != nil {
		return 0, err
	}
	v, err := canonical.Parse(doc.Signed, ascii)
	if err != nil {
		return 0, err
	}
	return doc.Payload.Version, h.setUnsigned(uptane.RoleRoot, v)
}

func (h *Home) followRoots(newest uptane.Document[metadata.RootType], chain [][]byte) error {
	last, err := h.Root()
	if err != nil {
		return err
	}
	if newest.Payload.Version == last.Payload.Version {
		if !slices.Equal(newest.Signed, last.Signed) {
			return fmt.Errorf("comparing the server's root version %d with the local one: %w", last.Payload.Version, errOtherRoot)
		}
		return nil
	}
	if newest.Payload.Version < last.Payload.Version {
		return fmt.Errorf("the server has root version %d, here is %d: push the local one or give it up: %w",
			newest.Payload.Version, last.Payload.Version, uptane.ErrRollback)
	}
	for _, raw := range append(slices.Clone(chain), newest.Raw) {
		if last, err = uptane.OpenRoot(uptane.Uptane, raw, &last.Payload, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

var errOtherRoot = errors.New("they differ")
