package main

import (
	"bytes"
	"context"
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
	"sealift/fixtures/oldserver"
	"sealift/gateway"
	"sealift/internal/db/dbtest"
	"sealift/internal/home"
	"sealift/keys"
	"sealift/uptane"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// move is a server that is replaced by another, with devices in the field.
type move struct {
	t     *testing.T
	dir   string
	s     settings
	o     importOptions
	old   *oldserver.Server
	certs map[uptane.OEMID]*x509.Certificate
}

func newMove(t *testing.T, database string) *move {
	t.Helper()
	t.Setenv("SEALIFT_PASSPHRASE", "of the offline folder")
	t.Setenv("GARAGE_SIGN_PASSPHRASE", "of the builds")
	t.Setenv("DB_ENCRYPTION_SALT", oldserver.Salt)
	t.Setenv("DB_ENCRYPTION_PASSWORD", oldserver.Password)
	m := &move{t: t, dir: t.TempDir(), old: oldserver.New(time.Now(), "localhost"), certs: map[uptane.OEMID]*x509.Certificate{}}
	m.s = settings{Data: filepath.Join(m.dir, "data"), MasterKey: filepath.Join(m.dir, "master"), DatabaseURL: database,
		GatewayURL: "https://localhost:1", APIURL: "https://localhost:2", Dev: true, ListenGateway: "127.0.0.1:1", ListenAPI: "127.0.0.1:2"}
	m.o = importOptions{dir: filepath.Join(m.dir, "old"), Offline: filepath.Join(m.dir, "offline"), Out: filepath.Join(m.dir, "out"),
		Blobs: filepath.Join(m.dir, "old", "blobs"), DeviceCAs: []string{filepath.Join(m.dir, "ca.pem")}}
	must(t, os.WriteFile(m.o.DeviceCAs[0], m.old.DeviceCA(), 0o600))
	must(t, runInit(t.Context(), m.s, initOptions{Offline: m.o.Offline, Out: m.o.Out, KeyType: "ed25519", ForImport: true}, io.Discard))
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// car is a device with the state that it has, behind a gateway.
func (m *move) car(name uptane.OEMID, gateway http.Handler) *device.Device {
	m.t.Helper()
	if m.certs[name] == nil {
		m.certs[name] = m.old.Certificate(string(name))
	}
	d, err := device.New(device.Config{Gateway: "https://old.example", OEMID: name, Dir: filepath.Join(m.dir, string(name)), Transport: way{gateway, m.certs[name]},
		Primary: device.ECU{HardwareID: "board"}, Backoff: time.Millisecond})
	must(m.t, err)
	return d
}

func (m *move) polls(d *device.Device, want device.Outcome) device.Result {
	m.t.Helper()
	r, err := d.Poll(m.t.Context())
	if err != nil || r.Outcome != want {
		m.t.Fatalf("device %s: %+v, %v; want %s", d.OEMID(), r, err, want)
	}
	return r
}

func (m *move) open() *services {
	m.t.Helper()
	v, err := openServices(m.t.Context(), m.s, discard(), false)
	must(m.t, err)
	return v
}

// way leads to a gateway with a device's certificate.
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

func (m *move) gateway(v *services) http.Handler {
	m.t.Helper()
	h, err := v.Gateway(gateway.Config{Log: discard()})
	must(m.t, err)
	return h
}

func (m *move) imports() (string, error) { return m.importsUntil("") }

// importsUntil runs an import that is interrupted when it has said something.
func (m *move) importsUntil(said string) (string, error) {
	ctx, stop := context.WithCancel(m.t.Context())
	defer stop()
	w := &interrupter{said: said, stop: stop}
	err := runImport(ctx, m.s, m.o, w)
	return w.String(), err
}

type interrupter struct {
	bytes.Buffer
	said string
	stop func()
}

func (i *interrupter) Write(text []byte) (int, error) {
	n, err := i.Buffer.Write(text)
	if i.said != "" && strings.Contains(i.String(), i.said) {
		i.stop()
	}
	return n, err
}

// engines runs a test on both.
func engines(t *testing.T, run func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { run(t, "") })
	t.Run("postgres", func(t *testing.T) { run(t, dbtest.PostgresURL(t)) })
}

// history is what a server of some years has behind it: two of three keys for the
// root, two for the snapshot, keys that were replaced, roles that no device of ours
// knows, and suppliers, one below the other.
func (m *move) history() {
	s := m.old
	s.Image.Change(uptane.RoleRoot, oldserver.Signers(2, "anna", "ben", "clara"))
	s.Image.AddOffline()
	s.Image.Change(uptane.RoleSnapshot, oldserver.Signers(2, "image snapshot a", "image snapshot b"))
	s.Image.Rotate(uptane.RoleTargets)
	s.Director.Change(uptane.RoleRoot, oldserver.Signers(2, "dora", "emil", "frida"))
	s.Director.Rotate(uptane.RoleTargets)
	s.Director.Rotate(uptane.RoleTimestamp)
	s.Delegate(uptane.RoleTargets, "radio", oldserver.Signers(2, "radio a", "radio b"), "radio-*", "board", "radio-1", "radio-2")
	s.Delegate("radio", "tuner", oldserver.Signers(1, "tuner"), "radio-tuner-*", "board", "radio-tuner-1")
	s.Commit("os-1", "board")
}

// TestAFleetMovesFromAnotherServer: devices that trust the old server, each as far
// as it came, go on at the new one, with nothing but the next versions.
func TestAFleetMovesFromAnotherServer(t *testing.T) {
	engines(t, func(t *testing.T, database string) {
		m := newMove(t, database)
		early, late, odd := m.car("early", m.old.Gateway()), m.car("late", m.old.Gateway()), m.car("odd", m.old.Gateway())
		m.polls(early, device.NothingNew)
		m.old.Offer("early", early.Primary(), "board", "app-1")
		m.polls(early, device.Installed)
		m.history()
		m.polls(late, device.NothingNew)
		m.old.Offer("late", late.Primary(), "board", "radio-tuner-1")
		seen := m.polls(late, device.Installed)
		if seen.Image.Root != 4 || seen.Director.Root != 4 {
			t.Fatalf("the late device: %+v", seen)
		}
		m.polls(odd, device.NothingNew)
		m.old.RaiseDirector("odd", 50_000_000)
		m.polls(odd, device.NothingNew)
		m.old.Dump(m.o.dir)

		m.o.DirectorVersion = 50_000_040
		out, err := m.imports()
		if err != nil || !strings.Contains(out, "root 4 and targets 4 of the Image repository, 2 delegated roles, root 4 of the Director, 13 private keys, 3 devices, 4 images") ||
			!strings.Contains(out, "Not here yet, bring it before it is assigned: ") {
			t.Fatalf("%s, %v", out, err)
		}
		v := m.open()
		m.red(v, 13)
		for _, name := range []uptane.OEMID{"early", "late", "odd"} {
			m.polls(m.car(name, m.gateway(v)), device.NothingNew)
		}

		// The next image, signed with the key that came from the old server.
		h := m.home("image")
		m.release(v, h, "app-2")
		early, late = m.car("early", m.gateway(v)), m.car("late", m.gateway(v))
		m.assign(v, early, "app-2")
		if now := m.polls(early, device.Installed); now.Image.Root != 4 {
			t.Errorf("the device that saw root 1: %+v", now)
		}
		m.assign(v, late, "radio-2")
		now := m.polls(late, device.Installed)
		if now.Image.Timestamp <= seen.Image.Timestamp || now.Director.Targets <= seen.Director.Targets || now.Image.Snapshot <= seen.Image.Snapshot {
			t.Errorf("versions after the import: %+v, before: %+v", now, seen)
		}

		// New keys for everything that signed or was kept on the old server.
		m.rotate(v, h, uptane.ImageRepository)
		m.rotate(v, m.home("director"), uptane.DirectorRepository)
		m.red(v, 0)
		m.release(v, h, "app-3")
		for _, name := range []uptane.OEMID{"early", "late", "odd"} {
			car := m.car(name, m.gateway(v))
			m.assign(v, car, "app-3")
			m.polls(car, device.Installed)
		}
		must(t, v.close())
		m.again()
	})
}

// again imports once more: nothing changes, unless the old server has gone on.
func (m *move) again() {
	m.t.Helper()
	before := m.traces()
	if out, err := m.imports(); err != nil || !strings.Contains(out, "Nothing has changed") {
		m.t.Fatalf("once more: %s, %v", out, err)
	}
	if after := m.traces(); after != before {
		m.t.Errorf("a second import changed something:\n%s\n%s", before, after)
	}
	m.old.Upload("app-9", []byte("too late"), "board")
	m.old.Dump(m.o.dir)
	if _, err := m.imports(); !errors.Is(err, keys.ErrImportConflict) {
		m.t.Errorf("targets that the old server published afterwards: %v", err)
	}
	m.old.Image.Rotate(uptane.RoleTimestamp)
	m.old.Republish()
	m.old.Dump(m.o.dir)
	if _, err := m.imports(); !errors.Is(err, keys.ErrImportConflict) {
		m.t.Errorf("a root that the old server made afterwards: %v", err)
	}
}

// red wants so many keys in force that the old server had.
func (m *move) red(v *services, want int) {
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
		m.t.Errorf("%d imported keys are in force, want %d", n, want)
	}
}

