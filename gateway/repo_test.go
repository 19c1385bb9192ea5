package gateway_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/gateway"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/diskblob"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/repo"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

const imageName = "fw/main v1"

// imageRepository has one published image.
func imageRepository(t *testing.T, content []byte) (*repo.Repo, *keys.Vault) {
	t.Helper()
	d := dbtest.SQLite(t)
	vault := newVault(t, d, nil)
	return imagesIn(t, d, vault, nil, content), vault
}

// newVault opens a vault under a new master key.
func newVault(t *testing.T, d *db.DB, now func() time.Time) *keys.Vault {
	t.Helper()
	kek, err := keys.CreateFileKEK(filepath.Join(t.TempDir(), "master.key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := keys.New(t.Context(), keys.Config{DB: d, KEK: kek, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return vault
}

// imagesIn makes the Image repository of namespace default.
func imagesIn(t *testing.T, d *db.DB, vault *keys.Vault, clock func() time.Time, content []byte) *repo.Repo {
	t.Helper()
	ctx, ns := t.Context(), uptane.Namespace("default")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bucket, err := diskblob.Open(t.TempDir())
	must(err)
	t.Cleanup(func() { _ = bucket.Close() })
	r, err := repo.New(ctx, repo.Config{DB: d, Bucket: bucket, Signer: vault, Roots: vault,
		RootVersion: vault.RootVersion, RoleKeysSince: vault.RoleKeysSince, PutRoots: vault.PutRoots, Now: clock,
		Complete: func(context.Context, uptane.Namespace, ostree.Checksum) error { return nil }})
	must(err)

	root := metadata.Root(time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)).Signed
	root.Keys, root.Roles = nil, nil
	offline := map[uptane.Role]crypto.Signer{}
	for _, role := range []uptane.Role{uptane.RoleRoot, uptane.RoleTargets} {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		must(err)
		offline[role] = key
		k, err := uptane.NewKey(key.Public())
		must(err)
		must(uptane.AddKey(&root, role, k))
	}
	for _, role := range []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp} {
		k, err := vault.GenerateOnline(ctx, ns, uptane.ImageRepository, role, "ed25519")
		must(err)
		must(uptane.AddKey(&root, role, k))
	}
	must(r.PutRoot(ctx, ns, signed(t, uptane.RoleRoot, &root, offline[uptane.RoleRoot])))
	_, err = r.Create(ctx, ns)
	must(err)

	u, err := r.Initiate(ctx, ns, imageName, int64(len(content)), "test")
	must(err)
	sum := md5.Sum(content)
	query, err := r.PartURL(ctx, imageName, repo.Part{Namespace: ns, Upload: u.ID, Number: 1, MD5: sum[:], Length: int64(len(content))})
	must(err)
	values, err := url.ParseQuery(query)
	must(err)
	part, err := repo.ParsePart(values)
	must(err)
	tag, err := r.PutPart(ctx, part, -1, "", bytes.NewReader(content))
	must(err)
	must(r.Complete(ctx, ns, imageName, u.ID, []repo.PartTag{{Part: 1, ETag: tag}}))

	targets := metadata.Targets(time.Now().AddDate(0, 1, 0).UTC().Truncate(time.Second)).Signed
	hash, uploaded, now := sha256.Sum256(content), true, time.Now().UTC().Truncate(time.Second)
	for name, custom := range map[string]uptane.Custom{
		imageName: {CLIUploaded: &uploaded},
		"web-1":   {URI: "https://cdn.example.com/web-1"},
	} {
		custom.Name, custom.Version, custom.HardwareIDs, custom.TargetFormat = name, "1", []uptane.HardwareID{"ecu"}, uptane.FormatBinary
		custom.CreatedAt, custom.UpdatedAt = now, now
		targets.Targets[name], err = uptane.Target{Filename: name, Length: int64(len(content)), Hashes: metadata.Hashes{"sha256": hash[:]}, Custom: custom}.File()
		must(err)
	}
	_, err = r.PutTargets(ctx, ns, signed(t, uptane.RoleTargets, &targets, offline[uptane.RoleTargets]), "", "test")
	must(err)
	return r
}

