package repo_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/repo"
	"sealift/treehub/ostree"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

func mustDecode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Error(err)
	}
}

// A release is signed offline and pushed; devices trust it, people find it.
func TestPushedTargetsAreTrustedByDevices(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		if _, err := s.Metadata(t.Context(), ns, "timestamp.json"); fault.Status(err) != 404 {
			t.Errorf("before the first push: %v", err)
		}
		w.pull(s).mustPush(s) // empty: what init signs
		w.device.mustUpdate(s)

		brakes := w.ostreeTarget("Brakes", "2")
		brakes.Custom.ReleaseCounter = 7
		w.pull(s).add(brakes).add(w.ostreeTarget("radio_x", "1")).mustPush(s)
		w.device.mustUpdate(s)
		if n := len(w.device.targets.Targets); n != 2 || w.device.targets.Version != 2 {
			t.Errorf("the device sees %d targets in version %d", n, w.device.targets.Version)
		}
		if _, ok := w.device.snapshot.Meta["targets.json"]; !ok || w.device.snapshot.Meta["targets.json"].Hashes != nil {
			t.Error("a snapshot lists targets by version alone")
		}

		got, err := s.Target(t.Context(), ns, "Brakes-2")
		if err != nil || got.Custom.ReleaseCounter != 7 || got.SHA256() != brakes.SHA256() || !got.IsOSTree() {
			t.Errorf("Target: %+v, %v", got, err)
		}
		for _, name := range []string{"Brakes-3", "../Brakes-2", ""} {
			_, err := s.Target(t.Context(), ns, name)
			wantFault(t, err, repo.ErrTargetMissing)
		}
		_, err = s.Target(t.Context(), "other", "Brakes-2")
		wantFault(t, err, repo.ErrTargetMissing)
		for text, want := range map[string]int{"": 2, "BRAKE": 1, "o_x": 1, "o%x": 0, "zz": 0, "\x00": 0} {
			if items, total, err := s.Targets(t.Context(), ns, text, 10, 0); err != nil || total != want || len(items) != want {
				t.Errorf("Targets(%q): %d of %d, %v, want %d", text, len(items), total, err, want)
			}
		}
		var commits int
		if err := s.Commits(t.Context(), ns, func(ostree.Checksum) error { commits++; return nil }); err != nil || commits != 2 {
			t.Errorf("%d commits, %v", commits, err)
		}

		r := w.pull(s)
		delete(r.payload.Targets, "Brakes-2")
		r.mustPush(s)
		w.device.mustUpdate(s)
		_, err = s.Target(t.Context(), ns, "Brakes-2")
		wantFault(t, err, repo.ErrTargetMissing)
	})
}

func TestMetadataNames(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).mustPush(s)
	for _, name := range []string{"2.root.json", "1.targets.json", "1.snapshot.json", "other.json", "root", "Root.json", "0.root.json", "offline-snapshot.json"} {
		if _, err := s.Metadata(t.Context(), ns, name); fault.Status(err) != 404 {
			t.Errorf("%s: %v, want 404", name, err)
		}
	}
	first, err := s.Metadata(t.Context(), ns, "1.root.json")
	if err != nil {
		t.Fatal(err)
	}
	latest, err := s.Metadata(t.Context(), ns, "root.json")
	if err != nil || string(latest.Bytes) != string(first.Bytes) || latest.Repository == "" || len(latest.Checksum) != 64 {
		t.Errorf("root.json: %+v, %v", latest, err)
	}
	if _, err := s.Create(t.Context(), ns); !errors.Is(err, repo.ErrExists) {
		t.Errorf("a second repository: %v", err)
	}
	if _, err := s.ID(t.Context(), "other"); !errors.Is(err, repo.ErrNoRepository) {
		t.Errorf("no repository: %v", err)
	}
}

