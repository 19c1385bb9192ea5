package keys

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/fault"
	"sealift/uptane"
)

// ErrNoRoot: the repository has no root of that version, or none at all.
// Devices ask for the next version at every poll: it is no cause for alarm.
var ErrNoRoot = fault.New(fault.NotFound, "root_role_not_found", "no such root metadata")

var errNamespace = fault.New(fault.Invalid, "invalid_namespace", "no usable name of a namespace")

// rootState is what is remembered of a repository's roots under one stamp.
type rootState struct {
	ns      uptane.Namespace
	repo    uptane.Repository
	stamp   string
	version int // 0: there is no root yet
	twin    int // the last version that has a twin
	payload *metadata.RootType
	roles   map[uptane.Role]roleTrust
	since   map[uptane.Role]int

	importing  bool     // part of what is taken over from another server is missing
	recovering bool     // what devices show is taken note of
	floor      floorRow // the highest root known to exist; version 0: none

	mu      sync.Mutex
	docs    map[docKey][]byte
	signers map[uptane.Role][]onlineSigner
}

type repoKey struct {
	ns   uptane.Namespace
	repo uptane.Repository
}

type docKey struct {
	flavour uptane.Flavour
	version int
}

// roleTrust is who may sign for a role.
type roleTrust struct {
	keys      []uptane.Key
	threshold int
}

func (r roleTrust) has(k uptane.Key) bool { return slices.Contains(r.keys, k) }

// rootState returns what is current, at most a second old.
func (v *Vault) rootState(ctx context.Context, ns uptane.Namespace, repo uptane.Repository) (*rootState, error) {
	stamp, err := v.stamp(ctx, ns, stampRoots)
	if err != nil {
		return nil, err
	}
	key := repoKey{ns, repo}
	if known, ok := v.roots.Load(key); ok && known.(*rootState).stamp == stamp {
		return known.(*rootState), nil
	}
	row, err := v.store.lastRoot(ctx, ns, repo)
	if err != nil {
		return nil, fmt.Errorf("reading root of the %s repository: %w", repo, err)
	}
	state := &rootState{ns: ns, repo: repo, stamp: stamp, version: row.Version, twin: row.LastTwin,
		docs: map[docKey][]byte{}, signers: map[uptane.Role][]onlineSigner{}}
	recovery, err := v.store.recovery(ctx, ns)
	if err == nil {
		state.recovering = recovery.lasts()
		state.floor, err = v.store.rootFloor(ctx, ns, repo)
	}
	if err == nil {
		var row takeoverRow
		row, err = v.store.takeover(ctx, ns)
		state.importing = row.unfinished()
	}
	if err != nil {
		return nil, fmt.Errorf("reading recovery of namespace %s: %w", ns, err)
	}
	if row.Version > 0 {
		state.docs[docKey{uptane.Uptane, row.Version}] = row.Document
		if state.payload, state.roles, err = readRoot(row.Document); err != nil {
			return nil, fmt.Errorf("reading stored root: %w", err)
		}
		if state.since, err = row.since(); err != nil {
			return nil, fmt.Errorf("reading stored root: %w", err)
		}
	}
	v.roots.Store(key, state)
	return state, nil
}

// readRoot decodes a root that was verified before.
func readRoot(doc []byte) (*metadata.RootType, map[uptane.Role]roleTrust, error) {
	d, err := uptane.OpenRoot(uptane.Uptane, doc, nil, time.Time{})
	if err != nil {
		return nil, nil, err
	}
	roles := map[uptane.Role]roleTrust{}
	for _, role := range topLevel() {
		ring, err := uptane.RingOf(uptane.Uptane, &d.Payload, role)
		if err != nil {
			return nil, nil, err
		}
		roles[role] = roleTrust{ring.Keys, ring.Threshold}
	}
	return &d.Payload, roles, nil
}

// Root returns root metadata as it was published, the latest where version
// is 0, or [ErrNoRoot]. A version that does not exist yet is answered from
// memory.
func (v *Vault) Root(ctx context.Context, ns uptane.Namespace, repo uptane.Repository, version int) ([]byte, error) {
	state, err := v.rootState(ctx, ns, repo)
	if err != nil {
		return nil, err
	}
	return v.rootDoc(ctx, state, uptane.Uptane, version, state.version)
}

// RootTwin is [Vault.Root] for the TUF flavour of the Image repository's
// roots; 0 is the latest that has one.
func (v *Vault) RootTwin(ctx context.Context, ns uptane.Namespace, version int) ([]byte, error) {
	state, err := v.rootState(ctx, ns, uptane.ImageRepository)
	if err != nil {
		return nil, err
	}
	return v.rootDoc(ctx, state, uptane.TUF, version, state.twin)
}

// RootTwinVersion returns the version of the last root that has a TUF flavour,
// 0 if none has. It costs what [Vault.RootVersion] does.
func (v *Vault) RootTwinVersion(ctx context.Context, ns uptane.Namespace) (int, error) {
	state, err := v.rootState(ctx, ns, uptane.ImageRepository)
	if err != nil {
		return 0, err
	}
	return state.twin, nil
}

func (v *Vault) rootDoc(ctx context.Context, state *rootState, f uptane.Flavour, version, last int) ([]byte, error) {
	if version == 0 {
		version = last
	}
	if version < 1 || version > last {
		return nil, ErrNoRoot
	}
	state.mu.Lock()
	defer state.mu.Unlock()
	key := docKey{f, version}
	if doc, ok := state.docs[key]; ok {
		return doc, nil
	}
	doc, err := v.store.rootDocument(ctx, state.ns, state.repo, f, version)
	if err != nil {
		return nil, fmt.Errorf("reading root version %d: %w", version, err)
	}
	if len(doc) == 0 {
		return nil, ErrNoRoot
	}
	state.docs[key] = doc
	return doc, nil
}

// RootVersion returns the version of the current root, or [ErrNoRoot].
func (v *Vault) RootVersion(ctx context.Context, ns uptane.Namespace, repo uptane.Repository) (int, error) {
	state, err := v.rootState(ctx, ns, repo)
	if err != nil {
		return 0, err
	}
	if state.version == 0 {
		return 0, ErrNoRoot
	}
	return state.version, nil
}

// RoleKeysSince returns the root version in which the set of keys of a
// top-level role last changed: clients forget what older keys signed. A
// repository without a root answers [ErrNoRoot].
func (v *Vault) RoleKeysSince(ctx context.Context, ns uptane.Namespace, repo uptane.Repository, role uptane.Role) (int, error) {
	state, err := v.rootState(ctx, ns, repo)
	if err != nil {
		return 0, err
	}
	if state.version == 0 {
		return 0, ErrNoRoot
	}
	return state.since[role], nil
}

// RootExpires returns when the current root ends, or [ErrNoRoot]. What is
// signed online must not outlive it.
func (v *Vault) RootExpires(ctx context.Context, ns uptane.Namespace, repo uptane.Repository) (t time.Time, err error) {
	state, err := v.rootState(ctx, ns, repo)
	if err != nil {
		return t, err
	}
	if state.version == 0 {
		return t, ErrNoRoot
	}
	return state.payload.Expires, nil
}

func topLevel() []uptane.Role {
	return []uptane.Role{uptane.RoleRoot, uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp}
}
