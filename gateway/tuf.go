package gateway

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"sealift/internal/web"
	"sealift/repo"
	"sealift/uptane"
)

// tufRoutes are the Image repository for devices that run a client of TUF 1.0.
// They are 404 unless TUF is on in the namespace.
func (s *server) tufRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodGet, Pattern: "/tuf/metadata/:file", Permission: permitDevice, Handler: s.getTUFMetadata},
		{Method: http.MethodGet, Pattern: "/tuf/targets/*name", Permission: permitDevice, Raw: s.getTUFImage},
		{Method: http.MethodHead, Pattern: "/tuf/targets/*name", Permission: permitDevice, Raw: s.getTUFImage},
	}
}

func (s *server) getTUFMetadata(c *gin.Context) {
	who := web.MustCaller(c)
	err := s.showRoot(c.Request.Context(), who, uptane.ImageRepository, c.Param("file"))
	var doc repo.Document
	if err == nil {
		doc, err = s.repo.TUFMetadata(c.Request.Context(), who.Namespace, c.Param("file"))
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("x-ats-tuf-repo-id", doc.Repository)
	c.Header("x-sealift-tuf-behind", strconv.Itoa(doc.Behind))
	c.Header("ETag", strconv.Quote(doc.Checksum))
	c.Header("Cache-Control", "no-cache")
	web.Raw(c, "application/json", doc.Bytes)
}

// getTUFImage answers GET, whole or a range, and HEAD.
func (s *server) getTUFImage(w http.ResponseWriter, r *http.Request) {
	who, _ := web.CallerFrom(r.Context())
	image, err := s.repo.TUFImage(r.Context(), who.Namespace, r.PathValue("name"))
	if err != nil {
		web.Error(w, r, err)
		return
	}
	err = web.ServeObject(w, r, image.Bucket, image.Key, web.Object{ETag: strconv.Quote(image.SHA256), CacheControl: "no-cache"})
	if err != nil { // its blob must be there: an accident, not a 404
		web.Error(w, r, fmt.Errorf("serving image %s: %w", image.Key, err))
	}
}
