package api

import (
	"log/slog"
	"net/http"

	"sealift/internal/web"
	"sealift/repo"
)

// RepoHandler serves the Image repository's routes alone.
func RepoHandler(r *repo.Repo, url string, identify web.Identify, log *slog.Logger) (http.Handler, error) {
	return web.New(web.Config{Name: "api", Routes: (&server{repo: r, url: url}).repoRoutes(), Identify: identify, Log: log})
}
