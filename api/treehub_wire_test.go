package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"strings"
	"testing"

	"sealift/internal/db/dbtest"
	"sealift/internal/hub"
	"sealift/treehub/ostree"
)

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
