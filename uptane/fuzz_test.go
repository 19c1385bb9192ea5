package uptane_test

import (
	"bytes"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures"
	"sealift/uptane"
)

func addRecordings(f *testing.F, pattern string) {
	names, err := fs.Glob(fixtures.Aktualizr(), pattern)
	if err != nil || len(names) == 0 {
		f.Fatal(pattern, err)
	}
	for _, name := range names {
		f.Add(fixtures.Read(path.Join("aktualizr", name)))
	}
}

func FuzzEnvelope(f *testing.F) {
	addRecordings(f, "metadata/ostree/repo/*.json")
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, flavour := range []uptane.Flavour{uptane.Uptane, uptane.TUF} {
			var e uptane.Envelope
			var err error
			frugal(t, raw, func() { e, err = uptane.ParseEnvelope(flavour, raw) })
			if err != nil {
				continue
			}
			once := e.Encode(flavour)
			again, err := uptane.ParseEnvelope(flavour, once)
			if err != nil || !bytes.Equal(again.Encode(flavour), once) {
				t.Fatalf("%q reads differently after writing: %v", raw, err)
			}
			roundTrip[metadata.RootType](t, flavour, uptane.RoleRoot, e.Signed)
			roundTrip[metadata.TargetsType](t, flavour, uptane.RoleTargets, e.Signed)
			roundTrip[metadata.SnapshotType](t, flavour, uptane.RoleSnapshot, e.Signed)
			roundTrip[metadata.TimestampType](t, flavour, uptane.RoleTimestamp, e.Signed)
		}
	})
}

// roundTrip: what reads as a payload and can be written is then stable.
func roundTrip[T metadata.Roles](t *testing.T, f uptane.Flavour, role uptane.Role, signed []byte) {
	p, err := uptane.ParsePayload[T](f, role, signed)
	if err != nil {
		return
	}
	once, err := uptane.Payload(f, role, p)
	if err != nil {
		return
	}
	p, err = uptane.ParsePayload[T](f, role, once)
	if err != nil {
		t.Fatalf("%q: %v", once, err)
	}
	if again, err := uptane.Payload(f, role, p); err != nil || !bytes.Equal(again, once) {
		t.Fatalf("%q became %q, %v", once, again, err)
	}
}

func FuzzManifest(f *testing.F) {
	addRecordings(f, "*-manifest-*.json")
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m *uptane.Manifest
		var err error
		frugal(t, raw, func() { m, err = uptane.ParseManifest(raw) })
		if err != nil {
			return
		}
		again, err := uptane.ParseManifest(m.Raw)
		if err != nil || !bytes.Equal(again.Raw, m.Raw) {
			t.Fatalf("%q reads differently after writing: %v", raw, err)
		}
	})
}

func FuzzRegistration(f *testing.F) {
	addRecordings(f, "*-ecus-*.json")
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r uptane.Registration
		var err error
		frugal(t, raw, func() { r, err = uptane.ParseRegistration(raw) })
		if err != nil {
			return
		}
		for _, e := range r.ECUs {
			if !e.Serial.Valid() || !e.HardwareID.Valid() {
				t.Fatalf("%q passed as an ECU", e)
			}
			if e.Key.IsZero() {
				continue
			}
			if k, err := uptane.ParseKey(e.Key.Wire(uptane.Uptane)); err != nil || k != e.Key {
				t.Fatalf("key of %q reads differently after writing: %v", e.Serial, err)
			}
		}
	})
}

// What TUF clients ask for names one target, in one spelling.
func FuzzHashedName(f *testing.F) {
	sum := strings.Repeat("0a", 32)
	for _, name := range []string{sum + ".a", "dir/sub/" + sum + ".a.b", sum, sum + ".", "/" + sum + ".a", "../" + sum + ".a", strings.ToUpper(sum) + ".a", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		filename, sha256, err := uptane.ParseHashedName(name)
		if err != nil {
			return
		}
		if uptane.CheckFilename(filename) != nil || !uptane.KeyID(sha256).Valid() || uptane.HashedName(filename, sha256) != name {
			t.Fatalf("%q passed as %q and %q", name, filename, sha256)
		}
	})
}

// A name of metadata has one spelling.
func FuzzFilename(f *testing.F) {
	for _, name := range []string{"root.json", "3.root.json", "03.root.json", "2147483647.targets.json", "1.snapshot.json", "../root.json", "9999999999999999999.root.json", "a.b.json", ".json"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		role, version, err := uptane.ParseFilename(name)
		if err == nil && (role.Filename(version) != name || !role.Valid() || version < 0 || version > uptane.MaxVersion) {
			t.Fatalf("%q passed as %q %d", name, role, version)
		}
	})
}

// FuzzCustom: what a target says of itself reads the same after writing, unless
// it has both hardware ids and ECUs.
func FuzzCustom(f *testing.F) {
	f.Add([]byte(`{"name":"a","version":1,"hardwareIds":["h"],"targetFormat":null,"uri":null,"createdAt":"2026-01-01T00:00:00Z","x":{"y":[1]}}`))
	f.Add([]byte(`{"ecuIdentifiers":{"s":{"hardwareId":"h"}},"releaseCounter":3,"cliUploaded":true}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c, again uptane.Custom
		if c.UnmarshalJSON(raw) != nil || c.HardwareIDs != nil && c.ECUs != nil {
			return
		}
		once, err := c.MarshalJSON()
		if err != nil {
			t.Fatalf("%q cannot be written: %v", raw, err)
		}
		if err := again.UnmarshalJSON(once); err != nil {
			t.Fatalf("%q was written as %q: %v", raw, once, err)
		}
		if twice, err := again.MarshalJSON(); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q became %q, %v", once, twice, err)
		}
	})
}

// frugal fails a test where a parser asks for more memory than a multiple of
// what it is to read.
func frugal(t *testing.T, raw []byte, parse func()) {
	t.Helper()
	if cost, limit := fixtures.Allocated(parse), uint64(4<<20+400*len(raw)); cost > limit {
		t.Errorf("%d bytes cost %d", len(raw), cost)
	}
}
