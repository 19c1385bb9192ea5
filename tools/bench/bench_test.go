package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealift/keys/pki"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// TestMain is the bare handler when it is started as one, as main is.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == bareCommand {
		if err := runBare(os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestTable(t *testing.T) {
	all := []figure{
		{Name: "a", Unit: "x", Op: ">=", Goal: 1},
		{Name: "b", Unit: "x", Op: "<=", Goal: 3},
		{Name: "c", Unit: "s"},
		{Name: "d", Unit: "x", Op: "<=", Goal: 3, Missing: "nginx is not installed"},
	}
	all[0].take([]float64{2, 0.5, 1.5, 1, 9}, "a note")
	all[1].take([]float64{3.01}, "")
	all[2].take([]float64{12}, "")
	var out bytes.Buffer
	if err := printTable(&out, all); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"figure median goal verdict quartiles",
		"a 1.5 x >= 1 met 1 .. 2 of 5",
		"b 3.01 x <= 3 MISSED",
		"c 12 s - reported",
		"d - <= 3 not measured",
		"", "a: a note", "d: nginx is not installed", "",
	}
	var got []string
	for line := range strings.SplitSeq(out.String(), "\n") {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", out.String())
	}
	if all[3].Met || !all[0].Met {
		t.Errorf("%+v", all)
	}
}

// TestEveryFigureIsAccountedFor: names are unique, and a measure that fails or
// runs out of time says so of each figure it did not come to.
func TestEveryFigureIsAccountedFor(t *testing.T) {
	known := map[string]bool{}
	for _, m := range measures() {
		for _, f := range append(m.figures, figure{Name: "-only " + m.name}) {
			if known[f.Name] {
				t.Errorf("%s is there twice", f.Name)
			}
			known[f.Name] = true
		}
	}
	m := measure{name: "x", limit: time.Millisecond, figures: []figure{{Name: "first", Unit: "s"}, {Name: "second", Unit: "s"}},
		run: func(ctx context.Context, r *results) error {
			r.take("first", []float64{1}, "")
			<-ctx.Done()
			return ctx.Err()
		}}
	got, err := m.do(t.Context(), options{})
	if err != nil || got[0].Missing != "" || !strings.HasPrefix(got[1].Missing, "it took longer") {
		t.Errorf("%+v, %v", got, err)
	}
	m.limit, m.run = time.Minute, func(context.Context, *results) error { return errors.New("broken") }
	if got, err := m.do(t.Context(), options{}); err == nil || got[1].Missing == "" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestTheLoadIsHonest: what riders send passes the server's own checks, and the
// handler we are held against looks at the signatures too.
func TestTheLoadIsHonest(t *testing.T) {
	fleet := newFleet(t)
	r, other := newTestRider(t, fleet, "car-1"), newTestRider(t, fleet, "car-2")
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

// TestRivals runs a turn against both, with new connections and with kept ones,
// and holds their handshakes against one another.
func TestRivals(t *testing.T) {
	if _, err := findNginx(); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	dir := t.TempDir()
	www := filepath.Join(dir, "www", "director")
	if err := errors.Join(os.MkdirAll(www, 0o700), os.WriteFile(filepath.Join(www, "targets.json"), []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	fleet := newFleet(t)
	id, err := newIdentity(dir, fleet.Cert)
	if err != nil {
		t.Fatal(err)
	}
	devices := []*rider{newTestRider(t, fleet, "car-1"), newTestRider(t, fleet, "car-2")}
	n, err := startNginx(ctx, dir, id, "", false)
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	b, err := startBare(ctx, id, devices, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.stop()
	both := []target{{"nginx", n.address, n.process.Process.Pid}, {"bare net/http", b.address, b.process.Process.Pid}}
	if words, err := sameHandshake(ctx, both, devices[0]); err != nil || !strings.Contains(words, "TLS 1.3") {
		t.Errorf("%q, %v", words, err)
	}
	for _, x := range both {
		kept, err := x.connect(ctx, devices)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []lines{nil, kept} {
			c, err := newCourse(devices, 3)
			if err != nil {
				t.Fatal(err)
			}
			if s, err := x.turn(ctx, c, l); err != nil || s.rate <= 0 || s.cpu <= 0 {
				t.Errorf("%s: %+v, %v", x.name, s, err)
			}
		}
		kept.close()
	}
}

func newFleet(t *testing.T) pki.Authority {
	t.Helper()
	fleet, err := pki.NewDeviceRoot(time.Now(), "test fleet")
	if err != nil {
		t.Fatal(err)
	}
	return fleet
}

func newTestRider(t *testing.T, fleet pki.Authority, oemid string) *rider {
	t.Helper()
	r, err := newRider(oemid, fleet)
	if err != nil {
		t.Fatal(err)
	}
	return r
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
