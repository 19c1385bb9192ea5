package gateway

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"sealift/internal/web"
	"sealift/registry"
	"sealift/uptane"
)

// reportRoutes take what a device says of itself. Another client of the same
// family sends its configuration with PUT.
func (s *server) reportRoutes() []web.Route {
	type put = func(context.Context, uptane.Namespace, uptane.DeviceID, []byte) error
	report := func(method, pattern string, limit int64, store func() put) web.Route {
		return web.Route{Method: method, Pattern: pattern, Permission: permitDevice, Handler: func(c *gin.Context) { s.putReport(c, limit, store()) }}
	}
	return []web.Route{
		report(http.MethodPost, "/events", registry.MaxEvents, func() put { return s.registry.PutEvents }),
		report(http.MethodPut, "/system_info", registry.MaxSystemInfo, func() put { return s.registry.PutSystemInfo }),
		report(http.MethodPut, "/system_info/network", registry.MaxNetwork, func() put { return s.registry.PutNetwork }),
		report(http.MethodPost, "/system_info/config", registry.MaxConfig, func() put { return s.registry.PutConfig }),
		report(http.MethodPut, "/system_info/config", registry.MaxConfig, func() put { return s.registry.PutConfig }),
		report(http.MethodPut, "/core/installed", registry.MaxPackages, func() put { return s.registry.PutPackages }),
	}
}

func (s *server) putReport(c *gin.Context, limit int64, store func(context.Context, uptane.Namespace, uptane.DeviceID, []byte) error) {
	who := web.MustCaller(c)
	body, err := web.Body(c, limit)
	if err == nil {
		err = store(c.Request.Context(), who.Namespace, who.Device, body)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}
