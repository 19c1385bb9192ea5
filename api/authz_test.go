package api_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sealift/access"
	"sealift/api"
	"sealift/internal/db/dbtest"
	"sealift/internal/web"
)

// entrance is the whole api with a real access service and nothing behind it:
// a handler that is reached finds no service and fails, but not with 401 or
// 403.
type entrance struct {
	t       *testing.T
	access  *access.Access
	handler http.Handler
	routes  []web.Route
	asked   int
}

func newEntrance(t *testing.T) *entrance {
	t.Helper()
	e := &entrance{t: t}
	log := slog.New(slog.DiscardHandler)
	var err error
	if e.access, err = access.New(t.Context(), access.Config{DB: dbtest.SQLite(t), Log: log}); err != nil {
		t.Fatal(err)
	}
	if err := e.access.CreateNamespace(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	if e.handler, err = api.New(api.Config{Access: e.access, Log: log}); err != nil {
		t.Fatal(err)
	}
	if e.routes, err = api.Routes(); err != nil {
		t.Fatal(err)
	}
	return e
}

// token makes one with these scopes.
func (e *entrance) token(scopes ...access.Scope) string {
	e.t.Helper()
	text, _, err := e.access.CreateToken(e.t.Context(), "default", "test", scopes, 0)
	if err != nil {
		e.t.Fatal(err)
	}
	return text
}

// ask sends a request to a route and returns the status and the code of the
// error. Each comes from an address of its own, because who fails often is
// kept waiting.
func (e *entrance) ask(r web.Route, headers ...string) (int, string) {
	e.asked++
	path := regexp.MustCompile(`[:*]\w+`).ReplaceAllString(r.Pattern, "x")
	q := httptest.NewRequest(r.Method, path, nil)
	q.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1", e.asked>>16, e.asked>>8&255, e.asked&255)
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	e.handler.ServeHTTP(rec, q)
	var body struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(rec.Body.Bytes(), &body)
	return rec.Code, body.Code
}

// guarded returns the routes that demand a permission.
func (e *entrance) guarded() []web.Route {
	return slices.DeleteFunc(slices.Clone(e.routes), func(r web.Route) bool { return r.Permission == web.Public })
}

func TestPublicRoutes(t *testing.T) {
	e := newEntrance(t)
	var public []string
	for _, r := range e.routes {
		if r.Permission != web.Public {
			continue
		}
		public = append(public, r.Method+" "+r.Pattern)
		if status, code := e.ask(r); status == http.StatusUnauthorized || code == "forbidden" {
			t.Errorf("%s: %d %s without a token", r, status, code)
		}
	}
	want := slices.Sorted(slices.Values(api.PublicRoutes))
	if slices.Sort(public); !slices.Equal(public, want) {
		t.Errorf("public routes are %q, the list has %q", public, want)
	}
}

func TestEveryPermissionIsGrantedBySomeScope(t *testing.T) {
	e := newEntrance(t)
	for _, r := range e.guarded() {
		if !slices.ContainsFunc(access.Scopes(), func(s access.Scope) bool { return slices.Contains(s.Permissions(), r.Permission) }) {
			t.Errorf("%s: no scope grants this", r)
		}
		if !slices.Contains(access.Admin.Permissions(), r.Permission) {
			t.Errorf("%s: admin does not grant this", r)
		}
	}
}

// TestScopesDecide asks for every route with every scope.
func TestScopesDecide(t *testing.T) {
	e := newEntrance(t)
	for _, scope := range append(access.Scopes(), access.Supplier("x")) {
		token, granted := e.token(scope), 0
		for _, r := range e.guarded() {
			status, code := e.ask(r, "Authorization", "Bearer "+token)
			refused := status == http.StatusForbidden && code == "forbidden"
			may := slices.Contains(scope.Permissions(), r.Permission)
			if refused == may || may && (status == http.StatusForbidden || status == http.StatusUnauthorized) {
				t.Errorf("%s with scope %s: %d %s", r, scope, status, code)
			}
			if may {
				granted++
			}
		}
		if granted == 0 {
			t.Errorf("scope %s opens no route", scope)
		}
	}
}

// TestReadingChangesNothing lists what a token for reading may ask with a
// method that usually changes something.
func TestReadingChangesNothing(t *testing.T) {
	questions := regexp.MustCompile(`^POST .*(/objects/missing|/admin/devices/list-installed-targets|/admin/images/installed_count|/list-target-comments|/v2/user_repo/search) `)
	for _, r := range newEntrance(t).guarded() {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead || questions.MatchString(r.String())
		if !reads && slices.Contains(access.Read.Permissions(), r.Permission) {
			t.Errorf("%s: a token for reading may do this", r)
		}
	}
}

func TestTokensThatProveNobody(t *testing.T) {
	e := newEntrance(t)
	good, other := e.token(access.Admin), e.token(access.Admin)
	id := strings.Split(other, "_")[1]
	if err := e.access.RevokeToken(t.Context(), "default", id); err != nil {
		t.Fatal(err)
	}
	wrong := good[:len(good)-1] + "2"
	if wrong == good {
		wrong = good[:len(good)-1] + "3"
	}
	for _, r := range e.guarded() {
		for _, c := range []struct{ name, header, code string }{
			{"no token", "", "unauthorized"},
			{"an unknown scheme", "Digest " + good, "unauthorized"},
			{"a token without scheme", good, "unauthorized"},
			{"an empty token", "Bearer ", "invalid_token"},
			{"a wrong secret", "Bearer " + wrong, "invalid_token"},
			{"a revoked token", "Bearer " + other, "token_revoked"},
			{"an id alone", "Bearer " + id, "invalid_token"},
		} {
			if status, code := e.ask(r, "Authorization", c.header); status != http.StatusUnauthorized || code != c.code {
				t.Errorf("%s with %s: %d %s", r, c.name, status, code)
			}
		}
	}
}

func TestNamespaceIsTheTokens(t *testing.T) {
	e := newEntrance(t)
	bearer := "Bearer " + e.token(access.Admin)
	for _, r := range e.guarded() {
		if status, code := e.ask(r, "Authorization", bearer, "x-ats-namespace", "another"); status != http.StatusForbidden || code != "namespace_mismatch" {
			t.Errorf("%s in another namespace: %d %s", r, status, code)
		}
		if status, code := e.ask(r, "Authorization", bearer, "x-ats-namespace", "default"); status == http.StatusForbidden {
			t.Errorf("%s in the token's own namespace: %d %s", r, status, code)
		}
	}
}

func TestTokenAsPasswordAndExchanged(t *testing.T) {
	e := newEntrance(t)
	text := e.token(access.WriteRegistry)
	exchanged, _, err := e.access.Exchange(t.Context(), "", strings.Split(text, "_")[1], text)
	if err != nil {
		t.Fatal(err)
	}
	basic := httptest.NewRequest(http.MethodGet, "/", nil)
	basic.SetBasicAuth("anyone", text)
	for _, header := range []string{basic.Header.Get("Authorization"), "Bearer " + exchanged} {
		for _, r := range e.guarded() {
			status, code := e.ask(r, "Authorization", header)
			if may := slices.Contains(access.WriteRegistry.Permissions(), r.Permission); (code == "forbidden") == may || status == http.StatusUnauthorized {
				t.Errorf("%s: %d %s", r, status, code)
			}
		}
	}
}
