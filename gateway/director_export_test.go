package gateway

import (
	"log/slog"
	"net/http"

	"sealift/director"
	"sealift/internal/web"
	"sealift/keys"
)

// DirectorHandler serves the Director's routes alone.
func DirectorHandler(d *director.Director, vault *keys.Vault, identify web.Identify, log *slog.Logger) (http.Handler, error) {
	return web.New(web.Config{Name: "gateway", Routes: (&server{director: d, vault: vault}).directorRoutes(), Identify: identify, Log: log})
}
