package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/uptane"
)

// directorRootRoutes are what garage-sign asks in a home of the Director. A
// new root is judged by the keys of the last one, whoever brings it.
func (s *server) directorRootRoutes() []web.Route {
	const base = "/api/v1/director/admin/repo"
	return []web.Route{
		{Method: http.MethodGet, Pattern: base + "/:filename", Permission: access.RepoRead, Handler: s.getDirectorRoot},
		{Method: http.MethodPost, Pattern: base + "/root", Permission: access.RepoSign, Handler: s.postDirectorRoot},
	}
}

func (s *server) postDirectorRoot(c *gin.Context) {
	who := web.MustCaller(c)
	doc, err := inflated(c, maxRoot)
	if err == nil {
		err = s.vault.PutRoot(c.Request.Context(), who.Namespace, uptane.DirectorRepository, doc)
	}
	if err != nil {
		web.Fail(c, refuseRoot(err))
		return
	}
	c.Status(http.StatusOK)
}
