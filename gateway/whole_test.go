package gateway_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"sealift/director"
	"sealift/fixtures/device"
	"sealift/gateway"
	"sealift/internal/credentials"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/diskblob"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/registry"
	"sealift/repo"
	"sealift/treehub"
	"sealift/uptane"
)

// whole is the gateway over TLS with everything behind it on one database whose
// statements are recorded: those of requests are of "device", others of "".
type whole struct {
	t        *testing.T
	db       *db.DB
	said     *dbtest.Recorder
	clock    atomic.Pointer[time.Time] // stands still unless it is moved
	vault    *keys.Vault
	director *director.Director
	registry *registry.Registry
	repo     *repo.Repo
	archive  *credentials.Archive
	url      string
}

type byDevice struct{}

func newWhole(t *testing.T, databaseURL string) *whole {
	t.Helper()
	w := &whole{t: t}
	w.move(time.Now())
	w.db, w.said = dbtest.Recorded(t, databaseURL, func(ctx context.Context) string {
		name, _ := ctx.Value(byDevice{}).(string)
		return name
	})
	w.vault = newVault(t, w.db, w.now)
	var err error
	w.registry, err = registry.New(t.Context(), registry.Config{DB: w.db, Now: w.now})
	must(t, err)
	w.repo = imagesIn(t, w.db, w.vault, w.now, bytes.Repeat([]byte("image"), 1000))
	w.director = directorIn(t, w.vault, director.Config{DB: w.db, Signer: w.vault, Roots: w.vault, Keys: w.vault, Images: w.repo, Journal: w.registry, Now: w.now})
	w.listen(w.authorities())
	return w
}

func (w *whole) now() time.Time { return *w.clock.Load() }

func (w *whole) move(to time.Time) { w.clock.Store(&to) }

// authorities makes both trees of certificates and returns who signs servers'.
func (w *whole) authorities() (serverCA []byte) {
	w.t.Helper()
	now := w.now()
	root, err1 := pki.NewServerRoot(now, "server root")
	next, err2 := pki.NewServerRoot(now, "next server root")
	devices, err3 := pki.NewDeviceRoot(now, "devices")
	must(w.t, errors.Join(err1, err2, err3))
	issuer, err1 := pki.NewServerIntermediate(now, "server", root)
	deviceIssuer, err2 := pki.NewDeviceIntermediate(now, "devices", devices)
	must(w.t, errors.Join(err1, err2,
		w.vault.ImportServerTree(w.t.Context(), keys.ServerTree{Root: root.Cert, Next: next.Cert, Issuer: issuer}),
		w.vault.ImportDeviceTree(w.t.Context(), "default", devices.Cert, deviceIssuer)))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Cert.Raw})
}

func (w *whole) listen(serverCA []byte) {
	w.t.Helper()
	bucket, err := diskblob.Open(w.t.TempDir())
	must(w.t, err)
	w.t.Cleanup(func() { _ = bucket.Close() })
	hub, err := treehub.New(w.t.Context(), treehub.Config{DB: w.db, Bucket: bucket, Now: w.now})
	must(w.t, err)
	h, err := gateway.New(gateway.Config{Vault: w.vault, Director: w.director, Repo: w.repo, TreeHub: hub, Registry: w.registry, Now: w.now})
	must(w.t, err)
	server := web.Server(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), byDevice{}, "device")))
	}), slog.New(slog.DiscardHandler))
	server.TLSConfig, err = w.vault.TLSConfig(w.t.Context(), pki.Names{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	must(w.t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	go func() { _ = server.ServeTLS(l, "", "") }()
	w.t.Cleanup(func() { _ = server.Close() })
	w.url = "https://" + l.Addr().String()
	shared, _, err := w.vault.IssueBootstrap(w.t.Context(), keys.BootstrapRequest{Namespace: "default", Name: "line 1"})
	must(w.t, err)
	imageRoot, err := w.vault.Root(w.t.Context(), "default", uptane.ImageRepository, 1)
	must(w.t, err)
	path := filepath.Join(w.t.TempDir(), "device.zip")
	must(w.t, credentials.DeviceArchive{AutoprovURL: w.url, AutoprovP12: shared, ServerCA: serverCA, RootJSON: imageRoot}.Write(path))
	w.archive, err = credentials.Open(path)
	must(w.t, err)
}

// device makes a device that nobody has seen before.
func (w *whole) device(oemid uptane.OEMID) *device.Device {
	w.t.Helper()
	d, err := device.New(device.Config{Archive: w.archive, OEMID: oemid, Primary: device.ECU{HardwareID: "ecu"},
		Secondaries: []device.ECU{{HardwareID: "sensor"}}, Now: w.now, KeepAlive: true})
	must(w.t, err)
	w.t.Cleanup(d.Close)
	return d
}

func (w *whole) poll(d *device.Device, want device.Outcome) {
	w.t.Helper()
	r, err := d.Poll(w.t.Context())
	if err != nil || r.Outcome != want {
		w.t.Fatalf("%s polls: %q, %v, want %q", d.OEMID(), r.Outcome, err, want)
	}
}

// assign has the device told to install the one image there is.
func (w *whole) assign(d *device.Device) {
	w.t.Helper()
	ctx := w.t.Context()
	image, err := w.repo.Target(ctx, "default", imageName)
	must(w.t, err)
	known, err := w.registry.Device(ctx, "default", string(d.OEMID()))
	must(w.t, err)
	update, err := w.director.CreateUpdate(ctx, "default", "an update", map[uptane.HardwareID]director.UpdateTarget{
		"ecu": {To: director.Image{Filename: imageName, SHA256: image.SHA256(), Length: image.Length}}})
	must(w.t, err)
	res, err := w.director.Assign(ctx, "default", director.AssignRequest{Update: update.ID, Devices: []uptane.DeviceID{known.ID}})
	if err != nil || len(res.Affected) != 1 {
		w.t.Fatalf("assigning: %+v, %v", res, err)
	}
}

// close writes what is gathered in memory.
func (w *whole) close() {
	w.t.Helper()
	must(w.t, errors.Join(w.director.Close(context.WithoutCancel(w.t.Context())), w.registry.Close()))
}
