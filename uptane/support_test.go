package uptane_test

import (
	"context"
	"crypto"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures"
	"sealift/uptane"
)

// desk holds the private keys of each role, as a vault or an offline folder does.
type desk map[uptane.Role][]crypto.Signer

func (d desk) Sign(_ context.Context, job uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	var sigs []uptane.RawSig
	for _, key := range d[job.Role] {
		s, err := uptane.Sign(key, msg)
		if err != nil {
			return nil, err
		}
		sigs = append(sigs, s)
	}
	return sigs, nil
}

func ed(name string) crypto.Signer { return fixtures.Ed25519(name) }

func public(t *testing.T, s crypto.Signer) uptane.Key {
	t.Helper()
	k, err := uptane.NewKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// fullDesk has Ed25519 and RSA keys; root needs both of its two.
func fullDesk() desk {
	return desk{
		uptane.RoleRoot:      {ed("root"), fixtures.Key("rsa2048-1")},
		uptane.RoleTargets:   {fixtures.Key("rsa2048-2")},
		uptane.RoleSnapshot:  {ed("snapshot")},
		uptane.RoleTimestamp: {ed("timestamp")},
	}
}

var (
	today   = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	nextDay = today.Add(24 * time.Hour)
)

// rootOf lists every key of a desk; all of a role must sign.
func rootOf(t *testing.T, d desk, version int64) *metadata.RootType {
	t.Helper()
	r := metadata.Root(nextDay).Signed
	r.Version = version
	for role, keys := range d {
		for _, k := range keys {
			if err := uptane.AddKey(&r, role, public(t, k)); err != nil {
				t.Fatal(err)
			}
		}
		r.Roles[string(role)].Threshold = len(keys)
	}
	return &r
}

func job(role uptane.Role) uptane.Job {
	return uptane.Job{Namespace: "default", Repository: uptane.ImageRepository, Role: role}
}

func seal[T metadata.Roles](t *testing.T, f uptane.Flavour, s uptane.Signer, role uptane.Role, payload *T) []byte {
	t.Helper()
	doc, err := uptane.Seal(t.Context(), f, s, job(role), payload)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// repository is one state of an Image repository in one flavour.
type repository struct{ root, targets, snapshot, timestamp []byte }

func publish(t *testing.T, f uptane.Flavour, d desk, targets *metadata.TargetsType) repository {
	t.Helper()
	r := repository{root: seal(t, f, d, uptane.RoleRoot, rootOf(t, d, 1))}
	r.targets = seal(t, f, d, uptane.RoleTargets, targets)
	r.snapshot = seal(t, f, d, uptane.RoleSnapshot, uptane.NewSnapshot(4, nextDay, targets.Version, nil))
	ts, err := uptane.NewTimestamp(f, 5, nextDay, r.snapshot)
	if err != nil {
		t.Fatal(err)
	}
	r.timestamp = seal(t, f, d, uptane.RoleTimestamp, ts)
	return r
}

// brakes is targets metadata with one image.
func brakes(t *testing.T) *metadata.TargetsType {
	t.Helper()
	sum := make([]byte, 32)
	file, err := uptane.Target{Filename: "brakes-2.bin", Length: 3, Hashes: metadata.Hashes{"sha256": sum},
		Custom: uptane.Custom{Name: "brakes", Version: "2", HardwareIDs: []uptane.HardwareID{"ecu-a"},
			TargetFormat: uptane.FormatBinary, URI: "https://example.org/<b>&\n", CreatedAt: today, UpdatedAt: today, ReleaseCounter: 7}}.File()
	if err != nil {
		t.Fatal(err)
	}
	targets := metadata.Targets(nextDay).Signed
	targets.Version = 3
	targets.Targets["brakes-2.bin"] = file
	return &targets
}

func ring(t *testing.T, f uptane.Flavour, root *metadata.RootType, role uptane.Role) uptane.Keyring {
	t.Helper()
	r, err := uptane.RingOf(f, root, role)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