func (m *move) home(name string) *home.Home {
	m.t.Helper()
	h, err := home.Open(filepath.Join(m.o.Offline, name), home.Options{Passphrases: &home.Passphrases{Getenv: os.Getenv, Names: []string{"SEALIFT_PASSPHRASE"}}})
	must(m.t, err)
	return h
}

// release signs an image offline and publishes it.
func (m *move) release(v *services, h *home.Home, name string) {
	m.t.Helper()
	ctx, content := m.t.Context(), []byte("the bytes of "+name)
	app, version, _ := strings.Cut(name, "-")
	stored, err := v.Repo.PutImage(ctx, defaultNamespace, name, int64(len(content)), bytes.NewReader(content), "test")
	must(m.t, err)
	target := uptane.Target{Filename: name, Length: stored.Length, Hashes: metadata.Hashes{"sha256": unhex(m.t, stored.SHA256)},
		Custom: uptane.Custom{Name: app, Version: version, HardwareIDs: []uptane.HardwareID{"board"}, TargetFormat: uptane.FormatBinary}}
	must(m.t, h.AddTarget(target))
	signed, err := h.SignTargets(ctx, home.Signing{Keys: m.named(h, uptane.RoleTargets), Expires: time.Now().Add(365 * 24 * time.Hour)})
	must(m.t, err)
	sum, err := h.Checksum()
	must(m.t, err)
	sum, err = v.Repo.PutTargets(ctx, defaultNamespace, signed.Uptane, sum, "test")
	must(m.t, err)
	must(m.t, h.Pushed(uptane.RoleTargets, signed, sum))
}

