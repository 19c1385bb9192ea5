package uptane_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sealift/fixtures"
	"sealift/uptane"
	"sealift/uptane/canonical"
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

func TestManifestContent(t *testing.T) {
	primary, keys := recordedDevice(t, "secondaries")
	m, err := uptane.VerifyManifest(fixtures.Read("aktualizr/secondaries-manifest-2.json"), primary, keys)
	if err != nil {
		t.Fatal(err)
	}
	p, s := m.Reports[0], m.Reports[1]
	if p.Serial != "ser-p" || p.Filepath != "prim.bin" || p.Length != 50000 || p.Counter == nil || *p.Counter != 2 ||
		p.SHA256 != "2f5680b76a7ae78c101513eead55f7f07547b4e2d6b4c5a6c483b714bcdc4b5e" {
		t.Errorf("got %+v", p)
	}
	if s.Serial != "ser-s" || s.Counter != nil {
		t.Errorf("got %+v", s)
	}
	r := m.Install
	if r == nil || r.CorrelationID != "urn:x:smoke3" || !r.Result.Success || r.Result.Code != "OK" || len(r.Items) != 3 ||
		r.Items[2].ECU != "ser-v" || !r.Items[2].Result.Success || r.RawReport != "Installation succesful" {
		t.Errorf("got %+v", r)
	}
}

// No byte inside the outer signed part can change unnoticed: the manifest is
// refused, or its canonical form is what it was.
func TestEveryChangedByteIsNoticed(t *testing.T) {
	for _, name := range recordedManifests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary, keys := recordedDevice(t, session(name))
			raw := fixtures.Read("aktualizr/" + name + ".json")
			from := bytes.Index(raw, []byte(`,"signed":`)) + len(`,"signed":`)
			accepted := 0
			for i := from; i < len(raw)-1; i++ {
				for _, c := range []byte{raw[i] ^ 1, raw[i] ^ 0x20} {
					if c == raw[i] {
						continue
					}
					changed := bytes.Clone(raw)
					changed[i] = c
					m, err := uptane.VerifyManifest(changed, primary, keys)
					if err == nil && !bytes.Equal(m.Raw, raw) {
						t.Fatalf("byte %d: %q passed for %q", i, c, raw[i])
					}
					if err == nil {
						accepted++
					}
				}
			}
			if accepted > 0 {
				t.Logf("%d changes left the canonical form as it was", accepted)
			}
		})
	}
}

