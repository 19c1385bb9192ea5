package reposerver_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sealift/internal/home"
	"sealift/internal/reposerver"
	"sealift/uptane"
)

// The server's reasons reach the user, however deep they are wrapped, and
// cannot move the cursor.
func TestRefusalInTheServersWords(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"list":   {`{"code":"c","description":"d\u001b[2J","cause":["one","two"]}`, "GET x: the server answered 400 Bad Request c: d?[2J\n  - one\n  - two"},
		"nested": {`{"code":"c","description":"d","cause":{"code":"i","cause":["inner"]}}`, "GET x: the server answered 400 Bad Request c: d\n  - inner"},
		"text":   {`{"code":"c","description":"d","cause":"why"}`, "GET x: the server answered 400 Bad Request c: d\n  - why"},
		"gate":   {`{"code":"c","description":"d","cause":{"judge":"uptane","rule":"json","role":"targets","reason":"no JSON"}}`, "GET x: the server answered 400 Bad Request c: d\n  - targets, as uptane judges by rule json: no JSON"},
		"html":   {`<html>`, "GET x: the server answered 400 Bad Request"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, c.body)
			}))
			defer srv.Close()
			_, err := reposerver.New(reposerver.Config{URL: srv.URL, Client: srv.Client()}).Must(t.Context(), http.MethodGet, "x", nil, nil)
			var no *reposerver.Refusal
			if !errors.As(err, &no) || err.Error() != c.want {
				t.Errorf("%q, want %q", err, c.want)
			}
			if reposerver.Refused(err, "c") != strings.HasPrefix(c.body, "{") {
				t.Error("the code is not seen")
			}
		})
	}
}

// A server that knows no parts takes the image whole; one that is busy is
// asked again.
func TestUploadWhole(t *testing.T) {
	var got []byte
	busy := 2
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if busy--; busy >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusNotImplemented)
			_, _ = io.WriteString(w, `{"code":"not_implemented"}`)
			return
		}
		if r.URL.Path != "/uploads/a b/c" {
			t.Errorf("path %q", r.URL.Path)
		}
		got, _ = io.ReadAll(r.Body)
	}))
	defer srv.Close()
	var waited []time.Duration
	var warned int
	s := reposerver.New(reposerver.Config{URL: srv.URL, Client: srv.Client(), Warn: func(string) { warned++ }})
	err := s.Upload(t.Context(), reposerver.Upload{Filename: "a b/c", File: strings.NewReader("image"), Size: 5,
		Wait: func(_ context.Context, d time.Duration) error { waited = append(waited, d); return nil }})
	if err != nil || !bytes.Equal(got, []byte("image")) || warned != 2 || !slices.Equal(waited, []time.Duration{time.Second, 2 * time.Second}) {
		t.Errorf("%v, got %q, waited %v", err, got, waited)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A thief of the root key, or a server gone mad, goes on for ever; who follows it
// does not. What was followed was signed as it must be, and stays.
func TestRootsWithoutEnd(t *testing.T) {
	h, err := home.Create(filepath.Join(t.TempDir(), "image"), home.Config{Reposerver: "https://repo.example.com", ServerType: home.RepoServer}, home.Options{})
	check(t, err)
	keys := map[uptane.Role][]uptane.Key{}
	for _, role := range []uptane.Role{"root", "targets", "snapshot", "timestamp"} {
		key, err := h.Keys().Generate(string(role), home.Ed25519, 0, false)
		check(t, err)
		keys[role] = []uptane.Key{key}
	}
	check(t, h.InitRoot(home.RootSpec{Expires: time.Now().Add(home.RootLife), Keys: keys}))
	_, err = h.SignRoot(t.Context(), home.Signing{})
	check(t, err)
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		_, version, err := uptane.ParseFilename(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			t.Errorf("asked for %s", r.URL.Path)
			return
		}
		local, err := h.Root()
		if err != nil {
			t.Error(err)
			return
		}
		next, err := h.NextRoot(local)
		if err != nil || next.Version != int64(version) {
			t.Errorf("asked for version %d: %v", version, err)
			return
		}
		signed, err := h.SealRoot(r.Context(), next, []string{"root"})
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(signed.Uptane)
	}))
	defer srv.Close()
	s := reposerver.New(reposerver.Config{URL: srv.URL, Client: srv.Client(), MaxRoots: 5})
	followed, err := s.FollowRoots(t.Context(), h)
	if !errors.Is(err, reposerver.ErrRoot) || !slices.Equal(followed, []int64{2, 3, 4, 5, 6}) || asked != 5 {
		t.Errorf("followed %v, asked %d times: %v", followed, asked, err)
	}
	if root, err := h.Root(); err != nil || root.Payload.Version != 6 {
		t.Errorf("version %d is trusted: %v", root.Payload.Version, err)
	}
	if _, err := s.Roots(t.Context(), 7, 12); !errors.Is(err, reposerver.ErrRoot) || asked != 5 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// Bodies are compressed for servers that have said that they read them, and for
// no others: not all of this family do.
func TestCompressedBodies(t *testing.T) {
	for accepts, want := range map[string]bool{"": false, "identity": false, "gzip;q=0": false, "gzip": true, "br, GZip, deflate": true} {
		var encodings []string
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var body io.Reader = r.Body
			if r.Header.Get("Content-Encoding") == "gzip" {
				z, err := gzip.NewReader(body)
				if err != nil {
					t.Error(err)
					return
				}
				body = z
			}
			if text, err := io.ReadAll(body); err != nil || len(text) > 0 && strings.Trim(string(text), "x") != "" {
				t.Errorf("%q arrived: %v", text, err)
			}
			encodings = append(encodings, r.Header.Get("Content-Encoding"))
			if accepts != "" {
				w.Header().Set("Accept-Encoding", accepts)
			}
		}))
		s := reposerver.New(reposerver.Config{URL: srv.URL, Client: srv.Client(), ZipFrom: 1000})
		for _, size := range []int{1000, 999, 1000} {
			_, err := s.Must(t.Context(), http.MethodPut, "targets", []byte(strings.Repeat("x", size)), nil)
			check(t, err)
		}
		srv.Close()
		last := ""
		if want {
			last = "gzip"
		}
		if !slices.Equal(encodings, []string{"", "", last}) {
			t.Errorf("%q: encodings %q", accepts, encodings)
		}
	}
}
