package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealift/director"
	"sealift/fixtures/device"
	"sealift/gateway"
	"sealift/internal/db/dbtest"
	"sealift/internal/home"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/uptane"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// move is a server that is replaced by another, with a device in the field.
type move struct {
	t      *testing.T
	dir    string
	s      settings
	o      importOptions
	old    *fleetServer
	ca     pki.Authority
	client *x509.Certificate
}

func newMove(t *testing.T, database string) *move {
	t.Helper()
	t.Setenv("SEALIFT_PASSPHRASE", "of the offline folder")
	t.Setenv("GARAGE_SIGN_PASSPHRASE", "of the builds")
	t.Setenv("DB_ENCRYPTION_SALT", oldSalt)
	t.Setenv("DB_ENCRYPTION_PASSWORD", oldPassword)
	m := &move{t: t, dir: t.TempDir(), old: newFleetServer(t)}
	m.s = settings{Data: filepath.Join(m.dir, "data"), MasterKey: filepath.Join(m.dir, "master"), DatabaseURL: database,
		GatewayURL: "https://localhost:1", APIURL: "https://localhost:2", Dev: true, ListenGateway: "127.0.0.1:1", ListenAPI: "127.0.0.1:2"}
	m.o = importOptions{dir: filepath.Join(m.dir, "old"), Offline: filepath.Join(m.dir, "offline"), Out: filepath.Join(m.dir, "out"),
		Blobs: filepath.Join(m.dir, "old", "blobs"), DeviceCAs: []string{filepath.Join(m.dir, "ca.pem")}}
	var err error
	m.ca, err = pki.NewDeviceRoot(time.Now(), "the old fleet")
	must(t, err)
	key, err := pki.NewKey()
	must(t, err)
	m.client, err = m.ca.NewClient(time.Now(), oldCar, 24*time.Hour, key.Public())
	must(t, err)
	must(t, os.WriteFile(m.o.DeviceCAs[0], certificatePEM(m.ca.Cert), 0o600))
	must(t, runInit(t.Context(), m.s, initOptions{Offline: m.o.Offline, Out: m.o.Out, KeyType: "ed25519", ForImport: true}, io.Discard))
	return m
}

// car is the device with the state that it has, behind a way to a server.
func (m *move) car(way http.RoundTripper) *device.Device {
	m.t.Helper()
	d, err := device.New(device.Config{Gateway: "https://old.example", OEMID: oldCar, Dir: filepath.Join(m.dir, "car"), Transport: way,
		Primary: device.ECU{HardwareID: "board"}, Backoff: time.Millisecond})
	must(m.t, err)
	return d
}

func (m *move) polls(d *device.Device, want device.Outcome) {
	m.t.Helper()
	if r, err := d.Poll(m.t.Context()); err != nil || r.Outcome != want {
		m.t.Fatalf("the device: %+v, %v; want %s", r, err, want)
	}
}

func (m *move) open() *services {
	m.t.Helper()
	v, err := openServices(m.t.Context(), m.s, discard(), false)
	must(m.t, err)
	return v
}

// way leads to the gateway of services, with the device's certificate.
type way struct {
	http.Handler
	cert *x509.Certificate
}

func (w way) RoundTrip(q *http.Request) (*http.Response, error) {
	r := q.Clone(q.Context())
	r.RequestURI, r.RemoteAddr = r.URL.RequestURI(), "192.0.2.1:1234"
	r.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{w.cert}}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec.Result(), nil
}

func (m *move) way(v *services) way {
	m.t.Helper()
	h, err := v.Gateway(gateway.Config{Log: discard()})
	must(m.t, err)
	return way{h, m.client}
}

func (m *move) imports() (string, error) {
	var out bytes.Buffer
	err := runImport(m.t.Context(), m.s, m.o, &out)
	return out.String(), err
}

// engines runs a test on both.
func engines(t *testing.T, run func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { run(t, "") })
	t.Run("postgres", func(t *testing.T) { run(t, dbtest.PostgresURL(t)) })
}

