package uptane_test

import (
	"errors"
	"strings"
	"testing"

	"sealift/fixtures"
	"sealift/uptane"
)

// recordedDevice is what a device of the recordings registered.
func recordedDevice(t *testing.T, session string) (uptane.ECUSerial, map[uptane.ECUSerial]uptane.Key) {
	t.Helper()
	r, err := uptane.ParseRegistration(fixtures.Read("aktualizr/" + session + "-ecus-1.json"))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[uptane.ECUSerial]uptane.Key{}
	for _, e := range r.ECUs {
		keys[e.Serial] = e.Key
	}
	return r.Primary, keys
}

var recordedManifests = []string{"ostree-manifest-1", "ostree-manifest-2", "ostree-manifest-3", "secondaries-manifest-1", "secondaries-manifest-2"}

func session(name string) string { s, _, _ := strings.Cut(name, "-"); return s }

func TestRecordedManifestsVerify(t *testing.T) {
	for _, name := range recordedManifests {
		primary, keys := recordedDevice(t, session(name))
		raw := fixtures.Read("aktualizr/" + name + ".json")
		m, err := uptane.VerifyManifest(raw, primary, keys)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if string(m.Raw) != string(raw) {
			t.Errorf("%s: canonical form differs from what the client sent", name)
		}
		if len(m.Reports) != len(keys) {
			t.Errorf("%s: %d reports of %d ECUs", name, len(m.Reports), len(keys))
		}
	}
}

func TestManifestOfForeignECU(t *testing.T) {
	primary, keys := recordedDevice(t, "secondaries")
	delete(keys, "ser-v")
	_, err := uptane.VerifyManifest(fixtures.Read("aktualizr/secondaries-manifest-1.json"), primary, keys)
	var at *uptane.ECUError
	if !errors.As(err, &at) || at.Serial != "ser-v" || !errors.Is(err, uptane.ErrECU) {
		t.Errorf("got %v", err)
	}
}
