//go:build aktualizr

package interop

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures"
	"sealift/fixtures/fault"
	"sealift/keys/record"
	"sealift/uptane"
)

// person is somebody who has a key.
type person struct{ key crypto.Signer }

// Sign implements uptane.Signer.
func (p person) Sign(_ context.Context, _ uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	sig, err := uptane.Sign(p.key, msg)
	return []uptane.RawSig{sig}, err
}

func (p person) public(t *testing.T) uptane.Key {
	t.Helper()
	k, err := uptane.NewKey(p.key.Public())
	must(t, err)
	return k
}

// everybody signs, one after the other.
type everybody []uptane.Signer

// Sign implements uptane.Signer.
func (e everybody) Sign(ctx context.Context, job uptane.Job, msg []byte) (all []uptane.RawSig, err error) {
	for _, one := range e {
		sigs, err := one.Sign(ctx, job, msg)
		if err != nil {
			return nil, err
		}
		all = append(all, sigs...)
	}
	return all, nil
}

// nextRoot makes a root that differs from the last one, signed by those who are
// named.
func (l *liar) nextRoot(t *testing.T, repository uptane.Repository, edit func(*metadata.RootType), signers ...uptane.Signer) []byte {
	t.Helper()
	doc, err := l.services.Vault.Root(t.Context(), ns, repository, 0)
	must(t, err)
	m, err := fault.Read[metadata.RootType](doc, uptane.RoleRoot)
	must(t, err)
	m.Version++
	edit(m)
	doc, err = fault.Sign(t.Context(), everybody(signers), uptane.Job{Namespace: ns, Repository: repository, Role: uptane.RoleRoot}, m)
	must(t, err)
	return doc
}

// hand gives a role new keys, of which so many must sign.
func hand(t *testing.T, root *metadata.RootType, role uptane.Role, threshold int, keys ...uptane.Key) {
	t.Helper()
	ring, err := uptane.RingOf(uptane.Uptane, root, role)
	must(t, err)
	for _, k := range ring.Keys {
		uptane.RemoveKey(root, role, k)
	}
	for _, k := range keys {
		must(t, uptane.AddKey(root, role, k))
	}
	root.Roles[string(role)].Threshold = threshold
}

// rotateRoot hands the root of a repository from one to another.
func (l *liar) rotateRoot(t *testing.T, repository uptane.Repository, from uptane.Signer, to person) {
	t.Helper()
	l.putRoot(t, repository, l.nextRoot(t, repository, func(m *metadata.RootType) { hand(t, m, uptane.RoleRoot, 1, to.public(t)) }, from, to))
}

// rotateTimes rotates the roots of both repositories so many times, and returns
// who can sign them in the end.
func (l *liar) rotateTimes(t *testing.T, from map[uptane.Repository]uptane.Signer, times int) {
	t.Helper()
	for _, repository := range []uptane.Repository{images, directors} {
		for i := range times {
			next := person{fixtures.Ed25519(fmt.Sprintf("%s root of %s, %d", repository, t.Name(), i))}
			l.rotateRoot(t, repository, from[repository], next)
			from[repository] = next
		}
	}
}

// founders can sign the first roots.
func (l *liar) founders() map[uptane.Repository]uptane.Signer {
	return map[uptane.Repository]uptane.Signer{images: l.offline[images].Signer("root"), directors: l.offline[directors].Signer("root")}
}

// all fails unless every ECU of a device runs its image.
func (l *liar) all(t *testing.T, id, log string, want map[string]string) {
	t.Helper()
	for ecu, image := range l.installed(t, id) {
		if image != want[ecu] {
			t.Errorf("%s runs %q, want %q\n%s", ecu, image, want[ecu], log)
		}
	}
}

