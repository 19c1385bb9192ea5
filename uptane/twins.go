package uptane

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane/canonical"
)

// publicMembers is what TUF documents may say about a target. The rest is
// between the fleet's owner and its devices.
var publicMembers = []string{"hardwareIds", "name", "releaseCounter", "targetFormat", "version"}

// PublicTargets derives the model of the TUF document from that of the Uptane
// one: custom is cut down to what may be public.
func PublicTargets(t *metadata.TargetsType) (*metadata.TargetsType, error) {
	out := *t
	out.UnrecognizedFields = nil
	out.Targets = make(map[string]*metadata.TargetFiles, len(t.Targets))
	for name, file := range t.Targets {
		public := &metadata.TargetFiles{Path: name, Length: file.Length, Hashes: file.Hashes}
		if file.Custom != nil {
			v, err := canonical.Parse(*file.Custom, canonical.Options{ASCII: true})
			if err != nil {
				return nil, fmt.Errorf("reading custom of target %q: %w: %w", name, ErrMalformed, err)
			}
			for _, m := range v.Members() {
				if !slices.Contains(publicMembers, m.Name) {
					v = v.Without(m.Name)
				}
			}
			raw := json.RawMessage(v.Uptane())
			public.Custom = &raw
		}
		out.Targets[name] = public
	}
	return &out, nil
}

// Twins compares the payloads of the two documents of one version of a role: both
// must say the same about version, expiry, keys and targets, and the TUF one
// must not say more than it may. Errors wrap ErrTwins, or tell why a payload
// cannot be read.
func Twins(role Role, uptane, tuf []byte) error {
	ours, err := readPayload(Uptane, role, uptane)
	if err != nil {
		return err
	}
	twin, err := readPayload(TUF, role, tuf)
	if err != nil {
		return err
	}
	var what string
	switch a := ours.(type) {
	case *metadata.RootType:
		what, err = twinRoots(a, twin.(*metadata.RootType))
	case *metadata.TargetsType:
		what, err = twinTargets(a, twin.(*metadata.TargetsType))
	case *metadata.SnapshotType:
		b := twin.(*metadata.SnapshotType)
		what = twinHeads(a.Version, b.Version, a.Expires.Equal(b.Expires), a.Meta, b.Meta)
	case *metadata.TimestampType:
		b := twin.(*metadata.TimestampType)
		what = twinHeads(a.Version, b.Version, a.Expires.Equal(b.Expires), a.Meta, b.Meta)
	}
	if err != nil {
		return fmt.Errorf("comparing both flavours of %s: %w", role, err)
	}
	if what != "" {
		return fmt.Errorf("comparing both flavours of %s: %s: %w", role, what, ErrTwins)
	}
	return nil
}

func readPayload(f Flavour, role Role, payload []byte) (any, error) {
	v, err := canonical.Parse(payload, canonical.Options{ASCII: true})
	if err != nil {
		return nil, fmt.Errorf("reading %s payload: %w: %w", f, ErrMalformed, err)
	}
	return payloadOf(f, role, v)
}

// twinHeads names the difference; hashes and lengths in meta are of other bytes.
func twinHeads(a, b int64, sameExpiry bool, metaA, metaB map[string]*metadata.MetaFiles) string {
	switch {
	case a != b:
		return fmt.Sprintf("versions %d and %d", a, b)
	case !sameExpiry:
		return "expiry"
	}
	version := func(a, b *metadata.MetaFiles) bool { return a.Version == b.Version }
	if !maps.EqualFunc(metaA, metaB, version) {
		return "versions in meta"
	}
	return ""
}

func twinRoots(a, b *metadata.RootType) (string, error) {
	if what := twinHeads(a.Version, b.Version, a.Expires.Equal(b.Expires), nil, nil); what != "" {
		return what, nil
	}
	for _, role := range []Role{RoleRoot, RoleTargets, RoleSnapshot, RoleTimestamp} {
		ringA, err := RingOf(Uptane, a, role)
		if err != nil {
			return "", err
		}
		ringB, err := RingOf(TUF, b, role)
		if err != nil {
			return "", err
		}
		if !sameTrust(ringA, ringB) {
			return fmt.Sprintf("keys or threshold of %s", role), nil
		}
	}
	return "", nil
}

func sameTrust(a, b Keyring) bool {
	order := func(x, y Key) int { return bytes.Compare([]byte(x.spki), []byte(y.spki)) }
	return a.Threshold == b.Threshold &&
		slices.Equal(slices.SortedFunc(slices.Values(a.Keys), order), slices.SortedFunc(slices.Values(b.Keys), order))
}

func twinTargets(a, b *metadata.TargetsType) (string, error) {
	if what := twinHeads(a.Version, b.Version, a.Expires.Equal(b.Expires), nil, nil); what != "" {
		return what, nil
	}
	if len(a.Targets) != len(b.Targets) {
		return "number of targets", nil
	}
	public, err := PublicTargets(a)
	if err != nil {
		return "", err
	}
	for name, file := range public.Targets {
		twin := b.Targets[name]
		if twin == nil || file.Length != twin.Length || !reflect.DeepEqual(file.Hashes, twin.Hashes) {
			return fmt.Sprintf("target %q", name), nil
		}
		if !within(twin.Custom, file.Custom) {
			return fmt.Sprintf("custom of target %q", name), nil
		}
	}
	return twinDelegations(a, b)
}

// within reports whether part says only what whole says.
func within(part, whole *json.RawMessage) bool {
	if part == nil || whole == nil {
		return part == nil
	}
	o := canonical.Options{ASCII: true}
	p, errP := canonical.Parse(*part, o)
	w, errW := canonical.Parse(*whole, o)
	if errP != nil || errW != nil {
		return false
	}
	for _, m := range p.Members() {
		other, ok := w.Member(m.Name)
		if !ok || !bytes.Equal(m.Value.Uptane(), other.Uptane()) {
			return false
		}
	}
	return true
}

func twinDelegations(a, b *metadata.TargetsType) (string, error) {
	if (a.Delegations == nil) != (b.Delegations == nil) {
		return "delegations", nil
	}
	if a.Delegations == nil {
		return "", nil
	}
	if len(a.Delegations.Roles) != len(b.Delegations.Roles) {
		return "number of delegations", nil
	}
	for i, role := range a.Delegations.Roles {
		twin := b.Delegations.Roles[i]
		ringA, err := DelegationRing(Uptane, a, Role(role.Name))
		if err != nil {
			return "", err
		}
		ringB, err := DelegationRing(TUF, b, Role(twin.Name))
		if err != nil {
			return "", err
		}
		if role.Name != twin.Name || role.Terminating != twin.Terminating || !slices.Equal(role.Paths, twin.Paths) || !sameTrust(ringA, ringB) {
			return fmt.Sprintf("delegation %q", role.Name), nil
		}
	}
	return "", nil
}