// TestAFleetMovesFromAnotherServer: a device that trusts the old server goes on at
// the new one, with nothing but the next versions.
func TestAFleetMovesFromAnotherServer(t *testing.T) {
	engines(t, func(t *testing.T, database string) {
		m := newMove(t, database)
		car := m.car(m.old)
		m.polls(car, device.NothingNew)
		m.old.offer(car.Primary(), "app-1")
		m.polls(car, device.Installed)
		m.old.dump(m.o.dir)

		out, err := m.imports()
		if err != nil || !strings.Contains(out, "root 3 and targets 6 of the Image repository, root 2 of the Director, 1 devices, 1 images") {
			t.Fatalf("%s, %v", out, err)
		}
		v := m.open()
		m.marked(v, 5)
		car = m.car(m.way(v))
		m.polls(car, device.NothingNew)

		// The next image, signed with the key that came from the old server.
		h, err := home.Open(filepath.Join(m.o.Offline, "image"), home.Options{Passphrases: &home.Passphrases{Getenv: os.Getenv, Names: []string{"SEALIFT_PASSPHRASE"}}})
		must(t, err)
		m.release(v, h, "app-2")
		m.assign(v, car, "app-2")
		m.polls(car, device.Installed)

		m.rotate(v, h)
		m.release(v, h, "app-3")
		m.assign(v, car, "app-3")
		m.polls(car, device.Installed)
		m.marked(v, 3) // those of the Director are still to be replaced
		must(t, v.close())

		before := m.traces()
		if out, err = m.imports(); err != nil || !strings.Contains(out, "Nothing has changed") {
			t.Fatalf("once more: %s, %v", out, err)
		}
		if after := m.traces(); after != before {
			t.Errorf("a second import changed something:\n%s\n%s", before, after)
		}
		m.old.image.rotate(uptane.RoleRoot)
		m.old.dump(m.o.dir)
		if _, err := m.imports(); !errors.Is(err, keys.ErrImportConflict) {
			t.Errorf("a root that the old server made afterwards: %v", err)
		}
	})
}

// marked wants so many imported keys in force.
func (m *move) marked(v *services, want int) {
	m.t.Helper()
	held, err := v.Vault.Custody(m.t.Context(), defaultNamespace)
	must(m.t, err)
	n := 0
	for _, h := range held {
		if h.InRoot && !h.Imported.IsZero() {
			n++
		}
		if h.Place != keys.PlaceOffline && (h.Role == uptane.RoleRoot || h.Role == uptane.RoleTargets && h.Repository == uptane.ImageRepository) {
			m.t.Errorf("key %s of %s of the %s repository is on the server", h.Key.ID(), h.Role, h.Repository)
		}
	}
	if n != want {
		m.t.Errorf("%d imported keys sign, want %d", n, want)
	}
}

// release signs an image offline and publishes it.
func (m *move) release(v *services, h *home.Home, name string) {
	m.t.Helper()
	ctx, content := m.t.Context(), []byte("the bytes of "+name)
	app, version, _ := strings.Cut(name, "-")
	stored, err := v.Repo.PutImage(ctx, defaultNamespace, name, int64(len(content)), bytes.NewReader(content), "test")
	must(m.t, err)
	target := (&fleetServer{blobs: map[string][]byte{name: content}}).target(name, uptane.Custom{Name: app, Version: version, HardwareIDs: []uptane.HardwareID{"board"}, TargetFormat: uptane.FormatBinary})
	if target.SHA256() != stored.SHA256 {
		m.t.Fatal("other bytes were stored")
	}
	must(m.t, h.AddTarget(target))
	signed, err := h.SignTargets(ctx, home.Signing{Keys: []string{"targets"}, Expires: time.Now().Add(365 * 24 * time.Hour)})
	must(m.t, err)
	sum, err := h.Checksum()
	must(m.t, err)
	sum, err = v.Repo.PutTargets(ctx, defaultNamespace, signed.Uptane, sum, "test")
	must(m.t, err)
	must(m.t, h.Pushed(uptane.RoleTargets, signed, sum))
}

func (m *move) assign(v *services, car *device.Device, name string) {
	m.t.Helper()
	ctx := m.t.Context()
	update, err := v.Director.CreateUpdate(ctx, defaultNamespace, name, map[uptane.HardwareID]director.UpdateTarget{"board": {To: director.Image{Filename: name}}})
	must(m.t, err)
	id, _, err := v.Registry.EnsureDevice(ctx, defaultNamespace, car.OEMID())
	must(m.t, err)
	res, err := v.Director.Assign(ctx, defaultNamespace, director.AssignRequest{Update: update.ID, Devices: []uptane.DeviceID{id}})
	if err != nil || len(res.Affected) != 1 {
		m.t.Fatalf("assigning %s: %+v, %v", name, res, err)
	}
}

