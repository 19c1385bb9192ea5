package api

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"gocloud.dev/gcerrors"

	"sealift/access"
	"sealift/internal/web"
	"sealift/treehub"
	"sealift/treehub/ostree"
)

// Limits of the bodies of TreeHub routes; objects have treehub.MaxObject.
const (
	maxWanted   = 512 << 10 // treehub.MaxMissing names
	maxRef      = 1 << 10
	maxManifest = 4 << 20
	// stalled is how long a client may take over the next bytes of an upload.
	stalled = time.Minute
	// maxUnread is how much of an upload that is refused is read all the same:
	// a client that is still sending may not see an answer given early.
	maxUnread = 64 << 20
)

// Names of objects never change what they mean, so caches may keep them;
// detached metadata can be replaced.
const (
	cacheForever = "private, max-age=31536000, immutable"
	cacheChecked = "private, no-cache"
)

var errDelivery = errors.New("a stored object has no blob")

// treehubRoutes are TreeHub's own paths under its two versions and under
// /treehub, and the lists of Sealift.
func (s *server) treehubRoutes() []web.Route {
	var routes []web.Route
	for _, prefix := range []string{"/api/v2", "/api/v3", "/treehub"} {
		routes = append(routes,
			web.Route{Method: "GET", Pattern: prefix + "/config", Permission: access.TreehubRead, Handler: s.getConfig},
			web.Route{Method: "HEAD", Pattern: prefix + "/objects/:prefix/:rest", Permission: access.TreehubRead, Raw: s.getObject},
			web.Route{Method: "GET", Pattern: prefix + "/objects/:prefix/:rest", Permission: access.TreehubRead, Raw: s.getObject},
			web.Route{Method: "POST", Pattern: prefix + "/objects/:prefix/:rest", Permission: access.TreehubPush, Raw: s.postObject},
			web.Route{Method: "POST", Pattern: prefix + "/objects/missing", Permission: access.TreehubRead, Handler: s.postMissing},
			web.Route{Method: "GET", Pattern: prefix + "/refs/heads/*name", Permission: access.TreehubRead, Handler: s.getRef},
			web.Route{Method: "POST", Pattern: prefix + "/refs/heads/*name", Permission: access.TreehubPush, Handler: s.postRef},
			web.Route{Method: "GET", Pattern: prefix + "/manifests/:commit", Permission: access.TreehubRead, Handler: s.getManifest},
			web.Route{Method: "PUT", Pattern: prefix + "/manifests/:commit", Permission: access.TreehubPush, Handler: s.putManifest},
		)
	}
	return append(routes,
		web.Route{Method: "GET", Pattern: "/api/v1/treehub/commits", Permission: access.TreehubRead, Handler: s.getCommits},
		web.Route{Method: "GET", Pattern: "/api/v1/treehub/commits/:commit", Permission: access.TreehubRead, Handler: s.getCommit},
		web.Route{Method: "GET", Pattern: "/api/v1/treehub/refs", Permission: access.TreehubRead, Handler: s.getRefs},
	)
}

func (s *server) getConfig(c *gin.Context) {
	web.Raw(c, "text/plain; charset=utf-8", treehub.RepoConfig())
}

func objectName(r *http.Request) (ostree.ObjectName, error) {
	return ostree.ParseObjectPath(r.PathValue("prefix") + "/" + r.PathValue("rest"))
}

// getObject answers GET and HEAD. HEAD is asked for every object of a push, so
// it touches the database alone.
func (s *server) getObject(w http.ResponseWriter, r *http.Request) {
	if err := s.sendObject(w, r); err != nil {
		web.Error(w, r, err)
	}
}

func (s *server) sendObject(w http.ResponseWriter, r *http.Request) error {
	who, _ := web.CallerFrom(r.Context())
	name, err := objectName(r)
	if err != nil {
		return treehub.ErrObjectMissing
	}
	for again := true; ; again = false {
		at, err := s.treehub.Locate(r.Context(), who.Namespace, name)
		if err != nil {
			return err
		}
		o := web.Object{ETag: strconv.Quote(at.ETag), CacheControl: cacheForever}
		if at.Mutable {
			o.CacheControl = cacheChecked
		}
		if r.Method == http.MethodHead {
			head := w.Header()
			head.Set("Content-Type", "application/octet-stream")
			head.Set("Content-Length", strconv.FormatInt(at.Size, 10))
			head.Set("Accept-Ranges", "bytes")
			head.Set("ETag", o.ETag)
			head.Set("Cache-Control", o.CacheControl)
			w.WriteHeader(http.StatusOK)
			return nil
		}
		err = web.ServeObject(w, r, s.treehub.Bucket(), at.Key, o)
		if gcerrors.Code(err) != gcerrors.NotFound || !at.Mutable || !again {
			return lost(name, err)
		}
	}
}

