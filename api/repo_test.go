package api_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
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

	"sealift/access"
	"sealift/api"
	"sealift/internal/db/dbtest"
	"sealift/internal/diskblob"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/repo"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// repoEdge is a running Image repository behind the API's routes, and the keys
// that are not on it.
type repoEdge struct {
	t             *testing.T
	url           string
	vault         *keys.Vault
	root          metadata.RootType
	rootKey, sign crypto.Signer
}

func newRepoEdge(t *testing.T) *repoEdge {
	t.Helper()
	e := &repoEdge{t: t, rootKey: newSigner(t), sign: newSigner(t)}
	d := dbtest.SQLite(t)
	kek, err := keys.CreateFileKEK(filepath.Join(t.TempDir(), "master.key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if e.vault, err = keys.New(t.Context(), keys.Config{DB: d, KEK: kek, Actor: actor}); err != nil {
		t.Fatal(err)
	}
	bucket, err := diskblob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bucket.Close() })
	r, err := repo.New(t.Context(), repo.Config{DB: d, Bucket: bucket, Signer: e.vault, Roots: e.vault,
		RootVersion: e.vault.RootVersion, RoleKeysSince: e.vault.RoleKeysSince, PutRoots: e.vault.PutRoots, Act: e.vault.Act, PartSize: 1000,
		Complete: func(context.Context, uptane.Namespace, ostree.Checksum) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	var handler http.Handler
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { handler.ServeHTTP(w, q) }))
	t.Cleanup(srv.Close)
	e.url = srv.URL
	identify := func(q *http.Request) (web.Caller, error) {
		scope, confined := access.SignRepo, []uptane.Role(nil)
		switch q.Header.Get("Authorization") {
		case "Bearer signer":
		case "Bearer reader":
			scope = access.Read
		case "Bearer supplier":
			scope, confined = access.Supplier("brakes"), []uptane.Role{"brakes"}
		default:
			return web.Caller{}, web.ErrUnauthorized
		}
		return web.Caller{Kind: web.Token, Namespace: "default", Token: "1", Permissions: scope.Permissions(), Confined: confined}, nil
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	if handler, err = api.RepoHandler(r, e.url, identify, log); err != nil {
		t.Fatal(err)
	}
	e.makeRoot(r)
	return e
}

func newSigner(t *testing.T) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (e *repoEdge) makeRoot(r *repo.Repo) {
	e.t.Helper()
	e.root = metadata.Root(time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)).Signed
	e.root.Keys, e.root.Roles = nil, nil
	add := func(role uptane.Role, k uptane.Key, err error) {
		if err == nil {
			err = uptane.AddKey(&e.root, role, k)
		}
		if err != nil {
			e.t.Fatal(err)
		}
	}
	for role, s := range map[uptane.Role]crypto.Signer{uptane.RoleRoot: e.rootKey, uptane.RoleTargets: e.sign} {
		k, err := uptane.NewKey(s.Public())
		add(role, k, err)
	}
	for _, role := range []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp} {
		k, err := e.vault.GenerateOnline(e.t.Context(), "default", uptane.ImageRepository, role, "ed25519")
		add(role, k, err)
	}
	if err := r.PutRoot(e.t.Context(), "default", seal(e.t, uptane.RoleRoot, &e.root, e.rootKey)); err != nil {
		e.t.Fatal(err)
	}
	if _, err := r.Create(e.t.Context(), "default"); err != nil {
		e.t.Fatal(err)
	}
}

