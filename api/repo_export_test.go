package api

import (
	"log/slog"
	"net/http"

	"sealift/internal/web"
	"sealift/keys"
	"sealift/repo"
)

// RepoHandler serves the Image repository's routes alone.
func RepoHandler(r *repo.Repo, vault *keys.Vault, url string, identify web.Identify, log *slog.Logger) (http.Handler, error) {
	return web.New(web.Config{Name: "api", Routes: (&server{repo: r, vault: vault, url: url}).repoRoutes(), Identify: identify, Log: log})
}