// lost keeps a missing blob from being told as a missing object.
func lost(name ostree.ObjectName, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("serving %s: %w: %w", name, errDelivery, err)
}

// postObject answers 204 to a new object and 409 to one that is stored, which
// is all that garage-push takes for success; 200 to a form.
func (s *server) postObject(w http.ResponseWriter, r *http.Request) {
	who, _ := web.CallerFrom(r.Context())
	conn := http.NewResponseController(w)
	body := &patient{ReadCloser: r.Body, conn: conn}
	r.Body = body
	status, err := s.receiveObject(r, who)
	// Who asked first ("Expect: 100-continue") sends nothing until it is read.
	if err != nil && (body.begun || r.Header.Get("Expect") == "") {
		_, _ = io.CopyN(io.Discard, body, maxUnread) // see maxUnread
	}
	_ = conn.SetReadDeadline(time.Time{}) // the connection may be used again
	if err != nil {
		web.Error(w, r, err)
		return
	}
	w.WriteHeader(status)
}

// patient reads an upload as long as it goes on.
type patient struct {
	io.ReadCloser
	conn  *http.ResponseController
	begun bool
}

func (p *patient) Read(b []byte) (int, error) {
	p.begun = true
	_ = p.conn.SetReadDeadline(time.Now().Add(stalled)) // unsupported only in tests
	return p.ReadCloser.Read(b)
}

func (s *server) receiveObject(r *http.Request, who web.Caller) (status int, err error) {
	name, err := objectName(r)
	if err != nil {
		return 0, treehub.ErrInvalidObject.With(err.Error())
	}
	if name.Type == ostree.TypeCommitMeta {
		if err := mayAttach(who, "detached metadata"); err != nil {
			return 0, err
		}
	}
	up := treehub.Upload{Name: name, Size: r.ContentLength, By: who.String()}
	kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "multipart/form-data" {
		return http.StatusNoContent, s.treehub.Put(r.Context(), who.Namespace, up, r.Body)
	}
	part, err := formFile(multipart.NewReader(r.Body, params["boundary"]))
	if err != nil {
		return 0, web.ErrInvalid.Withf("form: %v", err)
	}
	up.Size = -1
	return http.StatusOK, s.treehub.Put(r.Context(), who.Namespace, up, part)
}

// formFile finds the field "file", which comes first in the forms of clients.
func formFile(form *multipart.Reader) (*multipart.Part, error) {
	part, err := form.NextPart()
	if err != nil {
		return nil, err
	}
	if part.FormName() != "file" {
		return nil, errors.New("its first field must be called file")
	}
	return part, nil
}

// postMissing tells which of many objects a client would have to send.
func (s *server) postMissing(c *gin.Context) {
	var ask struct {
		Wanted []string `json:"wanted"`
	}
	if err := web.DecodeJSON(c, maxWanted, &ask); err != nil {
		web.Fail(c, err)
		return
	}
	if len(ask.Wanted) > treehub.MaxMissing {
		web.Fail(c, web.ErrInvalid.Withf("at most %d names can be asked for at once", treehub.MaxMissing))
		return
	}
	names := make([]ostree.ObjectName, len(ask.Wanted))
	for i, text := range ask.Wanted {
		var err error
		if names[i], err = ostree.ParseObjectName(text); err != nil {
			web.Fail(c, web.ErrInvalid.Withf("name %d: %v", i, err))
			return
		}
	}
	missing, err := s.treehub.Missing(c.Request.Context(), web.MustCaller(c).Namespace, names)
	if err != nil {
		web.Fail(c, err)
		return
	}
	texts := make([]string, len(missing))
	for i, name := range missing {
		texts[i] = name.String()
	}
	c.JSON(http.StatusOK, struct {
		Missing []string `json:"missing"`
	}{texts})
}