func seal[T metadata.Roles](t *testing.T, role uptane.Role, payload *T, s crypto.Signer) []byte {
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

func (e *repoEdge) ask(method, path, token string, body []byte, header ...string) (*http.Response, string) {
	e.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = e.url + "/api/v1/user_repo" + path
	}
	q, err := http.NewRequestWithContext(e.t.Context(), method, path, bytes.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(q) // follows no redirect
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp, string(text)
}

func (e *repoEdge) want(status int, words string, resp *http.Response, body string) {
	e.t.Helper()
	if resp.StatusCode != status || !strings.Contains(body, words) {
		e.t.Errorf("%s %s: %d %s, want %d %s", resp.Request.Method, resp.Request.URL.Path, resp.StatusCode, body, status, words)
	}
}

func (e *repoEdge) targets(version int64, content []byte) []byte {
	e.t.Helper()
	p := metadata.Targets(time.Now().AddDate(0, 1, 0).UTC().Truncate(time.Second)).Signed
	p.Version = version
	if content != nil {
		sum, uploaded, now := sha256.Sum256(content), true, time.Now().UTC().Truncate(time.Second)
		file, err := uptane.Target{Filename: "fw/main-1", Length: int64(len(content)), Hashes: metadata.Hashes{"sha256": sum[:]},
			Custom: uptane.Custom{Name: "fw/main", Version: "1", HardwareIDs: []uptane.HardwareID{"ecu"}, TargetFormat: uptane.FormatBinary,
				CLIUploaded: &uploaded, CreatedAt: now, UpdatedAt: now}}.File()
		if err != nil {
			e.t.Fatal(err)
		}
		p.Targets["fw/main-1"] = file
	}
	return seal(e.t, uptane.RoleTargets, &p, e.sign)
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func deflated(b []byte) []byte {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// What garage-sign says and hears when it pulls and pushes.
func TestPushOverHTTP(t *testing.T) {
	e := newRepoEdge(t)
	const check = "x-ats-role-checksum"
	resp, body := e.ask("POST", "", "signer", nil)
	e.want(409, "conflicting_entity", resp, body)
	resp, body = e.ask("GET", "/targets.json", "reader", nil)
	e.want(404, "role_not_found", resp, body)
	resp, body = e.ask("PUT", "/targets", "reader", e.targets(1, nil))
	e.want(403, "forbidden", resp, body)

	first := e.targets(1, nil)
	resp, body = e.ask("PUT", "/targets", "signer", gzipped(first), "Content-Encoding", "gzip", "Content-Type", "application/json")
	e.want(204, "", resp, body)
	sum := resp.Header.Get(check)
	if sum != sumOf(first) || resp.Header.Get("x-ats-targets-role-size-limit") != "8388608" {
		t.Errorf("headers of a push: %v", resp.Header)
	}
	resp, body = e.ask("GET", "/targets.json", "reader", nil)
	e.want(200, "", resp, body)
	if body != string(first) || resp.Header.Get(check) != sum || resp.Header.Get("x-ats-tuf-repo-id") == "" ||
		resp.Header.Get("ETag") != `"`+sum+`"` || resp.Header.Get("Cache-Control") != "no-cache" || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("targets.json: %s %v", body, resp.Header)
	}
	for _, name := range []string{"/root.json", "/1.root.json", "/snapshot.json", "/timestamp.json"} {
		resp, body = e.ask("GET", name, "reader", nil)
		e.want(200, `"signatures":[`, resp, body)
		if resp.Header.Get(check) != sumOf([]byte(body)) {
			t.Errorf("%s: checksum %s", name, resp.Header.Get(check))
		}
	}
	resp, body = e.ask("GET", "/2.root.json", "reader", nil)
	e.want(404, "root_role_not_found", resp, body)

	next := e.targets(2, nil)
	resp, body = e.ask("PUT", "/targets", "signer", next)
	e.want(428, "role_checksum_not_provided", resp, body)
	resp, body = e.ask("PUT", "/targets", "signer", next, check, strings.Repeat("0", 64))
	e.want(412, "role_checksum_mismatch", resp, body)
	resp, body = e.ask("PUT", "/targets", "signer", e.targets(3, nil), check, sum)
	e.want(409, "invalid_version_bump", resp, body)
	resp, body = e.ask("PUT", "/targets", "signer", e.targets(2, []byte("x")), check, sum)
	e.want(400, `"cause":["target item error fw/main-1: its bytes were never uploaded"]`, resp, body)
	resp, body = e.ask("PUT", "/targets", "signer", []byte("{"), check, sum)
	e.want(400, `"code":"gate_refused"`, resp, body)
	e.want(400, `"cause":{"judge":"uptane","rule":"json","role":"targets",`, resp, body)
	bomb := gzipped(make([]byte, 9<<20))
	resp, body = e.ask("PUT", "/targets", "signer", bomb, check, sum, "Content-Encoding", "gzip")
	e.want(413, "", resp, body)
	resp, body = e.ask("PUT", "/targets", "signer", next, check, sum, "Content-Encoding", "br")
	e.want(415, "unsupported_encoding", resp, body)
	resp, body = e.ask("PUT", "/targets", "signer", next, check, sum, "Content-Encoding", "gzip")
	e.want(400, "", resp, body)
	resp, body = e.ask("PUT", "/targets", "signer", deflated(next), check, sum, "Content-Encoding", "deflate")
	e.want(204, "", resp, body)
}

func TestRootOverHTTP(t *testing.T) {
	e := newRepoEdge(t)
	resp, body := e.ask("GET", "/root", "reader", nil)
	e.want(200, `"version":2`, resp, body)
	if strings.Contains(body, "signatures") {
		t.Errorf("the next root is unsigned: %s", body)
	}
	e.root.Version = 3
	resp, body = e.ask("POST", "/root", "signer", seal(t, uptane.RoleRoot, &e.root, e.rootKey))
	e.want(400, "invalid_root_role", resp, body)
	var refused struct {
		Code  string
		Cause struct {
			Code  string
			Cause []string
		}
	}
	if err := json.Unmarshal([]byte(body), &refused); err != nil || refused.Cause.Code != "invalid_root_role" || len(refused.Cause.Cause) == 0 {
		t.Errorf("the reasons belong into the cause of the cause: %s, %v", body, err)
	}
	e.root.Version = 2
	resp, body = e.ask("POST", "/root", "signer", seal(t, uptane.RoleRoot, &e.root, e.rootKey))
	e.want(200, "", resp, body)
	resp, body = e.ask("GET", "/2.root.json", "reader", nil)
	e.want(200, `"version":2`, resp, body)
	resp, body = e.ask("PUT", "/tuf/targets", "signer", e.targets(1, nil))
	e.want(400, "gate_refused", resp, body)
	resp, body = e.ask("PUT", "/root/rotate", "signer", nil)
	e.want(412, "role_key_not_found", resp, body)
	resp, body = e.ask("PUT", "/tuf/other", "signer", nil)
	e.want(404, "", resp, body)
}

// An image goes through the four calls of old tools and comes back, in ranges
// too.
func TestImageOverHTTP(t *testing.T) {
	e := newRepoEdge(t)
	content := bytes.Repeat([]byte("0123456789"), 150)
	resp, body := e.ask("POST", "/multipart/initiate/fw/main-1?fileSize=1500&force=true", "signer", nil)
	e.want(200, "", resp, body)
	var begun struct {
		UploadID string
		PartSize int
	}
	if err := json.Unmarshal([]byte(body), &begun); err != nil || begun.PartSize != 1000 {
		t.Fatal(body, err)
	}
	var tags []string
	for n := 1; n <= 2; n++ {
		part := content[(n-1)*1000 : min(n*1000, 1500)]
		sum := md5.Sum(part)
		digest := base64.StdEncoding.EncodeToString(sum[:])
		query := url.Values{"part": {fmt.Sprint(n)}, "uploadId": {begun.UploadID}, "md5": {digest}, "contentLength": {fmt.Sprint(len(part))}}
		resp, body = e.ask("GET", "/multipart/url/fw%2Fmain-1?"+query.Encode(), "signer", nil)
		var place struct{ URI string }
		if err := json.Unmarshal([]byte(body), &place); err != nil || !strings.HasPrefix(place.URI, e.url+"/api/v1/user_repo/multipart/part?") {
			t.Fatal(resp.StatusCode, body, err)
		}
		resp, body = e.ask("PUT", place.URI, "", part, "Content-MD5", digest)
		e.want(200, "", resp, body)
		if resp.Header.Get("ETag") != `"`+hex.EncodeToString(sum[:])+`"` {
			t.Errorf("ETag %s", resp.Header.Get("ETag"))
		}
		tags = append([]string{fmt.Sprintf(`{"part":%d,"eTag":%q}`, n, resp.Header.Get("ETag"))}, tags...)
		resp, body = e.ask("PUT", strings.Replace(place.URI, "token=", "token=0", 1), "", part)
		e.want(403, "invalid_part_url", resp, body)
	}
	done := fmt.Sprintf(`{"uploadId":%q,"partETags":[%s]}`, begun.UploadID, strings.Join(tags, ","))
	resp, body = e.ask("PUT", "/multipart/complete/fw/main-1", "signer", []byte(done))
	e.want(200, "", resp, body)
	resp, body = e.ask("GET", "/targets/fw/main-1", "reader", nil)
	e.want(404, "target_not_found", resp, body)
	resp, body = e.ask("GET", "/uploads", "reader", nil)
	e.want(200, `"total":1`, resp, body)
	resp, body = e.ask("PUT", "/targets", "signer", e.targets(1, content))
	e.want(204, "", resp, body)

	for _, path := range []string{"/targets/fw/main-1", "/targets/fw%2Fmain-1", "/targets//fw//main-1"} {
		resp, body = e.ask("GET", path, "reader", nil)
		e.want(200, "", resp, body)
		if body != string(content) {
			t.Errorf("%s: %d bytes", path, len(body))
		}
	}
	resp, body = e.ask("GET", "/targets/fw/main-1", "reader", nil, "Range", "bytes=1495-")
	e.want(206, "56789", resp, body)
	resp, body = e.ask("HEAD", "/targets/fw/main-1", "reader", nil)
	if e.want(200, "", resp, body); resp.ContentLength != 1500 || body != "" || resp.Header.Get("x-ats-tuf-repo-id") == "" {
		t.Errorf("HEAD: %d %q", resp.ContentLength, body)
	}
	resp, body = e.ask("GET", "/target_items?nameContains=MAIN&limit=1", "reader", nil)
	e.want(200, `"total":1,"offset":0,"limit":1`, resp, body)
	e.want(200, `"hashes":{"sha256":"`+sumOf(content)+`"},"length":1500,"custom":{`, resp, body)
	resp, body = e.ask("GET", "/target_items/fw/main-1", "reader", nil)
	e.want(200, `"filename":"fw/main-1"`, resp, body)
	resp, body = e.ask("POST", "/multipart/initiate/fw/main-1?fileSize=1500", "signer", nil)
	e.want(409, "conflicting_entity", resp, body)
	resp, body = e.ask("POST", "/multipart/initiate/fw-2?fileSize=3000000001", "signer", nil)
	e.want(413, "payload_too_large", resp, body)
	resp, body = e.ask("POST", "/multipart/initiate/fw-2", "signer", nil)
	e.want(400, "invalid_entity", resp, body)
}
