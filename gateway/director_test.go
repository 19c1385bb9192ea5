package gateway_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/director"
	"sealift/fixtures"
	"sealift/gateway"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/uptane"
)

// noImages is an empty Image repository.
type noImages struct{}

func (noImages) Target(context.Context, uptane.Namespace, string) (uptane.Target, error) {
	return uptane.Target{}, fault.New(fault.NotFound, "missing_entity", "no such target")
}

// newDirector returns a Director of namespace default with a root of its own,
// and who keeps that.
func newDirector(t *testing.T) (*director.Director, *keys.Vault) {
	t.Helper()
	d := dbtest.SQLite(t)
	vault := newVault(t, d, nil)
	return directorIn(t, vault, director.Config{DB: d, Signer: vault, Roots: vault, Keys: vault, Images: noImages{}}), vault
}

// directorIn makes the Director of namespace default, whose roots the vault keeps.
func directorIn(t *testing.T, vault *keys.Vault, c director.Config) *director.Director {
	t.Helper()
	_, rootKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	root := metadata.Root(time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)).Signed
	root.Keys, root.Roles = nil, nil
	add := func(role uptane.Role, k uptane.Key, err error) {
		if err == nil {
			err = uptane.AddKey(&root, role, k)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	k, err := uptane.NewKey(rootKey.Public())
	add(uptane.RoleRoot, k, err)
	for _, role := range []uptane.Role{uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp} {
		k, err := vault.GenerateOnline(t.Context(), "default", uptane.DirectorRepository, role, "ed25519")
		add(role, k, err)
	}
	payload, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, &root)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := uptane.Sign(rootKey, payload)
	if err != nil {
		t.Fatal(err)
	}
	if err := vault.PutRoot(t.Context(), "default", uptane.DirectorRepository, uptane.Frame(uptane.Uptane, payload, sig)); err != nil {
		t.Fatal(err)
	}
	dir, err := director.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close(context.Background()) })
	return dir
}

// TestDirectorRoutes plays the requests of an unmodified client.
func TestDirectorRoutes(t *testing.T) {
	identify := func(*http.Request) (web.Caller, error) {
		return web.Caller{Kind: web.Device, Namespace: "default", Device: "d1", OEMID: "car", Permissions: []string{"device"}}, nil
	}
	d, vault := newDirector(t)
	h, err := gateway.DirectorHandler(d, vault, identify, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	ecus, manifest := fixtures.Read("aktualizr/ostree-ecus-1.json"), fixtures.Read("aktualizr/ostree-manifest-1.json")
	steps := []struct {
		method, path string
		body         []byte
		status       int
		code         string // of the error body
	}{
		{"GET", "/director/targets.json", nil, 404, "device_missing_primary_ecu"},
		{"PUT", "/director/manifest", manifest, 404, "device_missing_primary_ecu"},
		{"POST", "/director/ecus", ecus, 201, ""},
		{"POST", "/director/ecus", ecus, 200, ""},
		{"POST", "//director/ecus/", ecus, 200, ""},
		{"POST", "/director/ecus", []byte("{"), 400, "invalid_entity"},
		{"PUT", "/director/manifest", manifest, 200, ""},
		{"PUT", "/director/manifest", manifest, 200, ""},
		{"PUT", "/director/manifest", fixtures.Read("aktualizr/secondaries-manifest-1.json"), 400, "ecu_not_primary"},
		{"PUT", "/director/manifest", bytes.Repeat([]byte(" "), 3<<20), 413, "body_too_large"},
		{"GET", "/director/1.root.json", nil, 200, ""},
		{"GET", "/director/2.root.json", nil, 404, "root_role_not_found"},
		{"GET", "/director/root.json", nil, 200, ""},
		{"GET", "/director/targets.json", nil, 200, ""},
		{"GET", "/director/snapshot.json", nil, 200, ""},
		{"GET", "/director/timestamp.json", nil, 200, ""},
		{"GET", "/director/1.targets.json", nil, 404, "missing_metadata"},
		{"GET", "/director/offline-snapshot.json", nil, 404, "missing_metadata"},
		{"PUT", "/director/ecus", ecus, 405, "method_not_allowed"},
	}
	for _, s := range steps {
		r, err := http.NewRequestWithContext(t.Context(), s.method, srv.URL+s.path, bytes.NewReader(s.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		var failed struct{ Code, Description, ErrorID string }
		if s.code != "" {
			if err := json.Unmarshal(body, &failed); err != nil {
				t.Errorf("%s %s answers %q", s.method, s.path, body)
			}
		}
		if resp.StatusCode != s.status || failed.Code != s.code {
			t.Errorf("%s %s: %d %q, want %d %q: %s", s.method, s.path, resp.StatusCode, failed.Code, s.status, s.code, body)
		}
		if s.method == "GET" && s.status == 200 && !strings.HasPrefix(string(body), `{"signatures":[{"keyid":"`) {
			t.Errorf("%s is not in canonical form: %.60s", s.path, body)
		}
	}
}