// rotate replaces the imported online keys of the Image repository.
func (m *move) rotate(v *services, h *home.Home) {
	m.t.Helper()
	ctx := m.t.Context()
	for _, role := range []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp} {
		key, err := v.Vault.GenerateOnline(ctx, defaultNamespace, uptane.ImageRepository, role, "")
		must(m.t, err)
		must(m.t, h.EditRoot(func(root *metadata.RootType) error { return home.ReplaceKeys(root, role, key) }))
	}
	signed, err := h.SignRoot(ctx, home.Signing{Keys: []string{"root"}})
	must(m.t, err)
	must(m.t, v.Repo.PutRoot(ctx, defaultNamespace, signed.Uptane))
}

// traces are what must not change: the audit, and the files outside the data.
func (m *move) traces() string {
	m.t.Helper()
	v := m.open()
	defer func() { must(m.t, v.close()) }()
	acts, err := v.Vault.Acts(m.t.Context(), defaultNamespace, "", 1000)
	must(m.t, err)
	text := fmt.Sprintf("%d acts", len(acts))
	for _, dir := range []string{m.o.Offline, m.o.Out} {
		must(m.t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				raw, _ := os.ReadFile(path)
				text += fmt.Sprintf("\n%s %s", path, home.ChecksumOf(raw))
			}
			return err
		}))
	}
	return text
}

// TestWhatCannotBeImportedLeavesNothing: each wrong input is refused with a reason,
// and the right one is taken by the same server afterwards.
func TestWhatCannotBeImportedLeavesNothing(t *testing.T) {
	m := newMove(t, "")
	car := m.car(m.old)
	m.polls(car, device.NothingNew)
	older := m.old.image.docs["targets.json"]
	m.old.republish()
	m.old.dump(m.o.dir)
	at := func(name string) string { return filepath.Join(m.o.dir, name) }
	swap := func(name, from, to string) func() {
		return func() {
			raw, err := os.ReadFile(at(name))
			must(t, err)
			changed := strings.Replace(string(raw), from, to, 1)
			if changed == string(raw) {
				t.Fatalf("%s has no %s", name, from)
			}
			m.old.write(at(name), []byte(changed))
		}
	}
	other := fixtureDump(t, m.old)
	blob, err := filepath.Glob(at("blobs/*/*/*"))
	must(t, err)
	for _, c := range []struct {
		what, want string
		spoil      func()
	}{
		{"wrong password", "salt or password are wrong", func() { t.Setenv("DB_ENCRYPTION_PASSWORD", strings.Repeat("x", 64)) }},
		{"no password", "DB_ENCRYPTION_PASSWORD is not set", func() { t.Setenv("DB_ENCRYPTION_PASSWORD", "") }},
		{"a gap in the roots", "2.root.json is missing", func() { must(t, os.Remove(at("image/2.root.json"))) }},
		{"no roots", "1.root.json is missing", func() { must(t, os.RemoveAll(at("director"))) }},
		{"a root of others", "signature", func() { m.old.write(at("image/2.root.json"), other["2.root.json"]) }},
		{"targets of others", "targets.json", func() { m.old.write(at("image/targets.json"), other["targets.json"]) }},
		{"older targets", "snapshot.json is of other targets", func() { m.old.write(at("image/targets.json"), older) }},
		{"no dump", "keys.sql", func() { must(t, os.Remove(at("keys.sql"))) }},
		{"a key that is not there", "private keys are there that snapshot needs", func() { m.old.write(at("keys.sql"), []byte(m.old.keyTable(m.old.image.keys[uptane.RoleSnapshot]))) }},
		{"another private key", "is another one's", func() {
			a, b := encryptOld(t, privateObject(t, m.old.image.keys[uptane.RoleSnapshot])), encryptOld(t, privateObject(t, m.old.image.keys[uptane.RoleTimestamp]))
			swap("keys.sql", a, b)()
		}},
		{"a damaged image", "are damaged", func() { m.old.write(blob[0], []byte("other bytes!!")) }},
		{"no image", "are not in", func() { must(t, os.Remove(blob[0])) }},
		{"a dump cut off", "ends in the middle", func() { m.old.write(at("director.sql"), []byte("INSERT INTO `ecus` (`device_id`) VALUES (")) }},
		{"no key of an ECU", "importing device", swap("director.sql", "keytype", "keyTYPE")},
		{"no CA", "not one certificate", func() { m.o.DeviceCAs = []string{at("keys.sql")} }},
	} {
		keep := m.o
		c.spoil()
		if out, err := m.imports(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %s, %v; want %q", c.what, out, err, c.want)
		}
		m.nothingIsHere(c.what)
		m.o = keep
		t.Setenv("DB_ENCRYPTION_PASSWORD", oldPassword)
		m.old.dump(m.o.dir)
	}
	if out, err := m.imports(); err != nil {
		t.Fatalf("the right input: %s, %v", out, err)
	}
	v := m.open()
	defer func() { must(t, v.close()) }()
	m.polls(m.car(m.way(v)), device.NothingNew)
}

