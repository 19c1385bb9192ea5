package reposerver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"sealift/internal/reposerver"
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