func signed[T metadata.Roles](t *testing.T, role uptane.Role, payload *T, s crypto.Signer) []byte {
	t.Helper()
	b, err := uptane.Payload(uptane.Uptane, role, payload)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := uptane.Sign(s, b)
	if err != nil {
		t.Fatal(err)
	}
	return uptane.Frame(uptane.Uptane, b, sig)
}

// A device reads metadata and images, and can do nothing else.
func TestDeviceReadsImageRepository(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 1000)
	r, vault := imageRepository(t, content)
	identify := func(q *http.Request) (web.Caller, error) {
		if q.Header.Get("X-Test-Device") == "" {
			return web.Caller{}, web.ErrUnauthorized
		}
		return web.Caller{Kind: web.Device, Namespace: "default", Device: "d", Permissions: []string{"device"}}, nil
	}
	h, err := gateway.RepoHandler(r, vault, identify, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	ask := func(method, path string, header ...string) (*http.Response, string) {
		t.Helper()
		return askDevice(t, method, srv.URL+path, header...)
	}

	for _, name := range []string{"1.root.json", "timestamp.json", "snapshot.json", "targets.json"} {
		resp, body := ask("GET", "/repo/"+name)
		if sum := fmt.Sprintf("%x", sha256.Sum256([]byte(body))); resp.StatusCode != 200 || resp.Header.Get("x-ats-role-checksum") != sum ||
			resp.Header.Get("x-ats-tuf-repo-id") == "" || resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
	}
	for _, name := range []string{"2.root.json", "2.targets.json", "delegations/x.json", "root", "multipart/part"} {
		if resp, body := ask("GET", "/repo/"+name); resp.StatusCode != 404 || !strings.Contains(body, `"code"`) {
			t.Errorf("%s: %d %s, want 404", name, resp.StatusCode, body)
		}
	}

	for _, path := range []string{"/repo/targets/fw/main%20v1", "/repo/targets/fw%2Fmain%20v1", "/repo//targets//fw/main%20v1"} {
		if resp, body := ask("GET", path); resp.StatusCode != 200 || body != string(content) {
			t.Errorf("%s: %d, %d bytes", path, resp.StatusCode, len(body))
		}
	}
	resp, body := ask("GET", "/repo/targets/fw/main%20v1", "Range", "bytes=9995-")
	if resp.StatusCode != 206 || body != "56789" || resp.Header.Get("Content-Range") != "bytes 9995-9999/10000" {
		t.Errorf("a range: %d %q %v", resp.StatusCode, body, resp.Header)
	}
	if resp, body = ask("HEAD", "/repo/targets/fw/main%20v1"); resp.StatusCode != 200 || resp.ContentLength != 10000 || body != "" {
		t.Errorf("HEAD: %d %d", resp.StatusCode, resp.ContentLength)
	}
	if resp, body = ask("GET", "/repo/targets/fw/main%20v1", "X-Test-Device", ""); resp.StatusCode != 401 || body != "" {
		t.Errorf("nobody: %d %q", resp.StatusCode, body)
	}
	for _, path := range []string{"/repo/targets/fw", "/repo/targets/..%2F..%2Fetc%2Fpasswd", "/repo/targets/web-1", "/repo/targets/%00"} {
		if resp, body := ask("GET", path); resp.StatusCode < 400 || body != "" || resp.Header.Get("x-sealift-error") == "" {
			t.Errorf("%s: %d %q, want an error without body", path, resp.StatusCode, body)
		}
	}
	if resp, body = ask("GET", "/repo/targets/fw/main%20v1", "Range", "bytes=10000-"); resp.StatusCode != 416 || body != "" {
		t.Errorf("behind the end: %d %q", resp.StatusCode, body)
	}
	for _, method := range []string{"PUT", "POST", "DELETE", "PATCH"} {
		for _, path := range []string{"/repo/targets", "/repo/targets/fw/main%20v1", "/repo/root", "/repo/root.json"} {
			if resp, _ := ask(method, path); resp.StatusCode != 405 && resp.StatusCode != 404 {
				t.Errorf("%s %s: %d", method, path, resp.StatusCode)
			}
		}
	}
}

func askDevice(t *testing.T, method, address string, header ...string) (*http.Response, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("X-Test-Device", "d")
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}
