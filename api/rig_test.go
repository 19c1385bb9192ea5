package api_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"gocloud.dev/blob"

	"sealift/access"
	"sealift/api"
	"sealift/director"
	"sealift/fixtures/device"
	"sealift/gateway"
	"sealift/internal/credentials"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/diskblob"
	"sealift/internal/home"
	"sealift/internal/hub"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/registry"
	"sealift/repo"
	"sealift/treehub"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

const ns = uptane.Namespace("default")

// server is a whole server, both edges running, with a clock that a test
// moves and the offline home that signs its images.
type server struct {
	t        *testing.T
	url      string // of the api
	archive  *credentials.Archive
	vault    *keys.Vault
	director *director.Director
	repo     *repo.Repo
	registry *registry.Registry
	image    *home.Home
	dir      *ostree.Dir
	tokens   map[access.Scope]string
	config   api.Config
	free     uint64 // bytes on the disk, of a tebibyte

	mu sync.Mutex
	at time.Time
}

func (s *server) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// wait moves the clock.
func (s *server) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = s.at.Add(d)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, free: 1 << 39, at: time.Now().UTC().Truncate(24 * time.Hour).Add(10*time.Hour + 42*time.Minute), tokens: map[access.Scope]string{}}
	ctx, d, log := t.Context(), dbtest.SQLite(t), slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	kek, err := keys.CreateFileKEK(filepath.Join(t.TempDir(), "master.key"), nil)
	check(t, err)
	s.vault, err = keys.New(ctx, keys.Config{DB: d, KEK: kek, Now: s.now, Log: log, Actor: actor})
	check(t, err)
	s.registry, err = registry.New(ctx, registry.Config{DB: d, Now: s.now, Log: log, FlushEvery: 5 * time.Millisecond, Act: s.vault.Act})
	check(t, err)
	t.Cleanup(func() { check(t, s.registry.Close()) })
	tree := s.openTreeHub(d, log)
	s.repo, err = repo.New(ctx, repo.Config{DB: d, Bucket: bucket(t), Signer: s.vault, Roots: s.vault, RootVersion: s.vault.RootVersion,
		RoleKeysSince: s.vault.RoleKeysSince, PutRoots: s.vault.PutRoots, RootTwins: s.vault, Complete: tree.RequireComplete, Act: s.vault.Act, Now: s.now, Log: log})
	check(t, err)
	s.director, err = director.New(ctx, director.Config{DB: d, Signer: s.vault, Roots: s.vault, Keys: s.vault, Images: s.repo, Journal: s.registry, Now: s.now, Log: log, Actor: actor, Act: s.vault.Act})
	check(t, err)
	t.Cleanup(func() { check(t, s.director.Close(context.Background())) })
	acc, err := access.New(ctx, access.Config{DB: d, Now: s.now, Log: log})
	check(t, err)
	check(t, acc.CreateNamespace(ctx, ns))
	for _, scope := range []access.Scope{access.Admin, access.Read} {
		s.tokens[scope], _, err = acc.CreateToken(ctx, ns, string(scope), []access.Scope{scope}, 0)
		check(t, err)
	}
	s.config = api.Config{Vault: s.vault, Director: s.director, Repo: s.repo, TreeHub: tree, Registry: s.registry, Access: acc, Log: log, Now: s.now,
		Disk: func() (uint64, uint64, error) { return s.free, 1 << 40, nil }}
	people, err := api.New(s.config)
	check(t, err)
	edge := httptest.NewServer(people)
	t.Cleanup(edge.Close)
	s.url = edge.URL
	devices, err := gateway.New(gateway.Config{Vault: s.vault, Director: s.director, Repo: s.repo, TreeHub: tree, Registry: s.registry, Log: log})
	check(t, err)
	s.makeTrust(devices)
	return s
}

// actor is whose token it is, as the server says it.
func actor(ctx context.Context) string {
	if who, ok := web.CallerFrom(ctx); ok {
		return who.String()
	}
	return "local"
}

func bucket(t *testing.T) *blob.Bucket {
	t.Helper()
	b, err := diskblob.Open(t.TempDir())
	check(t, err)
	t.Cleanup(func() { check(t, b.Close()) })
	return b
}

