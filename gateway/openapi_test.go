package gateway_test

import (
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"sealift/gateway"
	"sealift/internal/web"
)

func TestDocumentedAsRouted(t *testing.T) {
	routes, err := gateway.Routes()
	if err != nil {
		t.Fatal(err)
	}
	for _, diff := range web.CompareOpenAPI(gateway.OpenAPI(), routes) {
		t.Error(diff)
	}
	if diffs := web.CompareOpenAPI(gateway.OpenAPI(), routes[1:]); len(diffs) != 1 || !strings.Contains(diffs[0], "documented, but no route") {
		t.Errorf("without %s: %q", routes[0], diffs)
	}
	moved := strings.Replace(string(gateway.OpenAPI()), "\n  /events:\n", "\n  /event:\n", 1)
	diffs := strings.Join(web.CompareOpenAPI([]byte(moved), routes), "\n")
	for _, want := range []string{"POST /event: documented, but no route", "POST /events: a route, but not documented"} {
		if !strings.Contains(diffs, want) {
			t.Errorf("after a path has moved: %s", diffs)
		}
	}
}

func TestDocsPage(t *testing.T) {
	h, err := gateway.New(gateway.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec
	}
	rec := read("/docs")
	page := rec.Body.String()
	routes, err := gateway.Routes()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		path := regexp.MustCompile(`[:*](\w+)`).ReplaceAllString(r.Pattern, "{$1}")
		if !strings.Contains(page, "<b>"+r.Method+"</b> <code>"+html.EscapeString(path)+"</code>") {
			t.Errorf("the page lacks %s", r)
		}
	}
	if n := strings.Count(page, "<details"); n != len(routes) {
		t.Errorf("the page has %d operations, there are %d routes", n, len(routes))
	}
	if m := regexp.MustCompile(`(?i)<script|<link|<img|https?://|//[a-z]+\.|@import|url\(|\son\w+=|javascript:`).FindString(page); m != "" {
		t.Errorf("the page reaches out: %s", m)
	}
	for _, m := range regexp.MustCompile(`(?:href|src)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if read(m[1]).Code != http.StatusOK {
			t.Errorf("the page links to %s", m[1])
		}
	}
	if policy := rec.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("policy %s", policy)
	}
}
