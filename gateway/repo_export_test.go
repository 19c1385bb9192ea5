package gateway

import (
	"log/slog"
	"net/http"

	"sealift/internal/web"
	"sealift/repo"
)

// RepoHandler serves the Image repository's routes alone.
func RepoHandler(r *repo.Repo, identify web.Identify, log *slog.Logger) (http.Handler, error) {
	return web.New(web.Config{Name: "gateway", Routes: (&server{repo: r}).repoRoutes(), Identify: identify,
		EmptyErrors: []string{"/repo/targets/"}, Log: log})
}