// fixtureDump are documents of another server, of the same names.
func fixtureDump(t *testing.T, not *fleetServer) map[string][]byte {
	r := newFleetRepository(t, uptane.ImageRepository)
	r.keys[uptane.RoleRoot], r.keys[uptane.RoleTargets] = not.director.keys[uptane.RoleRoot], not.director.keys[uptane.RoleTargets]
	r.putRoot()
	r.publish(nil)
	return r.docs
}

func (m *move) nothingIsHere(what string) {
	m.t.Helper()
	v := m.open()
	defer func() { must(m.t, v.close()) }()
	ctx := m.t.Context()
	if _, err := v.Vault.RootVersion(ctx, defaultNamespace, uptane.ImageRepository); !errors.Is(err, keys.ErrNoRoot) {
		m.t.Errorf("%s: there is a root: %v", what, err)
	}
	if i, err := v.Vault.Import(ctx, defaultNamespace); err != nil || !i.Begun.IsZero() {
		m.t.Errorf("%s: an import has begun: %+v, %v", what, i, err)
	}
	for _, place := range []string{"image", "director", unfinishedHomes} {
		if _, err := os.Stat(filepath.Join(m.o.Offline, place)); err == nil {
			m.t.Errorf("%s: there is %s", what, place)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(m.s.Data, "rehearsal-*")); len(left) > 0 {
		m.t.Errorf("%s: %s was left", what, left)
	}
}

// TestAnImportThatBrokeOffIsFinished: devices get nothing in between.
func TestAnImportThatBrokeOffIsFinished(t *testing.T) {
	engines(t, func(t *testing.T, database string) {
		m := newMove(t, database)
		car := m.car(m.old)
		m.polls(car, device.NothingNew)
		m.old.dump(m.o.dir)
		m.o.OnlineTargets = true
		must(t, os.WriteFile(m.o.Out, nil, 0o600)) // in the way of the archives, which come last
		if _, err := m.imports(); err == nil || !strings.Contains(err.Error(), "devices get nothing until the same command has succeeded") {
			t.Fatal(err)
		}
		v := m.open()
		for _, path := range []string{"/repo/timestamp.json", "/repo/1.root.json", "/director/targets.json"} {
			if status := m.get(v, path); status != http.StatusServiceUnavailable {
				t.Errorf("%s of half an import: %d", path, status)
			}
		}
		must(t, v.close())
		must(t, os.Remove(m.o.Out))
		out, err := m.imports()
		if err != nil || !strings.Contains(out, "WARNING: the targets key") {
			t.Fatalf("%s, %v", out, err)
		}
		v = m.open()
		defer func() { must(t, v.close()) }()
		m.polls(m.car(m.way(v)), device.NothingNew)
		if list, err := v.Vault.OnlineKeys(t.Context(), defaultNamespace, uptane.ImageRepository, uptane.RoleTargets); err != nil || len(list) != 1 {
			t.Errorf("the targets key that was asked for: %v, %v", list, err)
		}
	})
}

func (m *move) get(v *services, path string) int {
	m.t.Helper()
	q, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, "https://old.example"+path, nil)
	must(m.t, err)
	res, err := m.way(v).RoundTrip(q)
	must(m.t, err)
	return res.StatusCode
}
