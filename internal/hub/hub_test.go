package hub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sealift/internal/hub"
	"sealift/treehub/ostree"
)

// shelf is a TreeHub of the plain kind: it knows objects and refs, no batches.
type shelf struct {
	mu       sync.Mutex
	files    map[string][]byte
	requests map[string]int // by method
	flying   int
	most     int
	forced   bool
}

func newShelf() *shelf { return &shelf{files: map[string][]byte{}, requests: map[string]int{}} }

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v3/")
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	s.requests[r.Method]++
	s.flying++
	s.most = max(s.most, s.flying)
	s.mu.Unlock()
	time.Sleep(time.Millisecond) // so that requests overlap
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying--
	old, known := s.files[path]
	switch {
	case !ok || err != nil:
		w.WriteHeader(500)
	case r.Method == "POST" && strings.HasPrefix(path, "refs/"):
		s.files[path], s.forced = body, r.Header.Get("x-ats-ostree-force") == "true"
	case r.Method == "POST" && known:
		w.WriteHeader(409)
	case r.Method == "POST" && strings.Count(path, "/") == 2:
		s.files[path] = body
		w.WriteHeader(204)
	case r.Method == "PUT":
		s.files[path] = body
	case known:
		_, _ = w.Write(old)
	default:
		w.WriteHeader(404)
	}
}

func newHub(t *testing.T, h http.Handler, edit func(*hub.Config)) *hub.Hub {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c := hub.Config{URL: server.URL + "/api/v3/", Client: server.Client()}
	if edit != nil {
		edit(&c)
	}
	out, err := hub.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCopyToPlainTreeHub pushes a tree to a server without extensions and
// fetches it again.
func TestCopyToPlainTreeHub(t *testing.T) {
	src, commit := repository(t, 60)
	s := newShelf()
	h := newHub(t, s, func(c *hub.Config) { c.Jobs, c.Force = 8, true })
	stats, err := ostree.Copy(t.Context(), src, h, commit, ostree.CopyOptions{Jobs: 32})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetRef(t.Context(), "board/main", commit); err != nil {
		t.Fatal(err)
	}
	// One POST is the batch the server does not know, one the ref.
	if heads, posts := s.requests["HEAD"], s.requests["POST"]; heads != stats.Queried || posts != stats.Uploaded+2 || stats.Uploaded < 60 {
		t.Errorf("%d HEAD, %d POST for %+v", heads, posts, stats)
	}
	if s.most > 8 || s.most < 2 {
		t.Errorf("%d requests at once, want 2 to 8", s.most)
	}
	if !s.forced || h.Sent() != stats.Bytes {
		t.Errorf("forced %v, %d bytes sent, want %d", s.forced, h.Sent(), stats.Bytes)
	}

	dst, err := ostree.InitDir(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.Ref(t.Context(), "board/main"); err != nil || got != commit {
		t.Errorf("ref = %s, %v", got, err)
	}
	back, err := ostree.Copy(t.Context(), h, dst, commit, ostree.CopyOptions{})
	if err != nil || back.Uploaded != stats.Uploaded {
		t.Errorf("fetched %+v, %v", back, err)
	}
	if _, err := h.Ref(t.Context(), "nowhere"); !errors.Is(err, ostree.ErrNotFound) {
		t.Errorf("missing ref: %v", err)
	}
	if err := h.PutManifest(t.Context(), commit, []byte("{}")); err != nil {
		t.Error(err)
	}

	clear(s.requests)
	if _, err := ostree.Copy(t.Context(), src, h, commit, ostree.CopyOptions{}); err != nil || fmt.Sprint(s.requests) != "map[HEAD:1]" {
		t.Errorf("pushing again: %v, %v", s.requests, err)
	}
}

func repository(t *testing.T, files int) (*ostree.Dir, ostree.Checksum) {
	t.Helper()
	root := t.TempDir()
	for i := range files {
		name := filepath.Join(root, fmt.Sprintf("d%d", i%7), fmt.Sprintf("f%d", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, fmt.Append(nil, "file ", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := ostree.InitDir(filepath.Join(t.TempDir(), "repo"))
	if err != nil {
		t.Fatal(err)
	}
	commit, err := dir.Commit(t.Context(), os.DirFS(root), ostree.CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return dir, commit
}

// server answers without a network, so that the clock can be the test's.
type server func(n int, r *http.Request) *http.Response

func (s server) client(n *int) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		*n++
		res := s(*n, r)
		if res == nil {
			return nil, errors.New("connection reset")
		}
		return res, nil
	})}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, header, body string) *http.Response {
	res := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	if name, value, ok := strings.Cut(header, ": "); ok {
		res.Header.Set(name, value)
	}
	return res
}

var object = ostree.ObjectName{Checksum: ostree.Checksum{1}, Type: ostree.TypeFile}

// TestGivesUp: a server that only fails gets six requests within 31 seconds,
// one that fails for good gets one.
func TestGivesUp(t *testing.T) {
	for _, tt := range []struct {
		res      func() *http.Response
		requests int
		after    time.Duration
		text     string
	}{
		{func() *http.Response { return nil }, 6, 31 * time.Second, "connection reset"},
		{func() *http.Response { return answer(503, "", "") }, 6, 31 * time.Second, "answered 503"},
		{func() *http.Response { return answer(429, "Retry-After: 9", "") }, 6, (9 + 9 + 9 + 9 + 16) * time.Second, "answered 429"},
		{func() *http.Response {
			return answer(401, "", `{"code":"unauthorized","description":"no","cause":"token expired\u001b[2J"}`)
		},
			1, 0, "answered 401: no (unauthorized): token expired?[2J"},
		{func() *http.Response { return answer(403, "", "<html>") }, 1, 0, "answered 403: Forbidden"},
		{func() *http.Response { return answer(413, "", "") }, 1, 0, "answered 413"},
		{func() *http.Response {
			return answer(400, "", `{"code":"invalid_object","description":"broken","cause":"filez_mode"}`)
		},
			1, 0, "answered 400: broken (invalid_object): filez_mode"},
		{func() *http.Response { return answer(302, "Location: /elsewhere", "") }, 1, 0, "answered 302"},
	} {
		synctest.Test(t, func(t *testing.T) {
			n, retries := 0, 0
			h, err := hub.New(hub.Config{URL: "http://hub/api/v3", Retry: func(error) { retries++ },
				Client: server(func(int, *http.Request) *http.Response { return tt.res() }).client(&n)})
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			err = h.Put(t.Context(), object, 3, strings.NewReader("abc"))
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("err = %v, want %q in it", err, tt.text)
			}
			if took := time.Since(start); n != tt.requests || took != tt.after || retries != n-1 {
				t.Errorf("%s: %d requests and %d retries in %v, want %d in %v", tt.text, n, retries, took, tt.requests, tt.after)
			}
		})
	}
}

// TestSendsAgain: after a failure the whole object is sent again, if it can be.
func TestSendsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bodies []string
		n := 0
		client := server(func(n int, r *http.Request) *http.Response {
			// The first answer comes while the body is still being read.
			body, _ := io.ReadAll(io.LimitReader(r.Body, int64(n+1)))
			bodies = append(bodies, string(body))
			return answer([]int{503, 204}[n-1], "", "")
		}).client(&n)
		h, err := hub.New(hub.Config{URL: "http://hub", Client: client})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Put(t.Context(), object, 3, strings.NewReader("abc")); err != nil {
			t.Error(err)
		}
		if fmt.Sprint(bodies) != "[ab abc]" {
			t.Errorf("bodies %q", bodies)
		}
		n = 0
		err = h.Put(t.Context(), object, 3, io.MultiReader(strings.NewReader("abc")))
		if err == nil || n != 1 {
			t.Errorf("a stream was sent %d times: %v", n, err)
		}
		broken := io.MultiReader(strings.NewReader("a"), roundError{})
		n = 0
		if err := h.Put(t.Context(), object, 3, broken); !errors.Is(err, errDisk) {
			t.Errorf("a source that fails: %v", err)
		}
	})
}

