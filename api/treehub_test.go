package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob"

	"sealift/access"
	"sealift/api"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/diskblob"
	"sealift/internal/hub"
	"sealift/internal/web"
	"sealift/treehub"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// treehubEdge is a running TreeHub behind the API's routes, and a repository.
type treehubEdge struct {
	t      testing.TB
	server string // its URL
	hub    *treehub.TreeHub
	bucket *blob.Bucket
	dir    *ostree.Dir

	mu   sync.Mutex
	seen map[string]int // requests by method and route
}

func newTreeHubEdge(t testing.TB, d *db.DB) *treehubEdge {
	t.Helper()
	bucket, err := diskblob.Open(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	e := &treehubEdge{t: t, bucket: bucket, seen: map[string]int{}}
	t.Cleanup(func() { e.bucket.Close() })
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	e.hub, err = treehub.New(t.Context(), treehub.Config{DB: d, Bucket: e.bucket, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	// A token names its namespace here; what it may do follows from its scope.
	identify := func(r *http.Request) (web.Caller, error) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if token == "" {
			return web.Caller{}, web.ErrUnauthorized
		}
		scope := access.PushTreehub
		if token == "reader" {
			token, scope = "default", access.Read
		}
		return web.Caller{Kind: web.Token, Namespace: uptane.Namespace(token), Token: "ci", Permissions: scope.Permissions()}, nil
	}
	handler, err := api.TreeHubHandler(e.hub, identify, log)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.seen[r.Method+" "+strings.Split(r.URL.Path, "/")[3]]++
		e.mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	e.server = server.URL
	if e.dir, err = ostree.InitDir(filepath.Join(t.TempDir(), "repo")); err != nil {
		t.Fatal(err)
	}
	return e
}

type bearer struct{ token string }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(r)
}

func (e *treehubEdge) client(token string) *hub.Hub {
	e.t.Helper()
	h, err := hub.New(hub.Config{URL: e.server + "/api/v3", Client: &http.Client{Transport: bearer{token}}})
	if err != nil {
		e.t.Fatal(err)
	}
	return h
}

// commit writes a tree of so many files, the same ones each time but for text.
func (e *treehubEdge) commit(parent ostree.Checksum, files int, text string) ostree.Checksum {
	e.t.Helper()
	root := e.t.TempDir()
	for i := range files {
		name := filepath.Join(root, fmt.Sprintf("d%d/e%d/f%d", i%11, i%5, i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			e.t.Fatal(err)
		}
		if err := os.WriteFile(name, fmt.Append(nil, "file ", i), 0o644); err != nil {
			e.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "version"), []byte(text), 0o644); err != nil {
		e.t.Fatal(err)
	}
	c, err := e.dir.Commit(e.t.Context(), os.DirFS(root), ostree.CommitOptions{Parent: parent, Subject: text, Timestamp: time.Unix(1e9, 0)})
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

func (e *treehubEdge) read(n ostree.ObjectName) []byte {
	e.t.Helper()
	r, _, err := e.dir.Object(e.t.Context(), n)
	if err != nil {
		e.t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		e.t.Fatal(err)
	}
	return data
}

// do sends one request; a path without a slash at its start is below /api/v3.
func (e *treehubEdge) do(token, method, path, body string, header ...string) (*http.Response, string) {
	e.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/api/v3/" + path
	}
	req, err := http.NewRequestWithContext(e.t.Context(), method, e.server+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: bearer{token}}
	if token == "" {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return res, string(text)
}

func (e *treehubEdge) blobs() (n int) {
	for it := e.bucket.List(nil); ; n++ {
		if _, err := it.Next(e.t.Context()); err != nil {
			return n
		}
	}
}

func TestPushThroughTheAPI(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newTreeHubEdge(t, d)
		first := e.commit(ostree.Checksum{}, 120, "first")
		h := e.client("default")
		stats, err := ostree.Copy(t.Context(), e.dir, h, first, ostree.CopyOptions{Jobs: 60})
		if err != nil {
			t.Fatal(err)
		}
		if heads := e.seen["HEAD objects"]; heads > 20 {
			t.Errorf("%d HEAD for %d objects: existence is not asked in batches", heads, stats.Queried)
		}
		if n := e.blobs(); n != stats.Uploaded {
			t.Errorf("%d blobs for %d objects", n, stats.Uploaded)
		}
		if err := h.SetRef(t.Context(), "main", first); err != nil {
			t.Fatal(err)
		}

		clear(e.seen)
		if _, err := ostree.Copy(t.Context(), e.dir, h, first, ostree.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := h.SetRef(t.Context(), "main", first); err != nil {
			t.Fatal(err)
		}
		if len(e.seen) != 2 || e.seen["HEAD objects"] != 1 || e.seen["POST refs"] != 1 {
			t.Errorf("pushing again: %v", e.seen)
		}

		second := e.commit(first, 120, "second")
		again, err := ostree.Copy(t.Context(), e.dir, h, second, ostree.CopyOptions{})
		if err != nil || again.Uploaded != 3 { // file, root dirtree, commit
			t.Errorf("second commit: %+v, %v", again, err)
		}
		// Objects belong to a namespace: another one starts with nothing.
		other, err := ostree.Copy(t.Context(), e.dir, e.client("other"), first, ostree.CopyOptions{})
		if err != nil || other.Uploaded != stats.Uploaded {
			t.Errorf("another namespace: %+v, %v", other, err)
		}
	})
}

// TestConcurrentPushesThroughTheAPI: five build jobs push the same tree.
func TestConcurrentPushesThroughTheAPI(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newTreeHubEdge(t, d)
		commit := e.commit(ostree.Checksum{}, 80, "same")
		var wg sync.WaitGroup
		for range 5 {
			h := e.client("default")
			wg.Go(func() {
				if _, err := ostree.Copy(t.Context(), e.dir, h, commit, ostree.CopyOptions{}); err != nil {
					t.Error(err)
				} else if err := h.SetRef(t.Context(), "main", commit); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := e.hub.RequireComplete(t.Context(), "default", commit); err != nil {
			t.Error(err)
		}
		c, err := e.hub.Commit(t.Context(), "default", commit)
		if err != nil || e.blobs() != int(c.Objects) {
			t.Errorf("%d blobs for %+v, %v", e.blobs(), c, err)
		}
	})
}

// TestWireContract goes through the answers that clients depend on.
func TestWireContract(t *testing.T) {
	e := newTreeHubEdge(t, dbtest.SQLite(t))
	commit := e.commit(ostree.Checksum{}, 3, "one")
	name := ostree.ObjectName{Checksum: commit, Type: ostree.TypeCommit}
	object, bytes := "objects/"+name.Path(), string(e.read(name))
	root, err := ostree.ParseCommit([]byte(bytes))
	if err != nil {
		t.Fatal(err)
	}
	tree := "objects/" + ostree.ObjectName{Checksum: root.Root, Type: ostree.TypeDirTree}.Path()
	upper := strings.Replace(object, object[8:10], "ZZ", 1)
	for _, step := range []struct {
		token, method, path, body string
		header                    []string
		status                    int
		text                      string
	}{
		{"default", "GET", "config", "", nil, 200, "mode=archive-z2\nindexed-deltas=true"},
		{"", "GET", "config", "", nil, 401, "unauthorized"},
		{"default", "HEAD", object, "", nil, 404, ""},
		{"reader", "POST", object, bytes, nil, 403, "treehub:push"},
		{"default", "POST", object, bytes, nil, 204, ""},
		{"default", "POST", object, bytes, nil, 409, "object_exists"},
		{"default", "HEAD", object, "", nil, 404, ""}, // its tree is not here
		{"default", "GET", object, "", nil, 404, "object_missing"},
		{"default", "POST", "refs/heads/main", commit.String(), nil, 412, root.Root.String()},
		{"default", "POST", tree, "not a tree", nil, 400, "object_hash_mismatch"},
		{"default", "POST", upper, bytes, nil, 400, "invalid_object"},
		{"default", "GET", upper, "", nil, 404, "object_missing"},
		{"default", "POST", "objects/missing", `{"wanted":["` + name.String() + `"]}`, nil, 200, `{"missing":["` + name.String() + `"]}`},
		{"default", "POST", "objects/missing", `{"wanted":["x"]}`, nil, 400, "name 0"},
		{"default", "PUT", "manifests/" + commit.String(), "{}", nil, 412, "commit_missing"},
		{"default", "GET", "refs/heads/main", "", nil, 404, "missing_entity"},
		{"default", "GET", "summary", "", nil, 404, "not_found"},
	} {
		res, text := e.do(step.token, step.method, step.path, step.body, step.header...)
		if res.StatusCode != step.status || !strings.Contains(text, step.text) {
			t.Errorf("%s %s as %q: %d %s, want %d %s", step.method, step.path, step.token, res.StatusCode, text, step.status, step.text)
		}
	}
	if _, err := ostree.Copy(t.Context(), e.dir, e.client("default"), commit, ostree.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		method, path, body string
		header             []string
		status             int
		text               string
	}{
		{"POST", "refs/heads/board/main", commit.String(), []string{"Content-Type", "application/x-www-form-urlencoded"}, 200, commit.String()},
		{"POST", "refs/heads/board/main", commit.String() + "\n", nil, 400, "invalid_entity"},
		{"GET", "refs/heads/board/main", "", nil, 200, commit.String()},
		{"POST", "refs/heads/..%2fx", commit.String(), nil, 400, ""},
		{"PUT", "manifests/" + commit.String(), `{"a":[1]}`, nil, 200, ""},
		{"GET", "manifests/" + commit.String(), "", nil, 200, `{"a":[1]}`},
		{"GET", "/api/v1/treehub/refs", "", nil, 200, `"updatedBy":"token:ci"`},
		{"GET", "/api/v1/treehub/commits?limit=1", "", nil, 200, `"refs":["board/main"]`},
		{"GET", "/api/v1/treehub/commits/" + commit.String(), "", nil, 200, `"complete":true`},
		{"GET", "/api/v1/treehub/commits/" + strings.Repeat("0", 64), "", nil, 404, "missing_entity"},
	} {
		res, text := e.do("default", step.method, step.path, step.body, step.header...)
		if res.StatusCode != step.status || !strings.Contains(text, step.text) {
			t.Errorf("%s %s: %d %s, want %d %s", step.method, step.path, res.StatusCode, text, step.status, step.text)
		}
	}
	checkDownload(t, e, object, bytes)
}

func checkDownload(t *testing.T, e *treehubEdge, path, want string) {
	t.Helper()
	get, text := e.do("default", "GET", path, "")
	head, _ := e.do("default", "HEAD", path, "")
	if text != want || get.StatusCode != 200 || head.StatusCode != 200 {
		t.Fatalf("GET %d, HEAD %d, %d bytes", get.StatusCode, head.StatusCode, len(text))
	}
	for _, header := range []string{"Content-Length", "Content-Type", "ETag", "Cache-Control", "Accept-Ranges"} {
		if g, h := get.Header.Get(header), head.Header.Get(header); g == "" || g != h {
			t.Errorf("%s: GET %q, HEAD %q", header, g, h)
		}
	}
	if c := get.Header.Get("Cache-Control"); !strings.Contains(c, "immutable") || get.Header.Get("Content-Encoding") != "" {
		t.Errorf("headers %v", get.Header)
	}
	part, text := e.do("default", "GET", path, "", "Range", "bytes=2-5")
	if part.StatusCode != 206 || text != want[2:6] {
		t.Errorf("range: %d %q", part.StatusCode, text)
	}
	same, _ := e.do("default", "GET", path, "", "If-None-Match", get.Header.Get("ETag"))
	if same.StatusCode != 304 {
		t.Errorf("revalidation: %d", same.StatusCode)
	}
}

// TestFormUpload is how older clients send an object.
func TestFormUpload(t *testing.T) {
	e := newTreeHubEdge(t, dbtest.SQLite(t))
	commit := e.commit(ostree.Checksum{}, 0, "form")
	name := ostree.ObjectName{Checksum: commit, Type: ostree.TypeCommit}
	for _, tt := range []struct {
		field  string
		status int
	}{{"other", 400}, {"file", 200}, {"file", 409}} {
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		part, err := w.CreateFormFile(tt.field, "x")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(e.read(name))
		_ = w.Close()
		res, text := e.do("default", "POST", "objects/"+name.Path(), form.String(), "Content-Type", w.FormDataContentType())
		if res.StatusCode != tt.status {
			t.Errorf("field %s: %d %s, want %d", tt.field, res.StatusCode, text, tt.status)
		}
	}
}

// TestRefusedUploadIsAnswered: the answer arrives although the client is still
// sending, and nothing is stored.
func TestRefusedUploadIsAnswered(t *testing.T) {
	e := newTreeHubEdge(t, dbtest.SQLite(t))
	garbage := strings.Repeat("x", 3<<20)
	name := ostree.ObjectName{Checksum: ostree.Checksum{7}, Type: ostree.TypeFile}
	for range 5 {
		res, text := e.do("default", "POST", "objects/"+name.Path(), garbage)
		var told struct{ Code, Cause string }
		if err := json.Unmarshal([]byte(text), &told); err != nil || res.StatusCode != 400 || !strings.Contains(told.Cause, "filez_header") {
			t.Errorf("%d %s", res.StatusCode, text)
		}
	}
	var refused *hub.StatusError
	err := e.client("default").Put(t.Context(), name, int64(len(garbage)), strings.NewReader(garbage))
	if !errors.As(err, &refused) || refused.Code != 400 {
		t.Errorf("hub says %v", err)
	}
	// A client that leaves in the middle leaves nothing either.
	ctx, cancel := context.WithCancel(t.Context())
	err = e.client("default").Put(ctx, name, 1<<20, io.MultiReader(strings.NewReader(garbage[:1<<10]), cancelling(cancel)))
	if err == nil || e.blobs() != 0 {
		t.Errorf("%v, %d blobs", err, e.blobs())
	}
}

type cancelling context.CancelFunc

func (c cancelling) Read([]byte) (int, error) { c(); return 0, errors.New("gone") }

// BenchmarkPush pushes 2,500 objects to an empty TreeHub.
func BenchmarkPush(b *testing.B) {
	e := newTreeHubEdge(b, dbtest.SQLite(b))
	commit := e.commit(ostree.Checksum{}, 2430, "bench")
	for i := range b.N {
		h := e.client(fmt.Sprint("ns", i))
		stats, err := ostree.Copy(b.Context(), e.dir, h, commit, ostree.CopyOptions{Jobs: 120})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(stats.Uploaded), "objects/op")
	}
}
