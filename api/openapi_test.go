package api_test

import (
	"encoding/json"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sealift/access"
	"sealift/api"
	"sealift/internal/web"
)

func TestDocumentedAsRouted(t *testing.T) {
	routes, err := api.Routes()
	if err != nil {
		t.Fatal(err)
	}
	for _, diff := range web.CompareOpenAPI(api.OpenAPI(), routes) {
		t.Error(diff)
	}
	if diffs := web.CompareOpenAPI(api.OpenAPI(), routes[1:]); len(diffs) != 1 || !strings.Contains(diffs[0], "documented, but no route") {
		t.Errorf("without %s: %q", routes[0], diffs)
	}
	moved := strings.Replace(string(api.OpenAPI()), "\n  /api/v1/status:\n", "\n  /api/v1/state:\n", 1)
	diffs := strings.Join(web.CompareOpenAPI([]byte(moved), routes), "\n")
	for _, want := range []string{"GET /api/v1/state: documented, but no route", "GET /api/v1/status: a route, but not documented"} {
		if !strings.Contains(diffs, want) {
			t.Errorf("after a path has moved: %s", diffs)
		}
	}
}

// TestScopesAreDocumented holds the list people choose a token's scopes from
// against the scopes there are.
func TestScopesAreDocumented(t *testing.T) {
	var doc struct {
		Components struct {
			Schemas struct {
				Scope struct {
					AnyOf []struct {
						Enum    []access.Scope `json:"enum"`
						Pattern string         `json:"pattern"`
					} `json:"anyOf"`
					Description string `json:"description"`
				}
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(reader(t)("/docs/openapi.json").Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	scope := doc.Components.Schemas.Scope
	if len(scope.AnyOf) != 2 || !slices.Equal(scope.AnyOf[0].Enum, access.Scopes()) || !regexp.MustCompile(scope.AnyOf[1].Pattern).MatchString(string(access.Supplier("a"))) {
		t.Fatalf("documented are %q", scope.AnyOf)
	}
	for _, s := range append(access.Scopes(), "delegation:ROLE") {
		if !strings.Contains(scope.Description, string(s)+":") {
			t.Errorf("scope %s is not documented", s)
		}
	}
}

func TestDocsPage(t *testing.T) {
	read := reader(t)
	rec := read("/docs")
	page := rec.Body.String()
	routes, err := api.Routes()
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

// reader asks an api without services.
func reader(t *testing.T) func(path string) *httptest.ResponseRecorder {
	t.Helper()
	h, err := api.New(api.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return func(path string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec
	}
}
