package acceptance_test

import (
	"crypto"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

const image = uptane.ImageRepository

var (
	today = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	later = today.AddDate(0, 1, 0)
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// person holds a private key.
func person(name string) crypto.Signer { return fixtures.Ed25519(name) }

func public(t testing.TB, s crypto.Signer) uptane.Key {
	t.Helper()
	k, err := uptane.NewKey(s.Public())
	must(t, err)
	return k
}

// people are the keys of each role.
type people map[uptane.Role][]string

func all() people {
	return people{uptane.RoleRoot: {"root"}, uptane.RoleTargets: {"targets"}, uptane.RoleSnapshot: {"snapshot"}, uptane.RoleTimestamp: {"timestamp"}}
}

// with gives a role other keys.
func (p people) with(role uptane.Role, names ...string) people {
	out := people{}
	for r, n := range p {
		out[r] = n
	}
	out[role] = names
	return out
}

func (p people) root(t testing.TB, version int64) *metadata.RootType {
	t.Helper()
	root := metadata.Root(today.AddDate(1, 0, 0)).Signed
	root.Version, root.Keys, root.Roles = version, nil, nil
	for role, names := range p {
		for _, name := range names {
			must(t, uptane.AddKey(&root, role, public(t, person(name))))
		}
		root.Roles[string(role)].Threshold = len(names)
	}
	return &root
}

// sign makes a document as its owner would.
func sign[T metadata.Roles](t testing.TB, f uptane.Flavour, role uptane.Role, payload *T, names ...string) []byte {
	t.Helper()
	b, err := uptane.Payload(f, role, payload)
	must(t, err)
	msg, err := f.Message(b)
	must(t, err)
	return uptane.Frame(f, b, signatures(t, msg, names...)...)
}

func signatures(t testing.TB, msg []byte, names ...string) []uptane.RawSig {
	t.Helper()
	var sigs []uptane.RawSig
	for _, name := range names {
		s, err := uptane.Sign(person(name), msg)
		must(t, err)
		sigs = append(sigs, s)
	}
	return sigs
}

// resign edits the payload of a document as text and signs it anew: what somebody
// with the keys and another tool can make.
func resign(t testing.TB, doc []byte, old, with string, names ...string) []byte {
	t.Helper()
	e, err := uptane.ParseEnvelope(uptane.Uptane, doc)
	must(t, err)
	payload := strings.Replace(string(e.Signed), old, with, 1)
	if payload == string(e.Signed) {
		t.Fatalf("%s has no %q", e.Signed, old)
	}
	return uptane.Frame(uptane.Uptane, []byte(payload), signatures(t, []byte(payload), names...)...)
}

// swap edits a document as text, signatures and all.
func swap(t testing.TB, doc []byte, old, with string) []byte {
	t.Helper()
	out := strings.Replace(string(doc), old, with, 1)
	if out == string(doc) {
		t.Fatalf("%s has no %q", doc, old)
	}
	return []byte(out)
}

// entry is a target that consists of its name.
func entry(t testing.TB, name string) *metadata.TargetFiles {
	t.Helper()
	sum := sha256.Sum256([]byte(name))
	file, err := uptane.Target{Filename: name, Length: int64(len(name)), Hashes: metadata.Hashes{"sha256": sum[:]}, Custom: uptane.Custom{Name: name,
		Version: "1", HardwareIDs: []uptane.HardwareID{"ecu-a"}, TargetFormat: uptane.FormatBinary, CreatedAt: today, UpdatedAt: today}}.File()
	must(t, err)
	return file
}

func targetsOf(t testing.TB, version int64, names ...string) *metadata.TargetsType {
	t.Helper()
	p := metadata.Targets(later).Signed
	p.Version = version
	for _, name := range names {
		p.Targets[name] = entry(t, name)
	}
	return &p
}

// publish makes a set of targets and what is signed online about them.
func publish(t testing.TB, f uptane.Flavour, by people, targets *metadata.TargetsType, version int64, delegated map[uptane.Role]*metadata.TargetsType) acceptance.Set {
	t.Helper()
	set := acceptance.Set{Targets: sign(t, f, uptane.RoleTargets, targets, by[uptane.RoleTargets]...), Delegations: map[uptane.Role]acceptance.Delegated{}}
	listed := map[uptane.Role]int64{}
	for role, p := range delegated {
		set.Delegations[role] = acceptance.Delegated{Document: sign(t, f, role, p, string(role)), Trust: trustIn(t, role)}
		listed[role] = p.Version
	}
	online(t, f, by, &set, uptane.NewSnapshot(version, later, targets.Version, listed))
	return set
}

// online signs snapshot and timestamp of a set.
func online(t testing.TB, f uptane.Flavour, by people, set *acceptance.Set, snapshot *metadata.SnapshotType) {
	t.Helper()
	set.Snapshot = sign(t, f, uptane.RoleSnapshot, snapshot, by[uptane.RoleSnapshot]...)
	timestamp, err := uptane.NewTimestamp(f, snapshot.Version, later, set.Snapshot)
	must(t, err)
	set.Timestamp = sign(t, f, uptane.RoleTimestamp, timestamp, by[uptane.RoleTimestamp]...)
}

// trustIn is what targets that delegate to a role say of it.
func trustIn(t testing.TB, role uptane.Role) []byte {
	t.Helper()
	p := targetsOf(t, 1)
	delegate(t, p, role, string(role)+"/*")
	b, err := uptane.Payload(uptane.Uptane, uptane.RoleTargets, p)
	must(t, err)
	list, err := uptane.Delegations(uptane.Uptane, b)
	must(t, err)
	return list[0].Raw
}

// delegate makes targets delegate to a role signed by the key of its name.
func delegate(t testing.TB, p *metadata.TargetsType, role uptane.Role, paths ...string) {
	t.Helper()
	key := public(t, person(string(role)))
	if p.Delegations == nil {
		p.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	wire, err := metadata.KeyFromPublicKey(key.Public())
	must(t, err)
	p.Delegations.Keys[string(key.TUFID())] = wire
	p.Delegations.Roles = append(p.Delegations.Roles, metadata.DelegatedRole{Name: string(role), KeyIDs: []string{string(key.TUFID())}, Threshold: 1, Paths: paths})
}

func begin(t testing.TB, f uptane.Flavour, by people) acceptance.Chain {
	t.Helper()
	c, err := acceptance.Begin(f, image, sign(t, f, uptane.RoleRoot, by.root(t, 1), by[uptane.RoleRoot]...))
	must(t, err)
	return c
}

// wantRefusal holds an error against "judge rule role", "" for none.
func wantRefusal(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if r := acceptance.RefusalOf(err); r != nil {
		got = fmt.Sprintf("%s %s %s", r.Judge, r.Rule, r.Role)
	} else if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
}
