package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/repo"
	"sealift/uptane"
)

// maxEdit bounds what is said about one target.
const maxEdit = 256 << 10

var errNoLength = fault.New(fault.LengthRequired, "content_length_required", "a body with its length, a form or fileUri is needed")

// editRoutes change targets. As the keys of targets are offline they answer 412
// with the metadata that are to be signed, and what a push would refuse is refused.
func (s *server) editRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodPut, Pattern: "/targets/expire/not-before", Permission: access.RepoSign, Handler: s.putNotBefore},
		{Method: http.MethodPost, Pattern: "/targets/*filename", Permission: access.RepoSign, Handler: s.postTarget},
		{Method: http.MethodPut, Pattern: "/targets/*filename", Permission: access.RepoSign, Handler: s.putTarget},
		{Method: http.MethodPatch, Pattern: "/targets/*filename", Permission: access.RepoSign, Handler: s.patchTarget},
		{Method: http.MethodDelete, Pattern: "/targets/*filename", Permission: access.RepoSign, Handler: s.deleteTarget},
		{Method: http.MethodPatch, Pattern: "/proprietary-custom/*filename", Permission: access.RepoSign, Handler: s.patchCustom},
		{Method: http.MethodPost, Pattern: "/retire", Permission: access.RepoSign, Handler: s.retireTargets},
		{Method: http.MethodPut, Pattern: "/uploads/*filename", Permission: access.RepoDelegate, Handler: s.beginDirect},
		{Method: http.MethodPut, Pattern: "/multipart/direct", Permission: web.Public, Handler: s.putDirect},
	}
}

func (s *server) putNotBefore(c *gin.Context) {
	var ask struct {
		ExpireAt time.Time `json:"expireAt"`
	}
	err := web.DecodeLooseJSON(c, maxEdit, &ask)
	if err == nil && ask.ExpireAt.IsZero() {
		err = web.ErrInvalid.With("expireAt must be a time")
	}
	if err == nil {
		err = s.repo.SetNotBefore(c.Request.Context(), web.MustCaller(c).Namespace, ask.ExpireAt)
	}
	answer(c, err, http.StatusNoContent)
}

func (s *server) postTarget(c *gin.Context) {
	var ask struct {
		URI      string `json:"uri"`
		Checksum struct {
			Method string `json:"method"`
			Hash   string `json:"hash"`
		} `json:"checksum"`
		Format      string              `json:"targetFormat"`
		Name        string              `json:"name"`
		Version     string              `json:"version"`
		HardwareIDs []uptane.HardwareID `json:"hardwareIds"`
		Length      int64               `json:"length"`
	}
	err := web.DecodeLooseJSON(c, maxEdit, &ask)
	if err == nil && ask.Checksum.Method != "sha256" {
		err = web.ErrInvalid.With("checksum.method must be sha256")
	}
	if err == nil {
		err = s.repo.AddTarget(c.Request.Context(), web.MustCaller(c).Namespace, repo.NewTarget{Filename: c.Param("filename"),
			SHA256: ask.Checksum.Hash, Length: ask.Length, Name: ask.Name, Version: ask.Version, HardwareIDs: ask.HardwareIDs,
			Format: strings.ToUpper(ask.Format), URI: ask.URI})
	}
	answer(c, err, http.StatusNoContent)
}

// putTarget takes the bytes of a target; they wait a week for the signature that
// the answer asks for.
func (s *server) putTarget(c *gin.Context) {
	who := web.MustCaller(c)
	n := repo.NewTarget{Filename: c.Param("filename"), Name: c.Query("name"), Version: c.Query("version"),
		Format: strings.ToUpper(c.Query("targetFormat")), Uploaded: true}
	for _, id := range csv(c.Query("hardwareIds")) {
		n.HardwareIDs = append(n.HardwareIDs, uptane.HardwareID(id))
	}
	if n.Name == "" || n.Version == "" {
		web.Fail(c, web.ErrInvalid.With("name and version are needed"))
		return
	}
	stored, err := s.takeImage(c, n.Filename, who)
	if err == nil {
		n.SHA256, n.Length = stored.SHA256, stored.Length
		err = s.repo.AddTarget(c.Request.Context(), who.Namespace, n)
	}
	answer(c, err, http.StatusNoContent)
}

func csv(list string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return c == ',' })
}

