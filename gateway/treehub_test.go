package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"gocloud.dev/blob"

	"sealift/gateway"
	"sealift/internal/db/dbtest"
	"sealift/internal/diskblob"
	"sealift/internal/web"
	"sealift/treehub"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// inNamespace is a TreeHub as ostree.Sink.
type inNamespace struct {
	*treehub.TreeHub
	ns uptane.Namespace
}

func (s inNamespace) Has(ctx context.Context, name ostree.ObjectName) (bool, error) {
	missing, err := s.Missing(ctx, s.ns, []ostree.ObjectName{name})
	return len(missing) == 0, err
}

func (s inNamespace) Put(ctx context.Context, name ostree.ObjectName, size int64, r io.Reader) error {
	return s.TreeHub.Put(ctx, s.ns, treehub.Upload{Name: name, Size: size}, r)
}

func (s inNamespace) SetRef(ctx context.Context, name string, commit ostree.Checksum) error {
	return s.TreeHub.SetRef(ctx, s.ns, treehub.RefUpdate{Name: name, Commit: commit})
}

// remote is a gateway whose TreeHub holds one commit, as refs/heads/board/main.
type remote struct {
	url    string
	tree   string // the folder that was committed
	commit ostree.Checksum
	bucket *blob.Bucket

	mu   sync.Mutex
	seen []string // requests with their status
}

func newRemote(t *testing.T) *remote {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	r := &remote{tree: t.TempDir()}
	var err error
	if r.bucket, err = diskblob.Open(filepath.Join(t.TempDir(), "blobs")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.bucket.Close() })
	hub, err := treehub.New(t.Context(), treehub.Config{DB: dbtest.SQLite(t), Bucket: r.bucket, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		r.write(t, fmt.Sprintf("usr/d%d/f%d", i%6, i), strings.Repeat(fmt.Sprint(i), i*50), 0o644)
	}
	r.write(t, "usr/bin/tool", "#!/bin/sh\n", 0o755)
	r.write(t, "empty", "", 0o644)
	if err := os.Symlink("usr/bin", filepath.Join(r.tree, "bin")); err != nil {
		t.Fatal(err)
	}
	dir, err := ostree.InitDir(filepath.Join(t.TempDir(), "repo"))
	if err != nil {
		t.Fatal(err)
	}
	if r.commit, err = dir.Commit(t.Context(), os.DirFS(r.tree), ostree.CommitOptions{Ref: "board/main", Subject: "x"}); err != nil {
		t.Fatal(err)
	}
	sink := inNamespace{hub, "default"}
	if _, err := ostree.Copy(t.Context(), dir, sink, r.commit, ostree.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := sink.SetRef(t.Context(), "board/main", r.commit); err != nil {
		t.Fatal(err)
	}
	handler, err := gateway.TreeHubHandler(hub, func(req *http.Request) (web.Caller, error) {
		if req.Header.Get("Test-Namespace") == "none" {
			return web.Caller{}, web.ErrUnauthorized
		}
		ns := uptane.Namespace(req.Header.Get("Test-Namespace"))
		if ns == "" {
			ns = "default"
		}
		return web.Caller{Kind: web.Device, Namespace: ns, Device: "d", Permissions: []string{"device"}}, nil
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		rec := &statusOf{ResponseWriter: w, status: 200}
		handler.ServeHTTP(rec, req)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen = append(r.seen, fmt.Sprint(req.Method, " ", req.URL.Path, " ", rec.status))
	}))
	t.Cleanup(server.Close)
	r.url = server.URL + "/treehub"
	return r
}

type statusOf struct {
	http.ResponseWriter
	status int
}

func (s *statusOf) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (r *remote) write(t *testing.T, name, content string, mode fs.FileMode) {
	t.Helper()
	full := filepath.Join(r.tree, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func runOstree(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("ostree"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("the ostree command is missing: install the package ostree")
		}
		t.Skip("the ostree command is missing")
	}
	cmd := exec.CommandContext(t.Context(), "ostree", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("ostree %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestOstreePull: Debian's client gets the tree that was committed, by commit
// as aktualizr does, and by ref.
func TestOstreePull(t *testing.T) {
	r := newRemote(t)
	for _, rev := range []string{r.commit.String(), "board/main"} {
		for _, mode := range []string{"archive", "bare-user-only"} {
			repo := filepath.Join(t.TempDir(), "repo")
			runOstree(t, "--repo="+repo, "init", "--mode="+mode)
			runOstree(t, "--repo="+repo, "remote", "add", "--no-gpg-verify", "hub", r.url)
			runOstree(t, "--repo="+repo, "pull", "hub", rev)
			runOstree(t, "--repo="+repo, "fsck")
			checkout := filepath.Join(t.TempDir(), "tree")
			runOstree(t, "--repo="+repo, "checkout", "--user-mode", r.commit.String(), checkout)
			if want, got := list(t, r.tree), list(t, checkout); !slices.Equal(want, got) {
				t.Errorf("%s %s: checked out\n%s\nwant\n%s", mode, rev, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	for _, line := range r.seen {
		if !strings.HasSuffix(line, " 200") && !strings.HasSuffix(line, " 404") {
			t.Errorf("the client saw %s", line)
		}
	}
}

// list describes every file below root.
func list(t *testing.T, root string) (lines []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		line := fmt.Sprint(rel, " ", info.Mode())
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", content)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " " + target
		case rel == ".":
			return nil // its mode is the temporary folder's
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestTreeHubAnswersDevices: 404 for what is not there, nothing a device could
// take for content, and never another namespace's objects.
func TestTreeHubAnswersDevices(t *testing.T) {
	r := newRemote(t)
	object := "/objects/" + ostree.ObjectName{Checksum: r.commit, Type: ostree.TypeCommit}.Path()
	for _, tt := range []struct {
		method, path, namespace string
		status                  int
	}{
		{"GET", "/config", "", 200}, {"GET", object, "", 200}, {"HEAD", object, "", 200},
		{"GET", "/refs/heads/board/main", "", 200},
		{"GET", object, "other", 404}, {"GET", "/refs/heads/board/main", "other", 404},
		{"GET", object + "meta", "", 404}, {"GET", "/objects/00/x.filez", "", 404}, {"GET", "/objects/00", "", 404},
		{"GET", "/refs/heads/none", "", 404}, {"GET", "/summary", "", 404}, {"GET", "/summary.sig", "", 404},
		{"GET", "/delta-indexes/aa/bb.index", "", 404}, {"GET", "/deltas/aa/bb/superblock", "", 404},
		{"GET", object, "none", 401}, {"POST", object, "", 405},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, r.url+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Test-Namespace", tt.namespace)
		req.Header.Set("Accept-Encoding", "gzip")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != tt.status || res.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s %s in %q: %d, %v, %v", tt.method, tt.path, tt.namespace, res.StatusCode, res.Header, err)
		}
		if tt.status >= 400 && (len(body) != 0 || res.Header.Get("X-Sealift-Error") == "") {
			t.Errorf("%s %s: body %q, headers %v", tt.method, tt.path, body, res.Header)
		}
	}
}

// TestLostBlobIsNotNotFound: a damaged server must not look like one that never
// had the object.
func TestLostBlobIsNotNotFound(t *testing.T) {
	r := newRemote(t)
	for it := r.bucket.List(nil); ; {
		o, err := it.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := r.bucket.Delete(t.Context(), o.Key); err != nil {
			t.Fatal(err)
		}
	}
	res, err := http.Get(r.url + "/objects/" + ostree.ObjectName{Checksum: r.commit, Type: ostree.TypeCommit}.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 500 || len(body) != 0 {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}
