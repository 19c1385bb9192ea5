package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"sealift/internal/fault"
	"sealift/internal/web"
)

type rules []string

func (r rules) Error() string   { return strings.Join(r, "; ") }
func (r rules) FaultCause() any { return []string(r) }

// A fault may bring its cause as a list; an accident may not.
func TestCauseInAFormOfItsOwn(t *testing.T) {
	broken := rules{"too old", "too long"}
	refused := fault.New(fault.Invalid, "refused", "refused").With("both").Wrap(broken)
	for err, want := range map[error]string{
		fmt.Errorf("checking: %w", refused): `"cause":["too old","too long"]`,
		fmt.Errorf("checking: %w", broken):  `"cause":null`,
	} {
		h, setup := web.New(web.Config{Routes: []web.Route{{Method: "GET", Pattern: "/x", Permission: web.Public,
			Handler: func(c *gin.Context) { web.Fail(c, err) }}}})
		if setup != nil {
			t.Fatal(setup)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/x", nil))
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%v: got %s, want %s", err, w.Body, want)
		}
	}
}
