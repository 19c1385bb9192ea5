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

// repoRoutes are all that a device may do with the Image repository: read.
func (s *server) repoRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodGet, Pattern: "/repo/:file", Permission: permitDevice, Handler: s.getImageMetadata},
		{Method: http.MethodGet, Pattern: "/repo/delegations/:file", Permission: permitDevice, Handler: s.getDelegation},
		{Method: http.MethodGet, Pattern: "/repo/targets/*filename", Permission: permitDevice, Raw: s.getImage},
		{Method: http.MethodHead, Pattern: "/repo/targets/*filename", Permission: permitDevice, Raw: s.getImage},
	}
}

func (s *server) getImageMetadata(c *gin.Context) {
	who := web.MustCaller(c)
	if err := s.requireNewest(c.Request.Context(), who, uptane.ImageRepository, c.Param("file")); err != nil {
		web.Fail(c, err)
		return
	}
	doc, err := s.repo.Metadata(c.Request.Context(), who.Namespace, c.Param("file"))
	sendMetadata(c, doc, err)
}

// getDelegation answers with the metadata of a delegated role.
func (s *server) getDelegation(c *gin.Context) {
	who := web.MustCaller(c)
	role, version, err := uptane.ParseFilename(c.Param("file"))
	if err != nil || version != 0 {
		web.Fail(c, repo.ErrDelegationMissing)
		return
	}
	if err := s.requireNewest(c.Request.Context(), who, uptane.ImageRepository, c.Param("file")); err != nil {
		web.Fail(c, err)
		return
	}
	doc, err := s.repo.Delegation(c.Request.Context(), who.Namespace, role)
	sendMetadata(c, doc, err)
}

func sendMetadata(c *gin.Context, doc repo.Document, err error) {
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("x-ats-role-checksum", doc.Checksum)
	c.Header("x-ats-tuf-repo-id", doc.Repository)
	c.Header("ETag", strconv.Quote(doc.Checksum))
	c.Header("Cache-Control", "no-cache")
	web.Raw(c, "application/json", doc.Bytes)
}

// getImage answers GET, whole or a range, and HEAD. Where metadata names another
// server for the bytes, the device goes there by itself.
func (s *server) getImage(w http.ResponseWriter, r *http.Request) {
	who, _ := web.CallerFrom(r.Context())
	image, err := s.repo.Image(r.Context(), who.Namespace, r.PathValue("filename"))
	if err == nil && image.Key == "" {
		err = repo.ErrTargetMissing
	}
	if err != nil {
		web.Error(w, r, err)
		return
	}
	err = web.ServeObject(w, r, image.Bucket, image.Key, web.Object{ETag: strconv.Quote(image.SHA256), CacheControl: "no-cache"})
	if err != nil { // its blob must be there: an accident, not a 404
		web.Error(w, r, fmt.Errorf("serving image %s: %w", image.Key, err))
	}
}
