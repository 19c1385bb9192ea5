package uptane_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
)

func TestFilenames(t *testing.T) {
	for name, want := range map[string]struct {
		role    uptane.Role
		version int
	}{
		"root.json": {"root", 0}, "3.root.json": {"root", 3}, "2147483647.targets.json": {"targets", 2147483647},
		"timestamp.json": {"timestamp", 0}, "my-Role_1.json": {"my-Role_1", 0}, "7.x.json": {"x", 7}, "7.json": {"7", 0},
	} {
		role, version, err := uptane.ParseFilename(name)
		if err != nil || role != want.role || version != want.version || role.Filename(version) != name {
			t.Errorf("%s: got %s, %d, %v", name, role, version, err)
		}
	}
	for _, name := range []string{"", ".json", "root", "root.json.", "Root.json", "ROOT.json", "1.Targets.json", "0.root.json", "01.root.json",
		"+1.root.json", "-1.root.json", "2147483648.root.json", "1.2.root.json", "a/b.json", "a.b.json", "é.json", strings.Repeat("a", 51) + ".json"} {
		if role, version, err := uptane.ParseFilename(name); !errors.Is(err, uptane.ErrName) {
			t.Errorf("%q: got %s, %d, %v", name, role, version, err)
		}
	}
}

func TestNames(t *testing.T) {
	for n, want := range map[uptane.Namespace]bool{"default": true, "a.b-c_1": true, "": false, "A": false, "-a": false, ".": false,
		uptane.Namespace(strings.Repeat("a", 63)): true, uptane.Namespace(strings.Repeat("a", 64)): false} {
		if n.Valid() != want {
			t.Errorf("namespace %q", n)
		}
	}
	for o, want := range map[uptane.OEMID]bool{"dev-1": true, "A:b_c.D": true, "": false, "a b": false, "a/b": false,
		uptane.OEMID(strings.Repeat("a", 65)): false} {
		if o.Valid() != want {
			t.Errorf("OEM id %q", o)
		}
	}
	for _, name := range []string{"a", "a/b-1.bin", "v2-60b0", ".hidden", "a b"} {
		if err := uptane.CheckFilename(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "/a", "a/", "a//b", "a/../b", "a..b", "./a", "a/./b", "a\n", "é", strings.Repeat("a", 254)} {
		if err := uptane.CheckFilename(name); !errors.Is(err, uptane.ErrName) {
			t.Errorf("file name %q passed: %v", name, err)
		}
	}
}

// A client that is fed a mixture of two states, or an older one, notices.
func TestMixturesAndRollbacks(t *testing.T) {
	d := fullDesk()
	open := func(version int64) (*metadata.TimestampType, []byte, *metadata.SnapshotType, *metadata.TargetsType) {
		targets := brakes(t)
		targets.Version = version
		snapshot := uptane.NewSnapshot(version, nextDay, version, map[uptane.Role]int64{"supplier": version})
		doc := seal(t, uptane.Uptane, d, uptane.RoleSnapshot, snapshot)
		timestamp, err := uptane.NewTimestamp(uptane.Uptane, version, nextDay, doc)
		if err != nil {
			t.Fatal(err)
		}
		return timestamp, doc, snapshot, targets
	}
	ts1, snapDoc1, snap1, targets1 := open(1)
	ts2, snapDoc2, snap2, targets2 := open(2)
	shorter := uptane.NewSnapshot(2, nextDay, 2, nil)
	shorterDoc := seal(t, uptane.Uptane, d, uptane.RoleSnapshot, shorter)
	shorterTS, err := uptane.NewTimestamp(uptane.Uptane, 2, nextDay, shorterDoc)
	if err != nil {
		t.Fatal(err)
	}
	lower := *ts1
	lower.Version = 3
	withRoot := uptane.NewSnapshot(1, nextDay, 1, map[uptane.Role]int64{"supplier": 1, uptane.RoleRoot: 7})
	for name, c := range map[string]struct{ got, want error }{
		"first timestamp":          {uptane.CheckTimestamp(nil, ts1), nil},
		"newer timestamp":          {uptane.CheckTimestamp(ts1, ts2), nil},
		"older timestamp":          {uptane.CheckTimestamp(ts2, ts1), uptane.ErrRollback},
		"older snapshot named":     {uptane.CheckTimestamp(ts2, &lower), uptane.ErrRollback},
		"empty timestamp":          {uptane.CheckTimestamp(nil, &metadata.TimestampType{}), uptane.ErrMix},
		"first snapshot":           {uptane.CheckSnapshot(ts1, snapDoc1, nil, snap1), nil},
		"newer snapshot":           {uptane.CheckSnapshot(ts2, snapDoc2, snap1, snap2), nil},
		"no root in snapshot":      {uptane.CheckSnapshot(ts2, snapDoc2, withRoot, snap2), nil},
		"snapshot of another time": {uptane.CheckSnapshot(ts2, snapDoc1, nil, snap1), uptane.ErrMix},
		"snapshot bytes":           {uptane.CheckSnapshot(ts1, append(snapDoc1[:len(snapDoc1):len(snapDoc1)], ' '), nil, snap1), uptane.ErrMix},
		"snapshot hash":            {uptane.CheckSnapshot(ts2, append([]byte("x"), snapDoc2[1:]...), nil, snap2), uptane.ErrMix},
		"older snapshot":           {uptane.CheckSnapshot(ts1, snapDoc1, snap2, snap1), uptane.ErrRollback},
		"role left snapshot":       {uptane.CheckSnapshot(shorterTS, shorterDoc, snap1, shorter), uptane.ErrRollback},
		"targets":                  {uptane.CheckTargets(snap2, uptane.RoleTargets, nil, targets1, targets2), nil},
		"older targets":            {uptane.CheckTargets(snap1, uptane.RoleTargets, nil, targets2, targets1), uptane.ErrRollback},
		"targets of another time":  {uptane.CheckTargets(snap2, uptane.RoleTargets, nil, nil, targets1), uptane.ErrMix},
		"role not in snapshot":     {uptane.CheckTargets(snap2, "other", nil, nil, targets2), uptane.ErrMix},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: got %v", name, c.got)
		}
	}
}

