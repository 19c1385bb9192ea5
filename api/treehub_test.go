package api_test

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
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
		var below []uptane.Role
		if role, ok := strings.CutPrefix(token, "supplier-"); ok {
			token, scope, below = "default", access.Supplier(uptane.Role(role)), []uptane.Role{uptane.Role(role)}
		}
		return web.Caller{Kind: web.Token, Namespace: uptane.Namespace(token), Token: "ci", Permissions: scope.Permissions(), ConfinedPush: below}, nil
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
	big := make([]byte, 2<<20) // the server is asked before such a body is sent
	_, _ = rand.NewChaCha8([32]byte{1}).Read(big)
	if err := os.WriteFile(filepath.Join(root, "big"), big, 0o644); err != nil {
		e.t.Fatal(err)
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

// BenchmarkPush pushes 2,500 objects to an empty TreeHub.
func BenchmarkPush(b *testing.B) {
	e := newTreeHubEdge(b, dbtest.SQLite(b))
	commit := e.commit(ostree.Checksum{}, 2429, "bench")
	for i := range b.N {
		h := e.client(fmt.Sprint("ns", i))
		stats, err := ostree.Copy(b.Context(), e.dir, h, commit, ostree.CopyOptions{Jobs: 120})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(stats.Uploaded), "objects/op")
	}
}
