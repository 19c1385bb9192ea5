package main

import (
	"bytes"
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

func TestLines(t *testing.T) {
	for want, f := range map[string]figure{
		"a 1.5 x goal >= 1 met":                                {Name: "a", Value: 1.5, Unit: "x", Op: ">=", Goal: 1},
		"a 3.01 x goal <= 3 missed":                            {Name: "a", Value: 3.01, Unit: "x", Op: "<=", Goal: 3},
		"a 12 s goal none reported":                            {Name: "a", Value: 12, Unit: "s"},
		"a - x goal <= 3 not-measured: nginx is not installed": {Name: "a", Unit: "x", Op: "<=", Goal: 3, Missing: "nginx is not installed"},
	} {
		if f = f.judged(); f.String() != want || f.Missing != "" && f.Met {
			t.Errorf("%q, met %v, want %q", f, f.Met, want)
		}
	}
	if m := median([]float64{9, 1, 5}); m != 5 {
		t.Errorf("median %v", m)
	}
}

// TestTheLoadIsHonest: what riders send passes the server's own checks, and the
// handler we are held against looks at the signatures too.
func TestTheLoadIsHonest(t *testing.T) {
	r, err := newRider("car-1")
	if err != nil {
		t.Fatal(err)
	}
	registration, err := uptane.ParseRegistration(r.registration())
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := r.manifest()
	if err != nil {
		t.Fatal(err)
	}
	m, err := uptane.VerifyManifest(manifest, registration.Primary, map[uptane.ECUSerial]uptane.Key{registration.Primary: registration.ECUs[0].Key})
	if err != nil || len(m.Reports) != 1 || *m.Reports[0].Counter != 1 {
		t.Errorf("%+v, %v", m, err)
	}
	c := bareConfig{ECUs: map[string]ed25519.PublicKey{r.serial(): r.key.Public().(ed25519.PublicKey)}}
	put := func(body []byte) int {
		rec := httptest.NewRecorder()
		c.takeManifest(rec, httptest.NewRequest(http.MethodPut, "/director/manifest", bytes.NewReader(body)))
		return rec.Code
	}
	if got := put(manifest); got != http.StatusOK {
		t.Errorf("a good manifest: %d", got)
	}
	other, err := newRider("car-2")
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(manifest, []byte(`"primary_ecu_serial"`), []byte(`"more":1,"primary_ecu_serial"`), 1)
	forged, err := r.sign(object("ecu_version_manifests", object(r.serial(), must(other.sign(object("a", "b")))), "primary_ecu_serial", r.serial()))
	if err != nil {
		t.Fatal(err)
	}
	for what, body := range map[string][]byte{"the whole": changed, "the report": forged.Uptane()} {
		if got := put(body); got != http.StatusBadRequest {
			t.Errorf("a wrong signature of %s: %d", what, got)
		}
	}
}

func must(v canonical.Value, err error) canonical.Value {
	if err != nil {
		panic(err)
	}
	return v
}

func TestCPUTime(t *testing.T) {
	before, err := cpuSeconds(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for x, after := 0, before; after-before < 0.05; x++ {
		if after, err = cpuSeconds(os.Getpid()); err != nil || x > 1e7 {
			t.Fatalf("%v seconds after so much work, %v", after-before, err)
		}
	}
}
