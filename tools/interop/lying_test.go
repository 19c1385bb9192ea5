//go:build aktualizr

package interop

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/api"
	"sealift/fixtures"
	"sealift/fixtures/fault"
	"sealift/gateway"
	"sealift/internal/db"
	"sealift/internal/diskblob"
	"sealift/internal/home"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/tools/sealift/wiring"
	"sealift/uptane"
)

const (
	ns        uptane.Namespace = "default"
	images                     = uptane.ImageRepository
	directors                  = uptane.DirectorRepository
)

// liar is a server in this process whose gateway lies when it is told to. The
// operator's and the build's programs use it like any other.
type liar struct {
	*server
	*fault.Liar
	services *wiring.Services
	offline  map[uptane.Repository]*home.Keyring
	ear      ear
}

// startLiar runs init, opens the server's data and serves it here.
func startLiar(t *testing.T) *liar {
	t.Helper()
	s, settings := initServer(t)
	l := &liar{server: s, offline: map[uptane.Repository]*home.Keyring{}}
	passphrases := home.Options{Passphrases: &home.Passphrases{Prompt: func(string) ([]byte, error) { return []byte(offlinePassphrase), nil }}}
	for repository, folder := range map[uptane.Repository]string{images: "image", directors: "director"} {
		l.offline[repository] = home.OpenKeyring(filepath.Join(s.dir, "sealift-offline", folder, "keys"), passphrases)
	}
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l.open(t, log)
	honest, err := l.services.Gateway(gateway.Config{Log: log})
	must(t, err)
	l.Liar = fault.New(honest)
	people, err := l.services.API(api.Config{URL: s.api, Log: log})
	must(t, err)
	tls, err := l.services.Vault.TLSConfig(t.Context(), pki.Names{DNS: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	must(t, err)
	for i, handler := range []http.Handler{l.ear.listen(l.Liar), people} {
		_, address, _ := strings.Cut(settings[i], "=")
		listener, err := net.Listen("tcp", address)
		must(t, err)
		server := web.Server(handler, log)
		if server.TLSConfig = tls.Clone(); i == 1 {
			server.TLSConfig.ClientAuth = 0
		}
		go func() { _ = server.ServeTLS(listener, "", "") }()
		t.Cleanup(func() { _ = server.Close() })
	}
	s.awaitHealth(t)
	return l
}

func (l *liar) open(t *testing.T, log *slog.Logger) {
	t.Helper()
	data := filepath.Join(l.dir, "sealift-data")
	c := wiring.Config{Log: log, Actor: func(context.Context) string { return "interop" }}
	var err1, err2, err3, err4 error
	c.DB, err1 = db.Open(t.Context(), "sqlite:"+filepath.Join(data, "sealift.db"))
	c.KEK, err2 = keys.OpenFileKEK(data+".master-key", nil)
	c.Objects, err3 = diskblob.Open(filepath.Join(data, "blobs", "treehub"))
	c.Images, err4 = diskblob.Open(filepath.Join(data, "blobs", "repo"))
	must(t, errors.Join(err1, err2, err3, err4))
	var err error
	l.services, err = wiring.Open(t.Context(), c)
	must(t, err)
	t.Cleanup(func() {
		must(t, errors.Join(l.services.Close(context.Background()), c.Objects.Close(), c.Images.Close(), c.DB.Close()))
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Sign implements uptane.Signer with every key there is, online and offline.
func (l *liar) Sign(ctx context.Context, job uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	if job.Role.Delegation() {
		sig, err := uptane.Sign(supplier, msg)
		return []uptane.RawSig{sig}, err
	}
	if job.Role == uptane.RoleRoot || job.Repository == images && job.Role == uptane.RoleTargets {
		return l.offline[job.Repository].Signer(string(job.Role)).Sign(ctx, job, msg)
	}
	return l.services.Vault.Sign(ctx, job, msg)
}

// supplier signs delegated metadata.
var supplier = fixtures.Ed25519("supplier")

// documents are what a repository offers now; those of the Director are for one
// device.
func (l *liar) documents(t *testing.T, repository uptane.Repository, device string) fault.Set {
	t.Helper()
	set := fault.Set{}
	for _, name := range []string{"timestamp.json", "snapshot.json", "targets.json"} {
		if repository == images {
			doc, err := l.services.Repo.Metadata(t.Context(), ns, name)
			must(t, err)
			set[name] = doc.Bytes
			continue
		}
		doc, err := l.services.Director.Metadata(t.Context(), ns, uptane.DeviceID(device), name)
		must(t, err)
		set[name] = doc
	}
	return set
}

// forge makes documents of the Image repository that are one version older than
// what it offers, so that devices go on to the honest ones afterwards.
func (l *liar) forge(t *testing.T, f fault.Forgery) fault.Set {
	t.Helper()
	f.Signer, f.Namespace, f.Repository = l, ns, images
	if edit := f.Targets; edit != nil {
		f.Targets = func(m *metadata.TargetsType) { m.Version -= 2; edit(m) }
	}
	f.Snapshot, f.Timestamp = orNothing(f.Snapshot), orNothing(f.Timestamp)
	snapshot, timestamp := f.Snapshot, f.Timestamp
	f.Snapshot = func(m *metadata.SnapshotType) { m.Version -= 2; snapshot(m) }
	f.Timestamp = func(m *metadata.TimestampType) { m.Version -= 2; timestamp(m) }
	set, err := f.Make(t.Context(), l.documents(t, images, ""))
	must(t, err)
	return set
}

func orNothing[T any](edit func(*T)) func(*T) {
	if edit == nil {
		return func(*T) {}
	}
	return edit
}

// forgeDirector makes targets for a device, one version older than what it is
// offered.
func (l *liar) forgeDirector(t *testing.T, device string, edit func(*metadata.TargetsType)) fault.Lie {
	t.Helper()
	m := l.assigned(t, device)
	m.Version--
	edit(m)
	return fault.Serve("/director/targets.json", l.sign(t, directors, uptane.RoleTargets, m))
}

// assigned are the Director's targets for a device.
func (l *liar) assigned(t *testing.T, device string) *metadata.TargetsType {
	t.Helper()
	m, err := fault.Read[metadata.TargetsType](l.documents(t, directors, device)["targets.json"], uptane.RoleTargets)
	must(t, err)
	return m
}

func (l *liar) sign(t *testing.T, repository uptane.Repository, role uptane.Role, m *metadata.TargetsType) []byte {
	t.Helper()
	doc, err := fault.Sign(t.Context(), l, uptane.Job{Namespace: ns, Repository: repository, Role: role}, m)
	must(t, err)
	return doc
}

// root makes a root of the same keys as the last one.
func (l *liar) root(t *testing.T, repository uptane.Repository, version int64, expires time.Time) []byte {
	t.Helper()
	last, err := l.services.Vault.RootVersion(t.Context(), ns, repository)
	must(t, err)
	doc, err := l.services.Vault.Root(t.Context(), ns, repository, last)
	must(t, err)
	m, err := fault.Read[metadata.RootType](doc, uptane.RoleRoot)
	must(t, err)
	m.Version, m.Expires = version, expires
	doc, err = fault.Sign(t.Context(), l, uptane.Job{Namespace: ns, Repository: repository, Role: uptane.RoleRoot}, m)
	must(t, err)
	return doc
}

// putRoot publishes a root.
func (l *liar) putRoot(t *testing.T, repository uptane.Repository, doc []byte) {
	t.Helper()
	if repository == images {
		must(t, l.services.Repo.PutRoot(t.Context(), ns, doc))
		return
	}
	must(t, l.services.Vault.PutRoot(t.Context(), ns, repository, doc))
}