// A signature has one spelling.
func TestManifestSignaturesAreStrict(t *testing.T) {
	primary, keys := recordedDevice(t, "ostree")
	raw := string(fixtures.Read("aktualizr/ostree-manifest-1.json"))
	sig := "Cg==\"}],\"signed\":{\"ecu_version"
	for name, c := range map[string]struct {
		old, new string
		want     error
	}{
		"no padding":        {sig, strings.Replace(sig, "==", "", 1), uptane.ErrMalformed},
		"other unused bits": {sig, strings.Replace(sig, "Cg==", "Ch==", 1), uptane.ErrMalformed},
		"line break":        {sig, `\n` + sig, uptane.ErrMalformed},
		"blank":             {sig, " " + sig, uptane.ErrMalformed},
		"method":            {`"method":"ed25519"`, `"method":"ED25519"`, uptane.ErrSignature},
		"method of RSA":     {`"method":"ed25519"`, `"method":"rsassa-pss"`, uptane.ErrSignature},
		"no method":         {`"method":"ed25519",`, ``, uptane.ErrSignature},
	} {
		if !strings.Contains(raw, c.old) {
			t.Fatalf("%q is not in the manifest", c.old)
		}
		changed := strings.Replace(raw, c.old, c.new, 1)
		if _, err := uptane.VerifyManifest([]byte(changed), primary, keys); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// The client's id of its key is advisory: ours may differ.
	renamed := strings.Replace(raw, `"keyid":"0504`, `"keyid":"ffff`, 1)
	if _, err := uptane.VerifyManifest([]byte(renamed), primary, keys); err != nil {
		t.Errorf("another key id: %v", err)
	}
}

// manifest signs a manifest of these reports with the Primary's key.
func manifest(t *testing.T, primary string, extra string, reports ...string) []byte {
	t.Helper()
	return envelope(t, primary, fmt.Sprintf(`{"ecu_version_manifests":{%s}%s,"primary_ecu_serial":%q}`, strings.Join(reports, ","), extra, primary))
}

func report(t *testing.T, serial, inner, by string) string {
	t.Helper()
	return fmt.Sprintf(`%q:%s`, serial, envelope(t, by, fmt.Sprintf(`{"attacks_detected":"","ecu_serial":%q,"installed_image":{"fileinfo":`+
		`{"hashes":{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"length":0},"filepath":"f \u00e9"}}`, inner)))
}

func envelope(t *testing.T, by, signed string) []byte {
	t.Helper()
	msg, err := canonical.Normalize([]byte(signed), canonical.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sig, err := uptane.Sign(ed(by), msg)
	if err != nil {
		t.Fatal(err)
	}
	return uptane.Frame(uptane.Uptane, msg, sig)
}

func TestManifestChecks(t *testing.T) {
	keys := map[uptane.ECUSerial]uptane.Key{"p": public(t, ed("p")), "s": public(t, ed("s")), "dumb": {}}
	p, s := report(t, "p", "p", "p"), report(t, "s", "s", "s")
	for name, c := range map[string]struct {
		raw  []byte
		want error
		ecu  uptane.ECUSerial
	}{
		"all good":              {manifest(t, "p", "", p, s), nil, ""},
		"secondary unreachable": {manifest(t, "p", "", p), nil, ""},
		"secondary without key": {manifest(t, "p", "", p, report(t, "dumb", "dumb", "x")), nil, ""},
		"wrong Primary":         {manifest(t, "s", "", p, s), uptane.ErrECU, "s"},
		"Primary silent":        {manifest(t, "p", "", s), uptane.ErrECU, "p"},
		"signed by another":     {envelope(t, "s", `{"ecu_version_manifests":{`+p+`},"primary_ecu_serial":"p"}`), uptane.ErrSignature, "p"},
		"foreign ECU":           {manifest(t, "p", "", p, report(t, "x", "x", "x")), uptane.ErrECU, "x"},
		"report of another":     {manifest(t, "p", "", p, report(t, "s", "p", "s")), uptane.ErrECU, "s"},
		"report not its own":    {manifest(t, "p", "", p, report(t, "s", "s", "p")), uptane.ErrSignature, "s"},
		"report unsigned":       {manifest(t, "p", "", p, `"s":{"signatures":[],"signed":{}}`), uptane.ErrECU, "s"},
		"broken report":         {manifest(t, "p", "", p, `"s":{"signatures":[],"signed":{"ecu_serial":"s"}}`), uptane.ErrMalformed, "s"},
		"odd serial":            {manifest(t, "p", "", p, `"é":{"signatures":[],"signed":{}}`), uptane.ErrMalformed, "é"},
		"no reports":            {envelope(t, "p", `{"primary_ecu_serial":"p"}`), uptane.ErrMalformed, ""},
		"report without object": {manifest(t, "p", `,"installation_report":5`, p), uptane.ErrMalformed, ""},
		"report with gaps":      {manifest(t, "p", `,"installation_report":{"report":{"raw_report":null}},"custom":[1]`, p), nil, ""},
	} {
		_, err := uptane.VerifyManifest(c.raw, "p", keys)
		var at *uptane.ECUError
		if errors.As(err, &at); !errors.Is(err, c.want) || c.ecu != "" && (at == nil || at.Serial != c.ecu) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	m, err := uptane.VerifyManifest(manifest(t, "p", "", p, report(t, "dumb", "dumb", "x")), "p", keys)
	if err != nil || len(m.Reports) != 1 || len(m.Unverified) != 1 || m.Unverified[0] != "dumb" || m.Reports[0].Filepath != "f é" {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestRegistration(t *testing.T) {
	r, err := uptane.ParseRegistration(fixtures.Read("aktualizr/secondaries-ecus-1.json"))
	if err != nil || r.Primary != "ser-p" || len(r.ECUs) != 3 || r.ECUs[2].HardwareID != "hw-v" || r.ECUs[2].Key.Algorithm() != "rsa2048" {
		t.Fatalf("got %+v, %v", r, err)
	}
	good := string(fixtures.Read("aktualizr/ostree-ecus-1.json"))
	dumb := `{"clientKey":{"keytype":"unknown","keyval":{"public":""}},"ecu_serial":"s","hardware_identifier":"h"}`
	with := func(extra string) string { return strings.Replace(good, `],"primary`, `,`+extra+`],"primary`, 1) }
	if r, err := uptane.ParseRegistration([]byte(with(dumb))); err != nil || !r.ECUs[1].Key.IsZero() {
		t.Errorf("ECU without key: %v", err)
	}
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"twice":               {with(dumb + "," + dumb), uptane.ErrECU},
		"other key":           {with(strings.Replace(dumb, "unknown", "ECPRIME256V1", 1)), uptane.ErrKey},
		"no serial":           {with(strings.Replace(dumb, `"s"`, `""`, 1)), uptane.ErrMalformed},
		"long serial":         {with(strings.Replace(dumb, `"s"`, `"`+strings.Repeat("s", 65)+`"`, 1)), uptane.ErrMalformed},
		"serial with bell":    {with(strings.Replace(dumb, `"s"`, `"\u0007"`, 1)), uptane.ErrMalformed},
		"no hardware id":      {with(strings.Replace(dumb, `"h"`, `""`, 1)), uptane.ErrMalformed},
		"Primary missing":     {strings.Replace(good, `"primary_ecu_serial":"o`, `"primary_ecu_serial":"x`, 1), uptane.ErrECU},
		"Primary without key": {`{"ecus":[` + dumb + `],"primary_ecu_serial":"s"}`, uptane.ErrKey},
		"no list":             {`{"primary_ecu_serial":"s"}`, uptane.ErrMalformed},
		"no JSON":             {good + "]", uptane.ErrMalformed},
	} {
		if _, err := uptane.ParseRegistration([]byte(c.body)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
