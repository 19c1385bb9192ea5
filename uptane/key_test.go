package uptane_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures"
	"sealift/uptane"
)

// Ids as other tools compute them for the same keys.
func TestKeyIDs(t *testing.T) {
	k, err := uptane.ParseKey([]byte(`{"keytype":"ED25519","keyval":{"public":"e8b819c020ce57f72521452d341875bb6eb311ecca3cbb711efb63f38e68cde1"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := k.ID(); got != "5959a6869e4e03bd27ea933651ab7756ebeaa178aee92f4103b9baa9c2da3901" {
		t.Errorf("id in metadata: %s", got)
	}
	k, err = uptane.ParseKey([]byte(`{"keytype":"ED25519","keyval":{"public":"DAEECF69F5C4AF09FE4F2ED98EC512E5C3A6469E5BA09EBA2A67B8D70A2A48F2"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := k.ClientID(); got != "6e1eb3d9c51d6a9ff4930d57114f47db4dfc3e30404b0247025b9f33a5ffbf8d" {
		t.Errorf("id of the client: %s", got)
	}
	for _, name := range []string{"rsa2048-1", "rsa3072", "rsa4096"} {
		checkTUFID(t, fixtures.Key(name).Public())
	}
	checkTUFID(t, ed("x").Public())
}

func checkTUFID(t *testing.T, pub any) {
	t.Helper()
	theirs, err := metadata.KeyFromPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	want, err := theirs.ID()
	if err != nil {
		t.Fatal(err)
	}
	k, err := uptane.NewKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	if string(k.TUFID()) != want {
		t.Errorf("%s: id %s where go-tuf has %s", k.Algorithm(), k.TUFID(), want)
	}
}

// The client names its keys in every recorded manifest.
func TestClientIDsOfRecordedKeys(t *testing.T) {
	_, keys := recordedDevice(t, "secondaries")
	e, err := uptane.ParseEnvelope(uptane.Uptane, fixtures.Read("aktualizr/secondaries-manifest-1.json"))
	if err != nil {
		t.Fatal(err)
	}
	for serial, k := range keys {
		if !strings.Contains(string(e.Signed), `"`+string(serial)+`":{"signatures":[{"keyid":"`+string(k.ClientID())+`"`) {
			t.Errorf("%s: %s is not the id of the client", serial, k.ClientID())
		}
	}
}

func TestKeyForms(t *testing.T) {
	for _, name := range []string{"rsa2048-1", "rsa3072", "rsa4096"} {
		k := public(t, fixtures.Key(name))
		for _, f := range []uptane.Flavour{uptane.Uptane, uptane.TUF} {
			again, err := uptane.ParseKey(k.Wire(f))
			if err != nil || again != k {
				t.Errorf("%s as %s: %v", name, f, err)
			}
		}
		if again, err := uptane.ParseSPKI(k.SPKI()); err != nil || again != k {
			t.Errorf("%s as SPKI: %v", name, err)
		}
		noNewline := strings.Replace(string(k.Wire(uptane.Uptane)), `-----\n"`, `-----"`, 1)
		if again, err := uptane.ParseKey([]byte(noNewline)); err != nil || again != k {
			t.Errorf("%s without final newline: %v", name, err)
		}
	}
	k := public(t, ed("x"))
	if got := string(k.Wire(uptane.TUF)); !strings.Contains(got, `"keytype":"ed25519"`) || !strings.Contains(got, `"scheme":"ed25519"`) {
		t.Errorf("got %s", got)
	}
	upper := strings.ToUpper(string(k.Wire(uptane.Uptane)))
	upper = strings.NewReplacer("KEYTYPE", "keytype", "KEYVAL", "keyval", "PUBLIC", "public").Replace(upper)
	if again, err := uptane.ParseKey([]byte(upper)); err != nil || again != k {
		t.Errorf("upper-case hex: %v", err)
	}
}

func TestKeysRefused(t *testing.T) {
	rsa := string(public(t, fixtures.Key("rsa2048-1")).Wire(uptane.Uptane))
	for name, raw := range map[string]string{
		"ECDSA":              `{"keytype":"ECPRIME256V1","keyval":{"public":"00"}}`,
		"short":              `{"keytype":"ED25519","keyval":{"public":"00"}}`,
		"no hex":             `{"keytype":"ED25519","keyval":{"public":"xx"}}`,
		"private":            `{"keytype":"ED25519","keyval":{"private":"00","public":"e8b819c020ce57f72521452d341875bb6eb311ecca3cbb711efb63f38e68cde1"}}`,
		"other scheme":       `{"keytype":"ED25519","keyval":{"public":"e8b819c020ce57f72521452d341875bb6eb311ecca3cbb711efb63f38e68cde1"},"scheme":"x"}`,
		"no PEM":             `{"keytype":"RSA","keyval":{"public":"x"}}`,
		"text before PEM":    strings.Replace(rsa, `-----BEGIN`, `x\n-----BEGIN`, 1),
		"text after PEM":     strings.Replace(rsa, `-----\n"`, `-----\nx"`, 1),
		"type does not fit":  strings.Replace(rsa, `"RSA"`, `"ED25519"`, 1),
		"unknown and public": `{"keytype":"unknown","keyval":{"public":"00"}}`,
	} {
		if k, err := uptane.ParseKey([]byte(raw)); !errors.Is(err, uptane.ErrKey) || !k.IsZero() {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, name := range []string{"rsa1024", "ec256"} {
		if _, err := uptane.NewKey(fixtures.Key(name).Public()); !errors.Is(err, uptane.ErrKey) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := uptane.ParseKey([]byte(`{"keytype":"RSA"}`)); !errors.Is(err, uptane.ErrMalformed) {
		t.Errorf("no keyval: %v", err)
	}
}

func TestSignatures(t *testing.T) {
	msg := []byte("message")
	for _, key := range []string{"rsa2048-1", "rsa3072", "rsa4096"} {
		s, err := uptane.Sign(fixtures.Key(key), msg)
		if err != nil {
			t.Fatal(err)
		}
		for _, method := range []string{"rsassa-pss", "rsassa-pss-sha256"} {
			if err := s.Key.Verify(method, msg, s.Sig); err != nil {
				t.Errorf("%s %s: %v", key, method, err)
			}
		}
		if err := s.Key.Verify("ed25519", msg, s.Sig); !errors.Is(err, uptane.ErrSignature) {
			t.Errorf("%s as ed25519: %v", key, err)
		}
		if err := s.Key.Verify("rsassa-pss", []byte("Message"), s.Sig); !errors.Is(err, uptane.ErrSignature) {
			t.Errorf("%s over other bytes: %v", key, err)
		}
	}
	if _, err := uptane.Sign(fixtures.Key("ec256"), msg); !errors.Is(err, uptane.ErrKey) {
		t.Errorf("ECDSA signs: %v", err)
	}
	if err := (uptane.Key{}).Verify("ed25519", msg, make([]byte, 64)); !errors.Is(err, uptane.ErrSignature) {
		t.Errorf("no key verifies: %v", err)
	}
}

func TestCustomKeepsWhatItDoesNotKnow(t *testing.T) {
	in := `{"cliUploaded":false,"createdAt":"2026-01-01T01:00:00.5+01:00","hardwareIds":["a","b"],"name":"n","own":{"x":[9007199254740993]},"targetFormat":"OSTREE","uri":null,"version":4}`
	var c uptane.Custom
	if err := json.Unmarshal([]byte(in), &c); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer("01:00:00.5+01:00", "00:00:00Z", `"version":4`, `"version":"4"`).Replace(in)
	if string(out) != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
	for _, bad := range []string{`{"hardwareIds":"a"}`, `{"hardwareIds":[""]}`, `{"releaseCounter":-1}`, `{"version":null,"name":5}`,
		`{"ecuIdentifiers":{"a":{}}}`, `{"createdAt":"yesterday"}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &c); !errors.Is(err, uptane.ErrMalformed) {
			t.Errorf("%s: got %v", bad, err)
		}
	}
	both := uptane.Custom{HardwareIDs: []uptane.HardwareID{"a"}, ECUs: map[uptane.ECUSerial]uptane.HardwareID{"s": "a"}}
	if _, err := both.MarshalJSON(); err == nil {
		t.Error("an entry with hardware ids and ECUs matches nowhere and must not be written")
	}
}