// takeImage stores the bytes of a request: of a form, of the body itself, or from
// the address that it names.
func (s *server) takeImage(c *gin.Context, filename string, who web.Caller) (repo.Stored, error) {
	ctx := c.Request.Context()
	kind, params, _ := mime.ParseMediaType(c.GetHeader("Content-Type"))
	conn := http.NewResponseController(c.Writer)
	body := &patient{ReadCloser: c.Request.Body, conn: conn}
	defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	switch {
	case kind == "multipart/form-data":
		part, err := filePart(multipart.NewReader(body, params["boundary"]))
		if err != nil {
			return repo.Stored{}, web.ErrInvalid.Withf("form: %v", err)
		}
		return s.repo.PutImage(ctx, who.Namespace, filename, -1, part, who.String())
	case c.Request.ContentLength > 0:
		return s.repo.PutImage(ctx, who.Namespace, filename, c.Request.ContentLength, body, who.String())
	case c.Query("fileUri") != "":
		return s.repo.FetchImage(ctx, who.Namespace, filename, c.Query("fileUri"), who.String())
	}
	return repo.Stored{}, errNoLength
}

// filePart is the part of a form that has the file.
func filePart(form *multipart.Reader) (*multipart.Part, error) {
	for range 10 {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if part.FormName() == "file" {
			return part, nil
		}
	}
	return nil, errors.New(`it has no part named "file"`)
}

func (s *server) patchTarget(c *gin.Context) {
	var ask struct {
		URI         *string                    `json:"uri"`
		HardwareIDs []uptane.HardwareID        `json:"hardwareIds"`
		Proprietary map[string]json.RawMessage `json:"proprietaryCustom"`
	}
	err := web.DecodeLooseJSON(c, maxEdit, &ask)
	if err == nil {
		err = s.repo.EditTarget(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("filename"),
			repo.TargetEdit{URI: ask.URI, HardwareIDs: ask.HardwareIDs, Proprietary: ask.Proprietary})
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	s.getTargetItem(c)
}

func (s *server) patchCustom(c *gin.Context) {
	ask := map[string]json.RawMessage{}
	err := web.DecodeLooseJSON(c, maxEdit, &ask)
	if err == nil {
		err = s.repo.EditTarget(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("filename"), repo.TargetEdit{Proprietary: ask, Merge: true})
	}
	answer(c, err, http.StatusNoContent)
}

func (s *server) deleteTarget(c *gin.Context) {
	answer(c, s.repo.DropTargets(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("filename")), http.StatusNoContent)
}

// retireTargets takes several targets out in one go: those named, and with
// superseded those that newer ones replace.
func (s *server) retireTargets(c *gin.Context) {
	var ask struct {
		Filenames  []string `json:"filenames"`
		Superseded bool     `json:"superseded"`
		Keep       int      `json:"keep"`
		DryRun     bool     `json:"dryRun"`
	}
	ctx, ns := c.Request.Context(), web.MustCaller(c).Namespace
	err := web.DecodeJSON(c, maxTrusted, &ask)
	if err == nil && ask.Superseded {
		var old []string
		old, err = s.repo.Superseded(ctx, ns, ask.Keep)
		for _, name := range old {
			if !slices.Contains(ask.Filenames, name) {
				ask.Filenames = append(ask.Filenames, name)
			}
		}
	}
	if err == nil && !ask.DryRun {
		err = s.repo.DropTargets(ctx, ns, ask.Filenames...)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	if ask.Filenames == nil {
		ask.Filenames = []string{}
	}
	c.PureJSON(http.StatusOK, gin.H{"filenames": ask.Filenames})
}

// beginDirect answers with the address to which the bytes are to be sent; those of
// this request, if it has some, are not read.
func (s *server) beginDirect(c *gin.Context) {
	who := web.MustCaller(c)
	size := c.Request.ContentLength
	var query string
	err := s.mayBring(c.Request.Context(), c.Param("filename"))
	switch {
	case err != nil:
	case size < 1:
		err = errNoLength
	case s.url == "":
		err = errNoURL
	default:
		query, err = s.repo.DirectURL(c.Request.Context(), who.Namespace, c.Param("filename"), size, who.String())
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("Location", s.url+directPath+"?"+query)
	c.Status(http.StatusFound)
}

func (s *server) putDirect(c *gin.Context) {
	conn := http.NewResponseController(c.Writer)
	stored, err := s.repo.PutDirect(c.Request.Context(), c.Request.URL.Query(), c.Request.ContentLength, &patient{ReadCloser: c.Request.Body, conn: conn})
	_ = conn.SetReadDeadline(time.Time{}) // the connection may be used again
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("ETag", `"`+stored.SHA256+`"`)
	c.Status(http.StatusOK)
}
