package web_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"sealift/internal/web"
)

// named answers with its own pattern and what its variables matched.
func named(pattern string) web.Route {
	return web.Route{Method: "GET", Pattern: pattern, Permission: web.Public, Handler: func(c *gin.Context) {
		var b strings.Builder
		b.WriteString(pattern)
		for _, p := range c.Params {
			b.WriteString(" " + p.Key + "=" + p.Value)
		}
		c.String(http.StatusOK, b.String())
	}}
}

func newTable(t testing.TB, patterns ...string) http.Handler {
	t.Helper()
	var routes []web.Route
	for _, p := range patterns {
		routes = append(routes, named(p))
	}
	h, err := web.New(web.Config{Log: slog.New(slog.DiscardHandler), Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(h http.Handler, path string) (int, string) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, &http.Request{Method: "GET", URL: &url.URL{Path: path}, Header: http.Header{}})
	return rec.Code, rec.Body.String()
}

// TestFixedNamesGoFirst has the shapes of the real tables: fixed names beside
// a catch-all, and patterns of which neither is the more special one.
func TestFixedNamesGoFirst(t *testing.T) {
	h := newTable(t, "/", "/targets/*name", "/targets/expire/not-before", "/targets/:name/comment",
		"/devices/:id/events", "/devices/events/:id", "/devices/:id", "/:file")
	tests := map[string]string{
		"/":                          "/",
		"/targets/a":                 "/targets/*name name=a",
		"/targets/a/b/c":             "/targets/*name name=a/b/c",
		"/targets/expire/not-before": "/targets/expire/not-before",
		"/targets/expire":            "/targets/*name name=expire",
		"/targets/expire/x":          "/targets/*name name=expire/x",
		"/targets/expire/comment":    "/targets/:name/comment name=expire",
		"/targets/a/comment":         "/targets/:name/comment name=a",
		"/targets":                   "/:file file=targets",
		"/devices/7/events":          "/devices/:id/events id=7",
		"/devices/events/7":          "/devices/events/:id id=7",
		"/devices/events/events":     "/devices/events/:id id=events",
		"/devices/events":            "/devices/:id id=events",
		"/3.root.json":               "/:file file=3.root.json",
	}
	for path, want := range tests {
		if code, body := get(h, path); code != 200 || body != want {
			t.Errorf("%s: %d %q, want %q", path, code, body, want)
		}
	}
	if code, _ := get(h, "/devices/7/nothing"); code != 404 {
		t.Errorf("unknown path: %d", code)
	}
}

// FuzzPath: whatever the path, a request is refused or handled under a clean
// path, and adding slashes changes nothing.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "//a//b/", "/a/../b", "/a/./b", "/a\x00", "/a\\..\\b", "/\xff", "", "a", "/a/b/c/..."} {
		f.Add(s)
	}
	h := newTable(f, "/", "/*rest")
	f.Fuzz(func(t *testing.T, path string) {
		code, body := get(h, path)
		if slashed, again := get(h, "/"+strings.ReplaceAll(path, "/", "//")+"/"); len(path) < 1000 && (slashed != code || code == 200 && again != body) {
			t.Errorf("%q: %d %q, with more slashes %d %q", path, code, body, slashed, again)
		}
		if code == 400 {
			return
		}
		if code != 200 {
			t.Fatalf("%q: status %d", path, code)
		}
		rest, ok := strings.CutPrefix(body, "/*rest rest=")
		if !ok && body != "/" {
			t.Fatalf("%q: body %q", path, body)
		}
		for s := range strings.SplitSeq(rest, "/") {
			if ok && (s == "" || s == "." || s == ".." || strings.ContainsAny(s, "\x00\n\x1b")) {
				t.Errorf("%q was handled as %q", path, rest)
			}
		}
	})
}
