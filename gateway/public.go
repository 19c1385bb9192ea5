package gateway

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"sealift/internal/web"
)

// PublicRoutes are the routes that need no certificate; a test holds the
// route table against this list.
var PublicRoutes = []string{"GET /health", "GET /docs", "GET /docs/openapi.yaml", "GET /docs/openapi.json"}

func (s *server) publicRoutes() ([]web.Route, error) {
	docs, err := web.Docs(openapi)
	if err != nil {
		return nil, err
	}
	health := web.Route{Method: http.MethodGet, Pattern: "/health", Permission: web.Public, Handler: func(c *gin.Context) {
		c.PureJSON(http.StatusOK, gin.H{"status": "OK"})
	}}
	return append(docs, health), nil
}
