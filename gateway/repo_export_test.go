package gateway

import (
	"log/slog"
	"net/http"

	"sealift/internal/web"
	"sealift/keys"
	"sealift/repo"
)

// RepoHandler serves the Image repository's routes alone.
func RepoHandler(r *repo.Repo, vault *keys.Vault, identify web.Identify, log *slog.Logger) (http.Handler, error) {
	return web.New(web.Config{Name: "gateway", Routes: (&server{repo: r, vault: vault}).repoRoutes(), Identify: identify,
		EmptyErrors: []string{"/repo/targets/"}, Log: log})
}