var errDisk = errors.New("disk on fire")

type roundError struct{}

func (roundError) Read([]byte) (int, error) { return 0, errDisk }

// TestBatches: questions that come together go together where the server
// knows how to answer, and a lone one goes alone.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heads, posts int
		n := 0
		client := server(func(_ int, r *http.Request) *http.Response {
			time.Sleep(time.Second)
			if r.Method == "HEAD" {
				heads++
				if strings.HasSuffix(r.URL.Path, object.Path()) {
					return answer(404, "", "")
				}
				return answer(200, "", "")
			}
			posts++
			body, _ := io.ReadAll(r.Body)
			if !bytes.Contains(body, []byte(object.String())) {
				return answer(200, "", `{"missing":[]}`)
			}
			return answer(200, "", `{"missing":["`+object.String()+`"]}`)
		}).client(&n)
		h, err := hub.New(hub.Config{URL: "http://hub", Client: client})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(name ostree.ObjectName) {
			has, err := h.Has(t.Context(), name)
			if err != nil || has == (name == object) {
				t.Errorf("has %s = %v, %v", name, has, err)
			}
		}
		ask(ostree.ObjectName{Checksum: ostree.Checksum{9}, Type: ostree.TypeCommit})
		if heads != 1 || posts != 0 {
			t.Errorf("a lone question: %d HEAD, %d POST", heads, posts)
		}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				name := object
				name.Checksum[1] = byte(i)
				ask(name)
			})
		}
		wg.Wait()
		if heads > 2 || posts > 2 {
			t.Errorf("50 questions: %d HEAD, %d POST", heads, posts)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.Has(ctx, object); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

func TestBadAddress(t *testing.T) {
	for _, u := range []string{"", "hub.example", "ftp://hub", "http://"} {
		if _, err := hub.New(hub.Config{URL: u, Client: http.DefaultClient}); err == nil {
			t.Errorf("%q was taken", u)
		}
	}
}
