package gateway

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"sealift/internal/web"
	"sealift/uptane"
)

// Body limits of the Director's routes. A manifest takes about a kilobyte an
// ECU, a registration half of that.
const (
	maxRegistration = 1 << 20
	maxManifest     = 2 << 20
)

// patternECUs is the route that counts for more than others: see limits.
const patternECUs = "/director/ecus"

func (s *server) directorRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodPost, Pattern: patternECUs, Permission: permitDevice, Handler: s.postECUs},
		{Method: http.MethodPut, Pattern: "/director/manifest", Permission: permitDevice, Handler: s.putManifest},
		{Method: http.MethodGet, Pattern: "/director/:filename", Permission: permitDevice, Handler: s.getDirectorMetadata},
	}
}

// postECUs takes the complete list of a device's ECUs. Clients look at the
// status alone.
func (s *server) postECUs(c *gin.Context) {
	who := web.MustCaller(c)
	body, err := web.Body(c, maxRegistration)
	if err != nil {
		web.Fail(c, err)
		return
	}
	created, err := s.director.RegisterECUs(c.Request.Context(), who.Namespace, who.Device, who.OEMID, body)
	if err != nil {
		web.Fail(c, err)
		return
	}
	if created {
		c.Status(http.StatusCreated)
		return
	}
	c.Status(http.StatusOK)
}

// putManifest answers 200 only when what the device reports is stored: the
// client forgets its report then.
func (s *server) putManifest(c *gin.Context) {
	who := web.MustCaller(c)
	body, err := web.Body(c, maxManifest)
	if err == nil {
		err = s.director.ReceiveManifest(c.Request.Context(), who.Namespace, who.Device, body)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusOK)
}

func (s *server) getDirectorMetadata(c *gin.Context) {
	who := web.MustCaller(c)
	if err := s.requireNewest(c.Request.Context(), who, uptane.DirectorRepository, c.Param("filename")); err != nil {
		web.Fail(c, err)
		return
	}
	doc, err := s.director.Metadata(c.Request.Context(), who.Namespace, who.Device, c.Param("filename"))
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.Raw(c, "application/json", doc)
}