// rotatedWhileOff: an operator replaces both root keys while the device is off;
// then three times more. The timestamps name the head of the record all the while.
func rotatedWhileOff(t *testing.T) string {
	l := startLiar(t)
	go l.services.Vault.Record().Run(t.Context(), 100*time.Millisecond, func(context.Context, record.Head) {})
	b, id := l.newDevice(t, boardOptions{name: "truck-5", hwid: "board", secondaries: 1})
	l.uploadBinaries(t, map[string]string{"app": "board", "lib": "board", "tool": "board", "firmware": "sensor", "brake": "sensor"})
	l.launch(t, id, map[string]string{"board": "app-1"})
	b.once(t)
	holders := map[uptane.Repository]uptane.Signer{}
	for repository, folder := range map[uptane.Repository]string{images: "image", directors: "director"} {
		l.rotate(t, folder, "root", "root2")
		holders[repository] = l.offline[repository].Signer("root2")
	}
	follow := func(steps int, from int, want map[string]string) {
		t.Helper()
		s := l.once(t, b)
		for _, below := range []string{"/director/", "/repo/"} {
			var roots []string
			for _, r := range s.requests {
				if name, ok := strings.CutPrefix(r.Path, below); ok && strings.HasSuffix(name, ".root.json") {
					roots = append(roots, fmt.Sprint(name, " ", r.Status))
				}
			}
			var expected []string
			for n := from; n < from+steps; n++ {
				expected = append(expected, fmt.Sprint(n, ".root.json 200"))
			}
			if expected = append(expected, fmt.Sprint(from+steps, ".root.json 404")); !slices.Equal(roots, expected) || s.asked(below+"targets.json", 200) != 1 {
				t.Errorf("%s: %v, want %q", below, s.requests, expected)
			}
		}
		for _, name := range []string{"timestamp", "snapshot"} {
			if s.asked("/repo/"+name+".json", 200) != 1 {
				t.Errorf("%s was not fetched again: %v", name, s.requests)
			}
		}
		l.all(t, id, s.log, want)
	}
	l.launch(t, id, map[string]string{"board": "lib-1", "sensor": "firmware-1"})
	follow(1, 2, map[string]string{"truck-5-primary": "lib-1", "truck-5-sensor-1": "firmware-1"})
	l.rotateTimes(t, holders, 3)
	l.launch(t, id, map[string]string{"board": "tool-1", "sensor": "brake-1"})
	follow(3, 3, map[string]string{"truck-5-primary": "tool-1", "truck-5-sensor-1": "brake-1"})

	timestamp, err := fault.Read[metadata.TimestampType](l.Recorded("truck-5", "/repo/")["timestamp.json"], uptane.RoleTimestamp)
	must(t, err)
	custom, _ := json.Marshal(timestamp.UnrecognizedFields["custom"])
	var head struct {
		Record struct {
			Size int64
			Head string
		}
	}
	if must(t, json.Unmarshal(custom, &head)); head.Record.Size == 0 || len(head.Record.Head) != 64 {
		t.Errorf("the timestamp that the client took says of the record: %s", custom)
	}
	return fmt.Sprintf("1 step, then 3 (3, 4, 5.root.json, 6: 404), all metadata fetched again; tool-1 and brake-1; custom.record of %d leaves in the timestamp", head.Record.Size)
}

// newSecondary: a Secondary that is built in after rotations begins with the first
// roots. The Primary gives them to it: from its storage, or, where it began with
// newer ones, from the server.
func newSecondary(t *testing.T) string {
	l := startLiar(t)
	l.uploadBinaries(t, map[string]string{"app": "board", "lib": "board", "firmware": "sensor"})
	old, id := l.newDevice(t, boardOptions{name: "truck-5a", hwid: "board"})
	l.launch(t, id, map[string]string{"board": "app-1"})
	old.once(t)
	l.rotateTimes(t, l.founders(), 3)
	l.launch(t, id, map[string]string{"board": "lib-1"})
	l.recovers(t, old, id, "truck-5a-primary", "lib-1")

	pinned := newBoard(t, l.server, boardOptions{name: "truck-5a-new", hwid: "board"})
	for _, repository := range []uptane.Repository{images, directors} {
		doc, err := l.services.Vault.Root(t.Context(), ns, repository, 0)
		must(t, err)
		dir := filepath.Join(pinned.dir, "import", map[uptane.Repository]string{images: "repo", directors: "director"}[repository])
		mkdir(t, dir, 0o700)
		write(t, filepath.Join(dir, "root.json"), string(doc))
	}
	var fetched []int
	for _, b := range []*board{old, pinned} {
		b.writeSecondaries(t, 1)
		b.once(t) // registers it
		id, _ := l.device(t, b.name)
		l.launch(t, id, map[string]string{"board": "app-1", "sensor": "firmware-1"})
		s := l.once(t, b)
		s.says(t, "Rotating director from 0 to 3", "Rotating image from 0 to 3")
		n := 0
		for version := 1; version <= 3; version++ {
			for _, below := range []string{"/director/", "/repo/"} {
				n += s.asked(fmt.Sprintf("%s%d.root.json", below, version), 200)
			}
		}
		fetched = append(fetched, n)
		l.all(t, id, s.log, map[string]string{b.name + "-primary": "app-1", b.name + "-sensor-1": "firmware-1"})
	}
	if !slices.Equal(fetched, []int{0, 6}) {
		t.Errorf("old roots were fetched %v times, want 0 and 6", fetched)
	}
	return fmt.Sprintf("roots 1..3 of both given to the new Secondary: from the Primary's storage; by a Primary that began with root 4, %d fetched from the server; firmware-1", fetched[1])
}