// named are the names that a home gives to its keys of a role.
func (m *move) named(h *home.Home, role uptane.Role) (names []string) {
	m.t.Helper()
	roots, err := h.Roots()
	must(m.t, err)
	last, err := uptane.OpenRoot(uptane.Uptane, roots[len(roots)-1].Uptane, nil, time.Time{})
	must(m.t, err)
	ring, err := uptane.RingOf(uptane.Uptane, &last.Payload, role)
	must(m.t, err)
	for _, key := range ring.Keys {
		if name := h.Keys().Named(key); name != "" {
			names = append(names, name)
		}
	}
	return names
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

// rotate gives every role of a repository one new key, made where it belongs.
func (m *move) rotate(v *services, h *home.Home, repository uptane.Repository) {
	m.t.Helper()
	ctx, old := m.t.Context(), m.named(h, uptane.RoleRoot)
	for _, role := range importRoles() {
		var key uptane.Key
		var err error
		if role == uptane.RoleRoot || role == uptane.RoleTargets && repository == uptane.ImageRepository {
			key, err = h.Keys().Generate("new-"+string(role), home.Ed25519, 0, true)
		} else {
			key, err = v.Vault.GenerateOnline(ctx, defaultNamespace, repository, role, "")
		}
		must(m.t, err)
		must(m.t, h.EditRoot(func(root *metadata.RootType) error { return home.ReplaceKeys(root, role, key) }))
	}
	m.publishRoot(v, h, repository, append(old, "new-root")...)
}

// publishRoot signs the root of a home, and publishes it.
func (m *move) publishRoot(v *services, h *home.Home, repository uptane.Repository, names ...string) {
	m.t.Helper()
	ctx := m.t.Context()
	signed, err := h.SignRoot(ctx, home.Signing{Keys: names})
	must(m.t, err)
	if repository == uptane.ImageRepository {
		must(m.t, v.Repo.PutRoot(ctx, defaultNamespace, signed.Uptane))
	} else {
		must(m.t, v.Vault.PutRoot(ctx, defaultNamespace, repository, signed.Uptane))
	}
	_, err = h.PullRoot(signed.Uptane, nil, true)
	must(m.t, err)
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

func (m *move) get(v *services, path string) int {
	m.t.Helper()
	q, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, "https://old.example"+path, nil)
	must(m.t, err)
	res, err := way{m.gateway(v), m.certs["car"]}.RoundTrip(q)
	must(m.t, err)
	return res.StatusCode
}
