package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/repo"
	"sealift/uptane"
)

func (s *server) exposureRoutes() []web.Route {
	return []web.Route{{Method: http.MethodGet, Pattern: "/api/v1/exposure", Permission: access.RepoRead, Handler: s.getExposure}}
}

// exposedJSON is what a thief of all online keys could make ECUs install.
type exposedJSON struct {
	HardwareID uptane.HardwareID `json:"hardwareId"`
	Newest     []string          `json:"newest"`
	Older      []string          `json:"older"`
}

func (s *server) getExposure(c *gin.Context) {
	list, err := s.repo.Exposure(c.Request.Context(), web.MustCaller(c).Namespace)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, gin.H{"values": mapped(list, func(e repo.Exposed) exposedJSON { return exposedJSON(e) })})
}