// brokenRotation: a root that only the new key has signed, and one that leaves a
// version out. Neither can be published here; served nevertheless, they stop a
// device until there is a right one.
func brokenRotation(t *testing.T) string {
	l := startLiar(t)
	l.uploadBinary(t, "app", "1", "board", "application one")
	var refused []string
	for _, repository := range []uptane.Repository{directors, images} {
		below := map[uptane.Repository]string{images: "/repo/", directors: "/director/"}[repository]
		thief, founder := person{fixtures.Ed25519("thief of " + string(repository))}, l.founders()[repository]
		version, err := l.services.Vault.RootVersion(t.Context(), ns, repository)
		must(t, err)
		b, id := l.newDevice(t, boardOptions{name: "truck-5b-" + string(repository), hwid: "board"})
		l.launch(t, id, map[string]string{"board": "app-1"})
		for what, c := range map[string]struct {
			doc []byte
			why string
		}{
			"new key only": {l.nextRoot(t, repository, func(m *metadata.RootType) { hand(t, m, uptane.RoleRoot, 1, thief.public(t)) }, thief), "Signature verification for Root metadata failed"},
			"version gap":  {l.nextRoot(t, repository, func(m *metadata.RootType) { m.Version++ }, founder), "doesn't match the expected value"},
		} {
			switch {
			case repository == images:
				err = l.services.Repo.PutRoot(t.Context(), ns, c.doc)
			default:
				err = l.services.Vault.PutRoot(t.Context(), ns, repository, c.doc)
			}
			if err == nil {
				t.Fatalf("our server takes a root of the %s repository: %s", repository, what)
			}
			l.Tell(fault.Serve(fmt.Sprintf("%s%d.root.json", below, version+1), c.doc))
			l.observe(t, b, "once").refusedMetadata(t, c.why)
			l.observe(t, b, "once").refusedMetadata(t, c.why) // and so on
			refused = append(refused, fmt.Sprint(repository, ": ", what))
		}
		l.rotateRoot(t, repository, founder, person{fixtures.Ed25519("heir of " + string(repository))})
		l.recovers(t, b, id, b.name+"-primary", "app-1")
	}
	slices.Sort(refused)
	return strings.Join(refused, ", ") + ": refused by our server; served: no report, second manifest, each cycle; with the right root app-1"
}

// replayedTogether: an older snapshot and its targets under a newer timestamp. The
// client notices only where the snapshot says no more of the targets than their
// version. Ours never do.
func replayedTogether(t *testing.T) string {
	l := startLiar(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-7a", hwid: "board"})
	l.uploadBinaries(t, map[string]string{"app": "board", "old": "board"})
	l.launch(t, id, map[string]string{"board": "app-1"})
	b.once(t)
	old := l.Recorded("truck-7a", "/repo/")
	l.uploadBinary(t, "app", "2", "board", "application two")
	l.launch(t, id, map[string]string{"board": "app-2"})
	l.recovers(t, b, id, "truck-7a-primary", "app-2")
	for _, later := range []string{"1", "2"} { // what is forged lies between
		l.uploadBinary(t, "lib", later, "nobody", "library "+later)
	}
	honest := l.documents(t, images, "")
	timestamp, err := fault.Read[metadata.TimestampType](honest["timestamp.json"], uptane.RoleTimestamp)
	must(t, err)
	snapshot, err := fault.Read[metadata.SnapshotType](old["snapshot.json"], uptane.RoleSnapshot)
	must(t, err)
	if len(snapshot.Meta["targets.json"].Hashes) > 0 {
		t.Error("our snapshots have a hash of the targets")
	}
	replay := func(ago int64, snapshot []byte) {
		t.Helper()
		m, err := uptane.NewTimestamp(uptane.Uptane, timestamp.Version-ago, timestamp.Expires, snapshot)
		must(t, err)
		doc, err := fault.Sign(t.Context(), l, uptane.Job{Namespace: ns, Repository: images, Role: uptane.RoleTimestamp}, m)
		must(t, err)
		l.Tell(fault.Set{"timestamp.json": doc, "snapshot.json": snapshot, "targets.json": old["targets.json"]}.Lies("/repo/")...)
	}
	l.launch(t, id, map[string]string{"board": "old-1"})
	replay(2, old["snapshot.json"])
	l.observe(t, b, "once").refusedMetadata(t, "Rollback attempt")

	targets := fault.Set{"targets.json": old["targets.json"]}
	snapshot.Meta["targets.json"].Hashes = metadata.Hashes{"sha256": digest(targets["targets.json"])}
	hashed, err := fault.Sign(t.Context(), l, uptane.Job{Namespace: ns, Repository: images, Role: uptane.RoleSnapshot}, snapshot)
	must(t, err)
	replay(1, hashed)
	s := l.observe(t, b, "once")
	if got := l.installed(t, id)["truck-7a-primary"]; got != "old-1" || s.asked("/repo/targets.json", 200) != 1 {
		t.Errorf("with a hash in the snapshot the client runs %q: T2 no longer holds; %v\n%s", got, s.requests, s.log)
	}
	l.launch(t, id, map[string]string{"board": "app-2"})
	l.recovers(t, b, id, "truck-7a-primary", "app-2")
	return "our snapshots, no hash of targets: \"Rollback attempt\", no report; with a hash the client takes the replay (its limit T2); then app-2"
}