// Everything that may be wrong with a push is told, and nothing changes.
func TestRefusedPushes(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).add(w.ostreeTarget("brakes", "1")).mustPush(s)
	unknown := w.ostreeTarget("radio", "1")
	unknown.Hashes = metadata.Hashes{"sha256": make([]byte, 32)}
	other := w.ostreeTarget("brakes", "1")
	other.Hashes = unknown.Hashes
	tests := []struct {
		name  string
		edit  func(*release)
		want  *fault.Fault
		words []string
	}{
		{"without checksum", func(r *release) { r.checksum = "" }, repo.ErrNoChecksum, nil},
		{"odd checksum", func(r *release) { r.checksum = strings.Repeat("X", 64) }, repo.ErrNoChecksum, nil},
		{"wrong checksum", func(r *release) { r.checksum = strings.Repeat("0", 64) }, repo.ErrChecksum, nil},
		{"version gap", func(r *release) { r.payload.Version++ }, repo.ErrVersionBump, []string{"expected 2"}},
		{"same version", func(r *release) { r.payload.Version-- }, repo.ErrVersionBump, nil},
		{"expired", func(r *release) { r.payload.Expires = w.clock.now() }, repo.ErrInvalidTargets, []string{"expired"}},
		{"commit that is not here", func(r *release) { r.add(unknown) }, repo.ErrInvalidTargets,
			[]string{"target item error radio-1", "0000.commit is not stored"}},
		{"new content under an old name", func(r *release) { r.add(other) }, repo.ErrInvalidTargets, []string{"brakes-1", "for ever"}},
		{"bytes that are not here", func(r *release) { r.add(w.binaryTarget("fw", "1", []byte("x"))) }, repo.ErrInvalidTargets,
			[]string{"fw-1", "never uploaded"}},
		{"without custom", func(r *release) {
			r.add(w.ostreeTarget("radio", "2"))
			r.payload.Targets["radio-2"].Custom = nil
		}, repo.ErrInvalidTargets, []string{"custom is missing"}},
		{"Director's members", func(r *release) {
			x := w.ostreeTarget("radio", "2")
			x.Custom.HardwareIDs, x.Custom.ECUs = nil, map[uptane.ECUSerial]uptane.HardwareID{"1": "a"}
			r.add(x)
		}, acceptance.ErrRefused, nil},
		{"odd format", func(r *release) {
			x := w.target("radio", "2")
			x.Hashes, x.Length, x.Custom.TargetFormat = unknown.Hashes, 1, "SWU"
			r.add(x)
		}, repo.ErrInvalidTargets, []string{"SWU"}},
		{"odd address", func(r *release) {
			x := w.target("radio", "2")
			x.Hashes, x.Length, x.Custom.URI = unknown.Hashes, 1, "file:///etc/passwd"
			r.add(x)
		}, repo.ErrInvalidTargets, []string{"custom.uri"}},
		{"another hash", func(r *release) {
			x := w.ostreeTarget("radio", "2")
			x.Hashes = metadata.Hashes{"sha256": x.Hashes["sha256"], "sha512": make([]byte, 64)}
			r.add(x)
		}, repo.ErrInvalidTargets, []string{"more than sha256"}},
		{"two reasons", func(r *release) { r.add(unknown); r.add(other) }, repo.ErrInvalidTargets, []string{"radio-1", "brakes-1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := w.pull(s)
			tt.edit(r)
			wantFault(t, r.push(s), tt.want, tt.words...)
		})
	}
	w.device.mustUpdate(s)
	if w.device.targets.Version != 1 {
		t.Errorf("after refused pushes version %d is visible", w.device.targets.Version)
	}
}

func TestRefusedSignatures(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).mustPush(s)
	r := w.pull(s)
	good := string(r.signed())
	_, rest, _ := strings.Cut(good, "[")
	signature, _, _ := strings.Cut(rest, "]")
	for name, tt := range map[string]struct {
		doc  string
		want *fault.Fault
	}{
		"foreign key":        {string(sign(t, uptane.RoleTargets, &r.payload, newKey(t))), repo.ErrInvalidTargets},
		"root's key":         {string(sign(t, uptane.RoleTargets, &r.payload, w.rootKey)), repo.ErrInvalidTargets},
		"same key twice":     {strings.Replace(good, signature, signature+","+signature, 1), acceptance.ErrRefused},
		"other method":       {strings.Replace(good, `"method":"ed25519"`, `"method":"ecdsa"`, 1), acceptance.ErrRefused},
		"changed content":    {strings.Replace(good, `"version":2`, `"version":3`, 1), repo.ErrInvalidTargets},
		"wrong type":         {string(sign(t, uptane.RoleSnapshot, uptane.NewSnapshot(2, w.clock.now().AddDate(0, 1, 0), 2, nil), w.targets)), acceptance.ErrRefused},
		"no JSON":            {"{", acceptance.ErrRefused},
		"two versions":       {strings.Replace(good, `"version":2`, `"version":2,"Version":2`, 1), acceptance.ErrRefused},
		"a fraction":         {strings.Replace(good, `"version":2`, `"version":2.0`, 1), acceptance.ErrRefused},
		"beyond ASCII":       {strings.Replace(good, `"version":2`, `"x":"ü","version":2`, 1), acceptance.ErrRefused},
		"something after it": {good + "{}", acceptance.ErrRefused},
		"too large":          {good + strings.Repeat(" ", repo.MaxTargets), repo.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.PutTargets(t.Context(), ns, []byte(tt.doc), r.checksum, "token:1")
			wantFault(t, err, tt.want)
		})
	}
	// White space is not signed, and what is stored is canonical.
	spaced := strings.ReplaceAll(good, `,"`, ", \n\"")
	sum, err := s.PutTargets(t.Context(), ns, []byte(spaced), r.checksum, "token:1")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := s.Metadata(t.Context(), ns, "targets.json")
	if err != nil || string(doc.Bytes) != good || doc.Checksum != sum {
		t.Errorf("stored %s, %v, want %s", doc.Bytes, err, good)
	}
}

// Two builders push at the same time: one wins, the other is told to pull.
func TestParallelPushes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).mustPush(s)
		other := w.server()
		for round := range 5 {
			a, b := w.pull(s), w.pull(s)
			a.add(w.ostreeTarget("a", string(rune('0'+round))))
			b.add(w.ostreeTarget("b", string(rune('0'+round))))
			docA, docB := a.signed(), b.signed()
			errs := make(chan error)
			go func() { _, err := s.PutTargets(t.Context(), ns, docA, a.checksum, "a"); errs <- err }()
			go func() { _, err := other.PutTargets(t.Context(), ns, docB, b.checksum, "b"); errs <- err }()
			first, second := <-errs, <-errs
			if (first == nil) == (second == nil) {
				t.Fatalf("round %d: %v and %v, want one success", round, first, second)
			}
			wantFault(t, errors.Join(first, second), repo.ErrChecksum)
			w.clock.advance(2 * time.Second)
			w.device.mustUpdate(s)
			w.device.mustUpdate(other)
			if int(w.device.targets.Version) != round+2 || len(w.device.targets.Targets) != round+1 {
				t.Errorf("round %d: version %d, %d targets", round, w.device.targets.Version, len(w.device.targets.Targets))
			}
		}
	})
}
