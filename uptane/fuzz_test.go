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
			e, err := uptane.ParseEnvelope(flavour, raw)
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
		m, err := uptane.ParseManifest(raw)
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
		r, err := uptane.ParseRegistration(raw)
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
