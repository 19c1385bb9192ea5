package gateway_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"sealift/fixtures"
	"sealift/gateway"
	"sealift/internal/web"
	"sealift/keys"
)

// A device that asks for the root after next shows, in recovery, that the next
// one exists: from then on nobody gets metadata of that repository, but reports
// are taken. At other times whoever asks for anything changes nothing.
func TestDeviceShowsThatARepositoryIsBehind(t *testing.T) {
	identify := func(*http.Request) (web.Caller, error) {
		return web.Caller{Kind: web.Device, Namespace: "default", Device: "d1", OEMID: "car", Permissions: []string{"device"}}, nil
	}
	d, directorVault := newDirector(t)
	directors, err := gateway.DirectorHandler(d, directorVault, identify, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r, imageVault := imageRepository(t, []byte("image"))
	images, err := gateway.RepoHandler(r, imageVault, identify, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(h http.Handler, method, path string, body []byte) (int, string) {
		t.Helper()
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(method, path, bytes.NewReader(body)))
		var said struct{ Code string }
		raw, _ := io.ReadAll(rec.Body)
		_ = json.Unmarshal(raw, &said)
		return rec.Code, said.Code
	}
	if status, _ := ask(directors, "POST", "/director/ecus", fixtures.Read("aktualizr/ostree-ecus-1.json")); status != 201 {
		t.Fatalf("registering: %d", status)
	}
	for _, s := range []struct {
		handler http.Handler
		path    string
	}{{directors, "/director/"}, {images, "/repo/"}} {
		if status, code := ask(s.handler, "GET", s.path+"3.root.json", nil); status != 404 {
			t.Errorf("%s outside recovery: %d %s", s.path, status, code)
		}
		if status, code := ask(s.handler, "GET", s.path+"targets.json", nil); status != 200 {
			t.Errorf("%s outside recovery: %d %s", s.path, status, code)
		}
	}
	for _, vault := range []*keys.Vault{directorVault, imageVault} {
		if err := vault.BeginRecovery(t.Context(), "default", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if status, code := ask(directors, "GET", "/director/2.root.json", nil); status != 404 {
		t.Errorf("the next root is what everybody asks for: %d %s", status, code)
	}
	for _, path := range []string{"3.root.json", "2.root.json", "1.root.json", "targets.json", "timestamp.json"} {
		if status, code := ask(directors, "GET", "/director/"+path, nil); status != 503 || code != "repository_behind" {
			t.Errorf("%s: %d %s", path, status, code)
		}
	}
	if status, _ := ask(directors, "PUT", "/director/manifest", fixtures.Read("aktualizr/ostree-manifest-1.json")); status != 200 {
		t.Errorf("a report is refused: %d", status)
	}
	if status, code := ask(images, "GET", "/repo/timestamp.json", nil); status != 200 {
		t.Errorf("the other repository: %d %s", status, code)
	}
}