func (s *server) openTreeHub(d *db.DB, log *slog.Logger) *treehub.TreeHub {
	s.t.Helper()
	tree, err := treehub.New(s.t.Context(), treehub.Config{DB: d, Bucket: bucket(s.t), Now: s.now, Log: log})
	check(s.t, err)
	s.dir, err = ostree.InitDir(filepath.Join(s.t.TempDir(), "ostree"))
	check(s.t, err)
	return tree
}

// makeTrust makes CAs, roots and first targets as init does, starts the
// gateway and writes device.zip.
func (s *server) makeTrust(devices http.Handler) {
	t, ctx := s.t, s.t.Context()
	t.Helper()
	root, err := pki.NewServerRoot(s.at, "server root")
	check(t, err)
	next, err := pki.NewServerRoot(s.at, "next server root")
	check(t, err)
	issuer, err := pki.NewServerIntermediate(s.at, "servers", root)
	check(t, err)
	check(t, s.vault.ImportServerTree(ctx, keys.ServerTree{Root: root.Cert, Next: next.Cert, Issuer: issuer}))
	fleet, err := pki.NewDeviceRoot(s.at, "device root")
	check(t, err)
	factory, err := pki.NewDeviceIntermediate(s.at, "devices", fleet)
	check(t, err)
	check(t, s.vault.ImportDeviceTree(ctx, ns, fleet.Cert, factory))
	s.image = s.makeRoot(home.RepoServer, []string{"root", "targets"}, uptane.RoleSnapshot, uptane.RoleTimestamp)
	s.makeRoot(home.Director, []string{"root"}, uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp)
	_, err = s.repo.Create(ctx, ns)
	check(t, err)
	check(t, s.image.InitTargets(0, s.at.AddDate(0, 1, 0)))
	s.sign()

	tlsConfig, err := s.vault.TLSConfig(ctx, pki.Names{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	check(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", tlsConfig)
	check(t, err)
	edge := &http.Server{Handler: devices, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	go func() { _ = edge.Serve(listener) }()
	t.Cleanup(func() { _ = edge.Close() })
	p12, _, err := s.vault.IssueBootstrap(ctx, keys.BootstrapRequest{Namespace: ns, Name: "test"})
	check(t, err)
	doc, err := s.vault.Root(ctx, ns, uptane.ImageRepository, 0)
	check(t, err)
	path := filepath.Join(t.TempDir(), "device.zip")
	check(t, credentials.DeviceArchive{AutoprovURL: "https://" + listener.Addr().String(), AutoprovP12: p12, ServerCA: pemOf(root.Cert, next.Cert), RootJSON: doc}.Write(path))
	s.archive, err = credentials.Open(path)
	check(t, err)
}

func pemOf(certs ...*x509.Certificate) (out []byte) {
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func (s *server) makeRoot(kind home.ServerType, offline []string, online ...uptane.Role) *home.Home {
	t, ctx := s.t, s.t.Context()
	t.Helper()
	h, err := home.Create(filepath.Join(t.TempDir(), "home"), home.Config{Reposerver: "http://localhost", ServerType: kind}, home.Options{Now: s.now})
	check(t, err)
	named := map[uptane.Role][]uptane.Key{}
	for _, name := range offline {
		key, err := h.Keys().Generate(name, home.Ed25519, 0, false)
		check(t, err)
		named[uptane.Role(name)] = []uptane.Key{key}
	}
	for _, role := range online {
		key, err := s.vault.GenerateOnline(ctx, ns, kind.Repository(), role, "")
		check(t, err)
		named[role] = []uptane.Key{key}
	}
	check(t, h.InitRoot(home.RootSpec{Expires: s.at.Add(home.RootLife), Keys: named}))
	signed, err := h.SignRoot(ctx, home.Signing{Keys: []string{"root"}})
	check(t, err)
	check(t, s.vault.PutRoots(ctx, ns, kind.Repository(), signed.Uptane, signed.TUF))
	check(t, h.Pushed(uptane.RoleRoot, signed, ""))
	return h
}

// sign signs the edited targets and publishes them.
func (s *server) sign() {
	s.t.Helper()
	s.signUntil(time.Time{})
}

// signUntil gives them another end, unless it is zero.
func (s *server) signUntil(expires time.Time) {
	s.t.Helper()
	before, err := s.image.Checksum()
	check(s.t, err)
	signed, err := s.image.SignTargets(s.t.Context(), home.Signing{Keys: []string{"targets"}, Expires: expires})
	check(s.t, err)
	after, err := s.repo.PutTargets(s.t.Context(), ns, signed.Uptane, before, "test")
	check(s.t, err)
	check(s.t, s.image.Pushed(uptane.RoleTargets, signed, after))
}

// push commits a small tree and pushes it over the api.
func (s *server) push(release string) ostree.Checksum {
	s.t.Helper()
	root := s.t.TempDir()
	check(s.t, os.WriteFile(filepath.Join(root, "release"), []byte(release), 0o644))
	commit, err := s.dir.Commit(s.t.Context(), os.DirFS(root), ostree.CommitOptions{Ref: "main", Subject: release, Timestamp: time.Unix(1e9, 0)})
	check(s.t, err)
	h, err := hub.New(hub.Config{URL: s.url + "/api/v3", Client: &http.Client{Transport: bearer{s.tokens[access.Admin]}}, Force: true})
	check(s.t, err)
	_, err = ostree.Copy(s.t.Context(), s.dir, h, commit, ostree.CopyOptions{})
	check(s.t, err)
	check(s.t, h.SetRef(s.t.Context(), "main", commit))
	return commit
}

// release pushes and signs an OSTree image for a kind of ECU.
func (s *server) release(name string, hardware uptane.HardwareID) {
	s.t.Helper()
	commit := s.push(name)
	check(s.t, s.image.AddTarget(uptane.Target{Filename: name, Hashes: metadata.Hashes{"sha256": commit[:]},
		Custom: uptane.Custom{Name: name, Version: "1", HardwareIDs: []uptane.HardwareID{hardware}, TargetFormat: uptane.FormatOSTree}}))
	s.sign()
}

// newDevice makes a simulated device with one ECU.
func (s *server) newDevice(name string, hardware uptane.HardwareID, install func(context.Context, uptane.ECUSerial, device.Image) error) *device.Device {
	s.t.Helper()
	d, err := device.New(device.Config{Archive: s.archive, OEMID: uptane.OEMID(name), Primary: device.ECU{HardwareID: hardware},
		Install: install, Now: s.now, Backoff: time.Millisecond})
	check(s.t, err)
	s.t.Cleanup(d.Close)
	return d
}

// ask sends a request with a token of that scope; the answer must have the
// status, and is decoded.
func (s *server) ask(scope access.Scope, status int, method, path, body string) any {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	check(s.t, err)
	r.Header.Set("Authorization", "Bearer "+s.tokens[scope])
	resp, err := http.DefaultClient.Do(r)
	check(s.t, err)
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	check(s.t, err)
	if resp.StatusCode != status {
		s.t.Fatalf("%s %s: %d, not %d: %s", method, path, resp.StatusCode, status, raw)
	}
	var v any
	if len(raw) > 0 && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		check(s.t, json.Unmarshal(raw, &v))
	}
	if v == nil {
		return string(raw)
	}
	return v
}

func (s *server) get(path string) any {
	s.t.Helper()
	return s.ask(access.Read, http.StatusOK, http.MethodGet, path, "")
}

// findings are what is said of a device, or of the server for "", as
// "code: text" lines.
func (s *server) findings(name string) string {
	s.t.Helper()
	path := "/api/v1/status"
	if name != "" {
		path = "/api/v1/devices/" + url.PathEscape(name) + "/overview"
	}
	var lines []string
	for _, f := range at(s.get(path), "findings").([]any) {
		lines = append(lines, fmt.Sprintf("%v %v: %v", at(f, "level"), at(f, "code"), at(f, "text")))
	}
	return strings.Join(lines, "\n")
}

// expect holds what is said of a device, or of the server, against words that
// must be there.
func (s *server) expect(name string, words ...string) {
	s.t.Helper()
	said := s.findings(name)
	for _, w := range words {
		if !strings.Contains(said, w) {
			s.t.Errorf("of %q is said:\n%s\nwhich has no %q", name, said, w)
		}
	}
}

// assign gives a target to a device.
func (s *server) assign(name string, hardware, target string) {
	s.t.Helper()
	id := at(s.get("/api/v1/devices/"+name), "uuid")
	body := fmt.Sprintf(`{"targets":{%q:%q},"devices":[%q]}`, hardware, target, id)
	s.ask(access.Admin, http.StatusCreated, http.MethodPost, "/api/v1/updates", body)
}
