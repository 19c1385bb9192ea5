package gateway

import (
	"log/slog"
	"net/http"
	"time"

	"sealift/internal/web"
	"sealift/registry"
)

// ReportHandler serves the routes of reports with the limits of devices, and
// beside them GET /slow, which answers when it is let.
func ReportHandler(r *registry.Registry, identify web.Identify, now func() time.Time, slow http.HandlerFunc, log *slog.Logger) (http.Handler, error) {
	l := newLimits(now)
	routes := append((&server{registry: r}).reportRoutes(), web.Route{Method: "GET", Pattern: "/slow", Permission: permitDevice, Raw: slow})
	for i := range routes {
		routes[i] = l.limit(routes[i])
	}
	return web.New(web.Config{Name: "gateway", Routes: routes, Identify: identify, Log: log})
}
