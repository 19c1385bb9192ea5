package api

import (
	"net"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"sealift/internal/web"
)

// identify takes the token of a request from its Authorization header.
func (s *server) identify(r *http.Request) (web.Caller, error) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, text, ok = r.BasicAuth()
	}
	if !ok {
		return web.Caller{}, web.ErrUnauthorized.With("an API token is required, as Bearer or as the password of HTTP Basic")
	}
	return s.access.Authenticate(r.Context(), remote(r), strings.TrimSpace(text))
}

// remote is the address a request came from, without its port.
func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// PublicRoutes are the routes that need no token; a test holds the route table
// against this list. Parts of uploads carry a capability in their address; the
// public TUF tree answers 404 unless somebody made it public.
var PublicRoutes = []string{
	"GET /health", "GET /docs", "GET /docs/openapi.yaml", "GET /docs/openapi.json", "POST /oauth2/token",
	"GET /tuf/public/:namespace/metadata/:file", "GET /tuf/public/:namespace/targets/*name", "HEAD /tuf/public/:namespace/targets/*name",
	"PUT " + partPath, "PUT " + directPath,
}

func (s *server) publicRoutes() ([]web.Route, error) {
	docs, err := web.Docs(openapi)
	if err != nil {
		return nil, err
	}
	return append(docs,
		web.Route{Method: http.MethodGet, Pattern: "/health", Permission: web.Public, Handler: func(c *gin.Context) {
			c.PureJSON(http.StatusOK, gin.H{"status": "OK"})
		}},
		web.Route{Method: http.MethodPost, Pattern: "/oauth2/token", Permission: web.Public, Handler: s.postOAuthToken},
	), nil
}
