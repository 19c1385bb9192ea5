package gateway

import (
	"log/slog"
	"net/http"

	"sealift/director"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/registry"
)

// ProvisionHandler serves POST /devices alone.
func ProvisionHandler(v *keys.Vault, d *director.Director, r *registry.Registry, identify web.Identify, log *slog.Logger) (http.Handler, error) {
	s := &server{vault: v, director: d, registry: r, log: log}
	return web.New(web.Config{Name: "gateway", Routes: s.provisionRoutes(), Identify: identify, Log: log})
}
