package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sealift/access"
)

// The routes with which other servers give private keys away say why here they
// do not, even to whoever may do everything.
func TestPrivateKeysStayHere(t *testing.T) {
	e := newEntrance(t)
	asked := 0
	for _, r := range e.routes {
		if !strings.Contains(r.Pattern, "/private_keys/") && !strings.Contains(r.Pattern, "/:repository/keys/") {
			continue
		}
		asked++
		q := httptest.NewRequest(r.Method, strings.NewReplacer(":repository", "default", ":keyid", strings.Repeat("0", 64)).Replace(r.Pattern), nil)
		q.Header.Set("Authorization", "Bearer "+e.token(access.Admin))
		rec := httptest.NewRecorder()
		e.handler.ServeHTTP(rec, q)
		if body := rec.Body.String(); rec.Code != http.StatusNotFound || !strings.Contains(body, `"keypair_not_found"`) || !strings.Contains(body, "sealift keys export") {
			t.Errorf("%s: %d %s", r, rec.Code, body)
		}
	}
	if asked != 7 {
		t.Errorf("there are %d such routes", asked)
	}
}
