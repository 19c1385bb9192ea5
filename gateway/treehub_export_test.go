package gateway

import (
	"log/slog"
	"net/http"

	"sealift/internal/web"
	"sealift/treehub"
)

// TreeHubHandler serves the TreeHub routes alone.
func TreeHubHandler(h *treehub.TreeHub, identify web.Identify, log *slog.Logger) (http.Handler, error) {
	return web.New(web.Config{Name: "gateway", Routes: (&server{treehub: h}).treehubRoutes(), Identify: identify,
		EmptyErrors: []string{"/treehub/"}, Log: log})
}
