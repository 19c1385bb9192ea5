package gateway_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealift/director"
	"sealift/gateway"
	"sealift/internal/db/dbtest"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/registry"
)

// factory is a gateway that lets devices in, and what is behind it.
type factory struct {
	*httptest.Server
	vault     *keys.Vault
	registry  *registry.Registry
	bootstrap string // who asks
}

func newFactory(t *testing.T) *factory {
	t.Helper()
	d := dbtest.SQLite(t)
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	kek, err := keys.CreateFileKEK(filepath.Join(t.TempDir(), "master.key"), nil)
	fail(err)
	vault, err := keys.New(t.Context(), keys.Config{DB: d, KEK: kek})
	fail(err)
	now := time.Now()
	root, err := pki.NewServerRoot(now, "server root")
	fail(err)
	next, err := pki.NewServerRoot(now, "next server root")
	fail(err)
	server, err := pki.NewServerIntermediate(now, "server CA", root)
	fail(err)
	fail(vault.ImportServerTree(t.Context(), keys.ServerTree{Root: root.Cert, Next: next.Cert, Issuer: server}))
	devices, err := pki.NewDeviceRoot(now, "device root")
	fail(err)
	issuer, err := pki.NewDeviceIntermediate(now, "device CA", devices)
	fail(err)
	fail(vault.ImportDeviceTree(t.Context(), "default", devices.Cert, issuer))
	reg, err := registry.New(t.Context(), registry.Config{DB: d})
	fail(err)
	t.Cleanup(func() { _ = reg.Close() })
	dir, err := director.New(t.Context(), director.Config{DB: d, Signer: vault, Roots: vault, Keys: vault, Images: noImages{}, Journal: reg})
	fail(err)
	t.Cleanup(func() { _ = dir.Close(context.Background()) })
	f := &factory{vault: vault, registry: reg}
	identify := func(*http.Request) (web.Caller, error) {
		return web.Caller{Kind: web.Bootstrap, Namespace: "default", Certificate: f.bootstrap, Permissions: []string{"provision"}}, nil
	}
	h, err := gateway.ProvisionHandler(vault, dir, reg, identify, slog.New(slog.NewTextHandler(t.Output(), nil)))
	fail(err)
	f.Server = httptest.NewServer(h)
	t.Cleanup(f.Close)
	return f
}

func (f *factory) issueBootstrap(t *testing.T, r keys.BootstrapRequest) {
	t.Helper()
	r.Namespace = "default"
	_, b, err := f.vault.IssueBootstrap(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	f.bootstrap = b.Fingerprint
}

// provision asks for a certificate and returns the status.
func (f *factory) provision(t *testing.T, name string) int {
	t.Helper()
	resp, err := http.Post(f.URL+"/devices", "application/json", strings.NewReader(`{"deviceId":"`+name+`","ttl":"36000"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestRefusedProvisioningLeavesNothing: who holds a bootstrap certificate that
// permits no more must not be able to fill the registry with devices.
func TestRefusedProvisioningLeavesNothing(t *testing.T) {
	for name, limit := range map[string]keys.BootstrapRequest{"used up": {MaxUses: 1}, "too fast": {PerHour: 1}} {
		t.Run(name, func(t *testing.T) {
			f := newFactory(t)
			f.issueBootstrap(t, limit)
			if status := f.provision(t, "truck-1"); status != http.StatusOK {
				t.Fatalf("the first device: %d", status)
			}
			for _, more := range []string{"truck-2", "truck-3", "truck 4"} {
				if status := f.provision(t, more); status == http.StatusOK {
					t.Errorf("%s was let in", more)
				}
			}
			list, total, err := f.registry.Devices(t.Context(), "default", registry.Search{}, 0, 10)
			if err != nil || total != 1 || list[0].OEMID != "truck-1" {
				t.Errorf("the registry has %d devices: %+v, %v", total, list, err)
			}
		})
	}
}

// TestProvisioningAgain: an answer that got lost may be asked for again, and
// is of the same device.
func TestProvisioningAgain(t *testing.T) {
	f := newFactory(t)
	f.issueBootstrap(t, keys.BootstrapRequest{})
	for range 2 {
		if status := f.provision(t, "truck-1"); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
	}
	d, err := f.registry.Device(t.Context(), "default", "truck-1")
	if err != nil {
		t.Fatal(err)
	}
	certs, err := f.vault.Certificates(t.Context(), "default", d.ID, "", 10)
	if err != nil || len(certs) != 2 || certs[0].Revoked.IsZero() == certs[1].Revoked.IsZero() {
		t.Errorf("certificates %+v, %v: want two, one of them revoked", certs, err)
	}
	f.issueBootstrap(t, keys.BootstrapRequest{})
	if status := f.provision(t, "truck-1"); status != http.StatusConflict {
		t.Errorf("another bootstrap certificate took the name: %d", status)
	}
}
