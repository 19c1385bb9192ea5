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
tags: [{name: books, description: What stands on the shelf.}, {name: other}]
x-answers: &answers
  default: {$ref: "#/components/responses/Error"}
paths:
  /health:
    get:
      tags: [other]
      operationId: health
      summary: Whether the server works
      security: []
      x-required-permission: public
      responses: {200: {description: It does}}
  /books/{name}:
    parameters: [{name: name, in: path, required: true, schema: {type: string}}]
    get: &read
      operationId: readBook
      tags: [books]
      summary: Reads a book
      x-required-permission: read
      responses: {<<: *answers, "200": {description: The text}}
    put:
      operationId: writeBook
      tags: [books]
      summary: Writes a book
      x-required-permission: write
      requestBody: {description: At most a page., content: {text/plain: {}}}
      responses: {<<: *answers, 204: {description: Written}}
  /shelf/{name}:
    parameters: [{$ref: "#/components/parameters/name"}]
    get: {<<: *read, operationId: readOldBook}
components:
  parameters:
    name: {name: name, in: path, required: true, description: Its title., schema: {type: string}}
  responses:
    Error: {description: Anything else.}
`

func shelf() []web.Route {
	return []web.Route{
		{Method: "GET", Pattern: "/health", Permission: web.Public},
		{Method: "GET", Pattern: "/books/*name", Permission: "read"},
		{Method: "PUT", Pattern: "/books/:name", Permission: "write"},
		{Method: "GET", Pattern: "/shelf/:name", Permission: "read"},
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
		{"operationId: readOldBook", "tags: [books]", `operationId "readBook"`},
		{"[{name: name,", "[{name: title,", `parameter "name" is not declared`},
		{"    name: {name: name,", "    name: {name: title,", `GET /shelf/{name}: parameter "name" is not declared`},
		{"parameters/name", "parameters/author", "reference #/components/parameters/author leads to nothing"},
		{"parameters/name", "responses/Error/name", "leads to nothing"},
		{"#/components/responses", "other.yaml#", "leads to nothing"},
		{"responses: {200: {description: It does}}", "responses: {}", "GET /health: no responses"},
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
	for _, want := range []string{
		"Reads a book", "/books/{name}", "/shelf/{name}", "Books &amp; &lt;b&gt;things", `id="writeBook"`,
		"stands on the shelf", "Its title.", "At most a page.", "text/plain", "Anything else.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Index(text, "<h2>books") > strings.Index(text, "<h2>other") {
		t.Error("groups are not in the order of the tags")
	}
	if m := regexp.MustCompile(`(?i)<script|https?://|@import|url\(`).FindString(text); m != "" {
		t.Errorf("the page loads something: %s", m)
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(text)
	hash := sha256.Sum256([]byte(style[1]))
	if policy := page.Header().Get("Content-Security-Policy"); !strings.Contains(policy, base64.StdEncoding.EncodeToString(hash[:])) {
		t.Errorf("a browser would refuse the style: %s", policy)
	}
	plain := get("/docs/openapi.yaml").Body.String()
	if m := regexp.MustCompile(`<<|[&*][a-z]`).FindString(strings.Replace(plain, "<b>", "", 1)); m != "" {
		t.Errorf("yaml has %q, which not every reader knows:\n%s", m, plain)
	}
	if diffs := web.CompareOpenAPI([]byte(plain), shelf()); len(diffs) != 0 {
		t.Errorf("yaml differs: %q", diffs)
	}
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(get("/docs/openapi.json").Body.Bytes(), &doc); err != nil || len(doc.Paths) != 3 {
		t.Errorf("json: %v, %v", doc, err)
	}
}