func TestMatchImage(t *testing.T) {
	sum := func(b byte) []byte { return append(make([]byte, 31), b) }
	image := uptane.Target{Filename: "f", Length: 5, Hashes: metadata.Hashes{"sha256": sum(1), "sha512": sum(2)},
		Custom: uptane.Custom{HardwareIDs: []uptane.HardwareID{"a", "b"}, ReleaseCounter: 4}}
	entry := uptane.Target{Filename: "f", Length: 5, Hashes: metadata.Hashes{"sha256": sum(1)},
		Custom: uptane.Custom{ECUs: map[uptane.ECUSerial]uptane.HardwareID{"s": "a"}, ReleaseCounter: 4}}
	if err := uptane.MatchImage(entry, image, "b"); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*uptane.Target){
		"name":           func(e *uptane.Target) { e.Filename = "g" },
		"length":         func(e *uptane.Target) { e.Length++ },
		"hash":           func(e *uptane.Target) { e.Hashes = metadata.Hashes{"sha256": sum(9)} },
		"one of two":     func(e *uptane.Target) { e.Hashes = metadata.Hashes{"sha256": sum(1), "sha512": sum(9)} },
		"nothing common": func(e *uptane.Target) { e.Hashes = metadata.Hashes{"md5": sum(1)} },
		"counter":        func(e *uptane.Target) { e.Custom.ReleaseCounter = 5 },
	} {
		changed := entry
		change(&changed)
		if err := uptane.MatchImage(changed, image, "a"); !errors.Is(err, uptane.ErrImage) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := uptane.MatchImage(entry, image, "c"); !errors.Is(err, uptane.ErrImage) {
		t.Errorf("hardware id: got %v", err)
	}
	older := image
	older.Custom.ReleaseCounter = 3
	if err := uptane.CheckRelease(image, older); !errors.Is(err, uptane.ErrRollback) {
		t.Errorf("older release: got %v", err)
	}
	if err := uptane.CheckRelease(older, image); err != nil {
		t.Error(err)
	}
}

func TestAssignments(t *testing.T) {
	ecus := map[uptane.ECUSerial]uptane.HardwareID{"p": "a", "s": "b"}
	build := func(entries map[string]map[uptane.ECUSerial]uptane.HardwareID) *metadata.TargetsType {
		targets := metadata.Targets(nextDay).Signed
		for name, list := range entries {
			file, err := uptane.Target{Filename: name, Hashes: metadata.Hashes{"sha256": make([]byte, 32)}, Custom: uptane.Custom{ECUs: list}}.File()
			if err != nil {
				t.Fatal(err)
			}
			targets.Targets[name] = file
		}
		return &targets
	}
	type list = map[uptane.ECUSerial]uptane.HardwareID
	got, err := uptane.CheckAssignments(build(map[string]list{"x": {"p": "a"}, "y": {"s": "b"}}), ecus)
	if err != nil || got["p"].Filename != "x" || got["s"].Filename != "y" || !got["p"].IsOSTree() {
		t.Errorf("got %v, %v", got, err)
	}
	for name, entries := range map[string]map[string]list{
		"foreign ECU": {"x": {"q": "a"}}, "hardware id": {"x": {"p": "b"}}, "two images": {"x": {"p": "a"}, "y": {"p": "a"}},
	} {
		if _, err := uptane.CheckAssignments(build(entries), ecus); !errors.Is(err, uptane.ErrECU) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	delegating := build(nil)
	delegating.Delegations = &metadata.Delegations{Roles: []metadata.DelegatedRole{{Name: "x"}}}
	if _, err := uptane.CheckAssignments(delegating, ecus); !errors.Is(err, uptane.ErrMix) {
		t.Errorf("got %v", err)
	}
}
