package web_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"sealift/internal/web"
)

const shelfDoc = `
openapi: 3.1.0
info: {title: Shelf, version: "1", description: "Books & <b>things</b>."}
security: [{token: []}]
paths:
  /health:
    get:
      operationId: health
      summary: Whether the server works
      security: []
      x-required-permission: public
      responses: {200: {description: It does}}
  /books/{name}:
    parameters: [{name: name, in: path, required: true, schema: {type: string}}]
    get:
      operationId: readBook
      tags: [books]
      summary: Reads a book
      x-required-permission: read
      responses: {"200": {description: The text}}
    put:
      operationId: writeBook
      tags: [books]
      summary: Writes a book
      x-required-permission: write
      responses: {204: {description: Written}}
`

func shelf() []web.Route {
	return []web.Route{
		{Method: "GET", Pattern: "/health", Permission: web.Public},
		{Method: "GET", Pattern: "/books/*name", Permission: "read"},
		{Method: "PUT", Pattern: "/books/:name", Permission: "write"},
	}
}

func TestCompareOpenAPI(t *testing.T) {
	if diffs := web.CompareOpenAPI([]byte(shelfDoc), shelf()); len(diffs) != 0 {
		t.Errorf("equal, but: %q", diffs)
	}
	edits := []struct{ old, new, want string }{
		{"    put:", "    patch:", "PATCH /books/{name}: documented, but no route"},
		{"    put:", "    patch:", "PUT /books/{name}: a route, but not documented"},
		{"permission: write", "permission: read", `x-required-permission is "read", the route demands "write"`},
		{"      security: []\n", "", "GET /health: permission public, but documented with security: true"},
		{"summary: Reads a book", "summary: ''", "no summary"},
		{"operationId: writeBook", "operationId: readBook", `operationId "readBook"`},
		{"[{name: name,", "[{name: title,", `parameter "name" is not declared`},
		{"openapi: 3.1.0", "openapi: 3.0.0", "want 3.1"},
		{"openapi: 3.1.0", "openapi: [", "reading OpenAPI document"},
	}
	for _, e := range edits {
		diffs := web.CompareOpenAPI([]byte(strings.Replace(shelfDoc, e.old, e.new, 1)), shelf())
		if !strings.Contains(strings.Join(diffs, "\n"), e.want) {
			t.Errorf("after %q: %q, want %q", e.new, diffs, e.want)
		}
	}
}

func TestDocs(t *testing.T) {
	routes, err := web.Docs([]byte(shelfDoc))
	if err != nil {
		t.Fatal(err)
	}
	h, err := web.New(web.Config{Log: slog.New(slog.DiscardHandler), Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		return rec
	}
	page := get("/docs/")
	text := page.Body.String()
	for _, want := range []string{"Reads a book", "/books/{name}", "Books &amp; &lt;b&gt;things"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if m := regexp.MustCompile(`(?i)<script|https?://|@import|url\(`).FindString(text); m != "" {
		t.Errorf("the page loads something: %s", m)
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(text)
	hash := sha256.Sum256([]byte(style[1]))
	if policy := page.Header().Get("Content-Security-Policy"); !strings.Contains(policy, base64.StdEncoding.EncodeToString(hash[:])) {
		t.Errorf("a browser would refuse the style: %s", policy)
	}
	if got := get("/docs/openapi.yaml").Body.String(); got != shelfDoc {
		t.Errorf("yaml differs: %s", got)
	}
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(get("/docs/openapi.json").Body.Bytes(), &doc); err != nil || len(doc.Paths) != 2 {
		t.Errorf("json: %v, %v", doc, err)
	}
}
