package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/repo"
)

// maxNames bounds a list of targets whose comments are asked for.
const maxNames = 1 << 20

// noteRoutes are what people say about targets.
func (s *server) noteRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodGet, Pattern: "/comments", Permission: access.RepoRead, Handler: s.getComments},
		{Method: http.MethodGet, Pattern: "/comments/*filename", Permission: access.RepoRead, Handler: s.getComment},
		{Method: http.MethodPut, Pattern: "/comments/*filename", Permission: access.RepoSign, Handler: s.putComment},
		{Method: http.MethodPost, Pattern: "/list-target-comments", Permission: access.RepoRead, Handler: s.listComments},
	}
}

// sbomRoutes say where bills of materials are.
func (s *server) sbomRoutes() []web.Route {
	const sboms = "/api/v1/sboms"
	return []web.Route{
		{Method: http.MethodGet, Pattern: sboms, Permission: access.RepoRead, Handler: s.getSBOMs},
		{Method: http.MethodGet, Pattern: sboms + "/*filename", Permission: access.RepoRead, Handler: s.getSBOM},
		{Method: http.MethodPut, Pattern: sboms + "/*filename", Permission: access.RepoSign, Handler: s.putSBOM},
		{Method: http.MethodDelete, Pattern: sboms + "/*filename", Permission: access.RepoSign, Handler: s.deleteSBOM},
		{Method: http.MethodGet, Pattern: sboms + "/raw/*filename", Permission: access.RepoRead, Handler: s.getRawSBOM},
	}
}

type commentView struct {
	Filename string `json:"filename"`
	Comment  string `json:"comment"`
}

func viewComments(list []repo.Note) []commentView {
	views := make([]commentView, len(list))
	for i, n := range list {
		views[i] = commentView{n.Filename, n.Text}
	}
	return views
}

func (s *server) getComments(c *gin.Context) {
	page, err := web.PageOf(c)
	var list []repo.Note
	var total int
	if err == nil {
		list, total, err = s.repo.Comments(c.Request.Context(), web.MustCaller(c).Namespace, c.Query("nameContains"), page.Limit, page.Offset)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.List(c, page, viewComments(list), total)
}

func (s *server) listComments(c *gin.Context) {
	var names []string
	err := web.DecodeJSON(c, maxNames, &names)
	var list []repo.Note
	if err == nil {
		list, err = s.repo.CommentsOn(c.Request.Context(), web.MustCaller(c).Namespace, names)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, viewComments(list))
}

func (s *server) getComment(c *gin.Context) {
	text, err := s.repo.Comment(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("filename"))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, gin.H{"comment": text})
}

// putComment answers with how many comments were written, as tools expect.
func (s *server) putComment(c *gin.Context) {
	var ask struct {
		Comment string `json:"comment"`
	}
	who := web.MustCaller(c)
	err := web.DecodeLooseJSON(c, 2*repo.MaxComment, &ask)
	if err == nil {
		err = s.repo.SetComment(c.Request.Context(), who.Namespace, c.Param("filename"), ask.Comment, who.String())
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, 1)
}

type sbomView struct {
	Filename string `json:"filename"`
	URI      string `json:"uri"`
}

func (s *server) getSBOMs(c *gin.Context) {
	page, err := web.PageOf(c)
	var list []repo.Note
	var total int
	if err == nil {
		list, total, err = s.repo.SBOMs(c.Request.Context(), web.MustCaller(c).Namespace, page.Limit, page.Offset)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	views := make([]sbomView, len(list))
	for i, n := range list {
		views[i] = sbomView{n.Filename, n.Text}
	}
	web.List(c, page, views, total)
}

func (s *server) getSBOM(c *gin.Context) {
	uri, err := s.repo.SBOM(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("filename"))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, sbomView{c.Param("filename"), uri})
}

func (s *server) getRawSBOM(c *gin.Context) {
	uri, err := s.repo.SBOM(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("filename"))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("Location", uri)
	c.Status(http.StatusFound)
}

func (s *server) putSBOM(c *gin.Context) {
	var ask struct {
		URI string `json:"uri"`
	}
	who := web.MustCaller(c)
	err := web.DecodeLooseJSON(c, maxEdit, &ask)
	if err == nil {
		err = s.repo.SetSBOM(c.Request.Context(), who.Namespace, c.Param("filename"), ask.URI, who.String())
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, ask)
}

func (s *server) deleteSBOM(c *gin.Context) {
	answer(c, s.repo.DropSBOM(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("filename")), http.StatusNoContent)
}
