package api

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/repo"
)

// maxTags bounds the list of parts of an upload.
const maxTags = 1 << 20

const (
	partPath   = repoPrefix + "/multipart/part"
	directPath = repoPrefix + "/multipart/direct"
)

var errNoURL = fault.New(fault.Unavailable, "no_api_url", "the server does not know its own address; set --api-url")

// uploadRoutes take images in parts. The address of a part is a capability:
// clients send parts without credentials, as they would to a cloud's storage.
func (s *server) uploadRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodPost, Pattern: "/multipart/initiate/*filename", Permission: access.RepoDelegate, Handler: s.initiateUpload},
		{Method: http.MethodGet, Pattern: "/multipart/url/*filename", Permission: access.RepoDelegate, Handler: s.getPartURL},
		{Method: http.MethodPut, Pattern: "/multipart/part", Permission: web.Public, Handler: s.putPart},
		{Method: http.MethodPut, Pattern: "/multipart/complete/*filename", Permission: access.RepoDelegate, Handler: s.completeUpload},
		{Method: http.MethodGet, Pattern: "/uploads/*filename", Permission: access.RepoDelegate, Raw: s.getUpload},
		{Method: http.MethodGet, Pattern: "/uploads", Permission: access.RepoRead, Handler: s.getUploads},
	}
}

// initiateUpload ignores the parameter force of old clients: content that is
// published is never replaced.
func (s *server) initiateUpload(c *gin.Context) {
	who := web.MustCaller(c)
	size, err := number(c, "fileSize", 64)
	var u repo.Upload
	if err == nil {
		err = s.mayBring(c.Request.Context(), c.Param("filename"))
	}
	if err == nil {
		u, err = s.repo.Initiate(c.Request.Context(), who.Namespace, c.Param("filename"), size, who.String())
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, gin.H{"uploadId": u.ID, "partSize": u.PartSize})
}

func number(c *gin.Context, name string, bits int) (int64, error) {
	n, err := strconv.ParseInt(c.Query(name), 10, bits)
	if err != nil {
		return 0, web.ErrInvalid.Withf("%s must be a whole number", name)
	}
	return n, nil
}

func (s *server) getPartURL(c *gin.Context) {
	query, err := s.partQuery(c)
	if err == nil && s.url == "" {
		err = errNoURL
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, gin.H{"uri": s.url + partPath + "?" + query})
}

func (s *server) partQuery(c *gin.Context) (string, error) {
	if err := s.mayBring(c.Request.Context(), c.Param("filename")); err != nil {
		return "", err
	}
	part, err := number(c, "part", 32)
	if err != nil {
		return "", err
	}
	length, err := number(c, "contentLength", 64)
	if err != nil {
		return "", err
	}
	sum, err := base64.StdEncoding.DecodeString(c.Query("md5"))
	if err != nil {
		return "", web.ErrInvalid.With("md5 must be base64")
	}
	return s.repo.PartURL(c.Request.Context(), c.Param("filename"), repo.Part{
		Namespace: web.MustCaller(c).Namespace, Upload: c.Query("uploadId"), Number: int(part), MD5: sum, Length: length})
}

func (s *server) putPart(c *gin.Context) {
	part, err := repo.ParsePart(c.Request.URL.Query())
	var etag string
	if err == nil {
		conn := http.NewResponseController(c.Writer)
		body := &patient{ReadCloser: c.Request.Body, conn: conn}
		etag, err = s.repo.PutPart(c.Request.Context(), part, c.Request.ContentLength, c.GetHeader("Content-MD5"), body)
		_ = conn.SetReadDeadline(time.Time{}) // the connection may be used again
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("ETag", etag)
	c.Status(http.StatusOK)
}

func (s *server) completeUpload(c *gin.Context) {
	var ask struct {
		UploadID string `json:"uploadId"`
		Parts    []struct {
			Part int    `json:"part"`
			ETag string `json:"eTag"`
		} `json:"partETags"`
	}
	err := s.mayBring(c.Request.Context(), c.Param("filename"))
	if err == nil {
		err = web.DecodeLooseJSON(c, maxTags, &ask)
	}
	tags := make([]repo.PartTag, len(ask.Parts))
	for i, p := range ask.Parts {
		tags[i] = repo.PartTag{Part: p.Part, ETag: p.ETag}
	}
	if err == nil {
		err = s.repo.Complete(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("filename"), ask.UploadID, tags)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusOK)
}

// getUpload gives back what came last under a name, for tools that compare it with
// what they have before they sign.
func (s *server) getUpload(w http.ResponseWriter, r *http.Request) {
	who, _ := web.CallerFrom(r.Context())
	name := r.PathValue("filename")
	err := s.mayBring(r.Context(), name)
	var image repo.Image
	if err == nil {
		image, err = s.repo.Uploaded(r.Context(), who.Namespace, name)
	}
	if err != nil {
		web.Error(w, r, err)
		return
	}
	s.sendImage(w, r, image)
}

// uploadView is an uploaded image that no target names yet, or any more.
type uploadView struct {
	Filename  string    `json:"filename"`
	SHA256    string    `json:"sha256"`
	Length    int64     `json:"length"`
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy"`
	DeletedAt time.Time `json:"deletedAt"`
}

func (s *server) getUploads(c *gin.Context) {
	page, err := web.PageOf(c)
	var list []repo.Idle
	var total int
	if err == nil {
		list, total, err = s.repo.Unnamed(c.Request.Context(), web.MustCaller(c).Namespace, page.Limit, page.Offset)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	views := make([]uploadView, len(list))
	for i, u := range list {
		views[i] = uploadView(u)
	}
	web.List(c, page, views, total)
}
