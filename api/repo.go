package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/repo"
	"sealift/uptane/acceptance"
)

// maxRoot bounds a root in either flavour: devices read 64 KiB, and a document
// may come with white space.
const maxRoot = 256 << 10

const (
	checksumHeader   = "x-ats-role-checksum"
	repositoryHeader = "x-ats-tuf-repo-id"
	sizeLimitHeader  = "x-ats-targets-role-size-limit"
)

const repoPrefix = "/api/v1/user_repo"

// errMadeOffline: the keys of a repository's root never are on the server, so
// the server cannot make a repository by itself.
var errMadeOffline = fault.New(fault.Unimplemented, "not_implemented",
	"repositories are made where their root keys are: run sealift init")

// repoRoutes are the Image repository's paths.
func (s *server) repoRoutes() []web.Route {
	routes := []web.Route{
		{Method: http.MethodPost, Pattern: "", Permission: access.RepoSign, Handler: s.createRepository},
		{Method: http.MethodGet, Pattern: "/root", Permission: access.RepoRead, Handler: s.getNextRoot},
		{Method: http.MethodPost, Pattern: "/root", Permission: access.RepoSign, Handler: s.postRoot},
		{Method: http.MethodPut, Pattern: "/root/rotate", Permission: access.RepoSign, Handler: refuseRotation},
		{Method: http.MethodGet, Pattern: "/:file", Permission: access.RepoRead, Handler: s.getRepoMetadata},
		{Method: http.MethodPut, Pattern: "/targets", Permission: access.RepoSign, Handler: s.putTargets},
		{Method: http.MethodPut, Pattern: "/tuf/:role", Permission: access.RepoDelegate, Handler: s.putTwin},
		{Method: http.MethodGet, Pattern: "/targets/*filename", Permission: access.RepoRead, Raw: s.getImage},
		{Method: http.MethodHead, Pattern: "/targets/*filename", Permission: access.RepoRead, Raw: s.getImage},
		{Method: http.MethodGet, Pattern: "/target_items", Permission: access.RepoRead, Handler: s.getTargetItems},
		{Method: http.MethodGet, Pattern: "/target_items/*filename", Permission: access.RepoRead, Handler: s.getTargetItem},
	}
	for _, part := range [][]web.Route{s.uploadRoutes(), s.delegationRoutes(), s.editRoutes(), s.noteRoutes(), s.proposalRoutes()} {
		routes = append(routes, part...)
	}
	for i := range routes {
		routes[i].Pattern = repoPrefix + routes[i].Pattern
	}
	routes = append(routes, append(s.searchRoutes(), s.sbomRoutes()...)...)
	for i := range routes {
		if routes[i].Permission == web.Public {
			continue
		}
		if h := routes[i].Handler; h != nil {
			routes[i].Handler = func(c *gin.Context) { s.nameRepository(c.Writer, c.Request); h(c) }
		}
		if h := routes[i].Raw; h != nil {
			routes[i].Raw = func(w http.ResponseWriter, r *http.Request) { s.nameRepository(w, r); h(w, r) }
		}
	}
	return routes
}

// nameRepository puts the repository's id into every answer: scripts read it
// wherever they find it.
func (s *server) nameRepository(w http.ResponseWriter, r *http.Request) {
	who, _ := web.CallerFrom(r.Context())
	if id, err := s.repo.ID(r.Context(), who.Namespace); err == nil {
		w.Header().Set(repositoryHeader, id)
	}
}

func (s *server) createRepository(c *gin.Context) {
	_, err := s.repo.ID(c.Request.Context(), web.MustCaller(c).Namespace)
	if err == nil {
		err = repo.ErrExists.With("the namespace has a repository")
	} else if fault.Of(err) != nil {
		err = errMadeOffline
	}
	web.Fail(c, err)
}

func (s *server) getRepoMetadata(c *gin.Context) {
	ns := web.MustCaller(c).Namespace
	s.repo.Reread(ns)
	doc, err := s.repo.Metadata(c.Request.Context(), ns, c.Param("file"))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header(checksumHeader, doc.Checksum)
	c.Header("ETag", strconv.Quote(doc.Checksum))
	c.Header("Cache-Control", "no-cache")
	web.Raw(c, "application/json", doc.Bytes)
}

func (s *server) putTargets(c *gin.Context) {
	who := web.MustCaller(c)
	c.Header(sizeLimitHeader, strconv.Itoa(repo.MaxTargets))
	doc, err := inflated(c, repo.MaxTargets)
	var sum string
	if err == nil {
		sum, err = s.repo.PutTargets(c.Request.Context(), who.Namespace, doc, c.GetHeader(checksumHeader), who.String())
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header(checksumHeader, sum)
	c.Status(http.StatusNoContent)
}

// putTwin stages the TUF document of a role that is about to be pushed, or
// publishes one that comes late.
func (s *server) putTwin(c *gin.Context) {
	err := s.mayDelegate(c, roleOf(c))
	var doc []byte
	if err == nil {
		doc, err = inflated(c, repo.MaxTargets)
	}
	if err == nil {
		err = s.repo.StageTwin(c.Request.Context(), web.MustCaller(c).Namespace, roleOf(c), doc)
	}
	if err != nil {
		web.Fail(c, refuseRoot(err))
		return
	}
	c.Status(http.StatusNoContent)
}

func (s *server) getNextRoot(c *gin.Context) {
	next, err := s.repo.NextRoot(c.Request.Context(), web.MustCaller(c).Namespace)
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.Raw(c, "application/json", next)
}

func (s *server) postRoot(c *gin.Context) {
	doc, err := inflated(c, maxRoot)
	if err == nil {
		err = s.repo.PutRoot(c.Request.Context(), web.MustCaller(c).Namespace, doc)
	}
	if err != nil {
		web.Fail(c, refuseRoot(err))
		return
	}
	c.Status(http.StatusOK)
}

// refusedRoot has its reasons where clients look for them: in the cause of the
// cause.
type refusedRoot struct {
	error
	reasons []string
}

// refuseRoot returns err with the reasons where they belong, if it has some.
func refuseRoot(err error) error {
	if reasons := keys.Reasons(err); reasons != nil {
		return &refusedRoot{err, reasons}
	}
	return err
}

func (r *refusedRoot) Unwrap() error { return r.error }

// FaultCause returns the error body of the key server that this once was, and
// which judge refused by which rule, if one did.
func (r *refusedRoot) FaultCause() any {
	f := fault.Of(r.error)
	cause := gin.H{"code": f.Code(), "description": f.Description(), "cause": r.reasons, "errorId": nil}
	if refused := acceptance.RefusalOf(r.error); refused != nil {
		cause["judge"], cause["rule"], cause["role"] = refused.Judge, refused.Rule, refused.Role
	}
	return cause
}

// targetItem is a target in lists: as clients know it, and its file name.
type targetItem struct {
	Filename string          `json:"filename"`
	Hashes   json.RawMessage `json:"hashes"`
	Length   int64           `json:"length"`
	Custom   json.RawMessage `json:"custom"` // null where there is none
	Stored   bool            `json:"stored"` // its bytes are on this server
}

func viewItem(i repo.Item) (targetItem, error) {
	v := targetItem{Filename: i.Filename, Stored: i.Stored}
	if err := json.Unmarshal(i.Entry, &v); err != nil {
		return v, fmt.Errorf("reading entry of target %q: %w", i.Filename, err)
	}
	return v, nil
}

func (s *server) getTargetItems(c *gin.Context) {
	page, err := web.PageOf(c)
	var items []repo.Item
	var total int
	if err == nil {
		items, total, err = s.repo.Targets(c.Request.Context(), web.MustCaller(c).Namespace, c.Query("nameContains"), page.Limit, page.Offset)
	}
	views := make([]targetItem, len(items))
	for i := 0; err == nil && i < len(items); i++ {
		views[i], err = viewItem(items[i])
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.List(c, page, views, total)
}

func (s *server) getTargetItem(c *gin.Context) {
	item, err := s.repo.Item(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("filename"))
	var view targetItem
	if err == nil {
		view, err = viewItem(item)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, view)
}

// getImage answers GET, whole or a range, and HEAD with the bytes of a target,
// or with the address that signed metadata names for them.
func (s *server) getImage(w http.ResponseWriter, r *http.Request) {
	who, _ := web.CallerFrom(r.Context())
	image, err := s.repo.Image(r.Context(), who.Namespace, r.PathValue("filename"))
	if err != nil && r.Method == http.MethodHead { // tools ask so whether a target is there, its bytes or not
		if _, missing := s.repo.Item(r.Context(), who.Namespace, r.PathValue("filename")); missing == nil {
			w.WriteHeader(http.StatusOK)
			return
		}
	}
	if err != nil {
		web.Error(w, r, err)
		return
	}
	s.sendImage(w, r, image)
}

func (s *server) sendImage(w http.ResponseWriter, r *http.Request, image repo.Image) {
	if image.Key == "" {
		http.Redirect(w, r, image.URI, http.StatusFound)
		return
	}
	err := web.ServeObject(w, r, image.Bucket, image.Key, web.Object{ETag: strconv.Quote(image.SHA256), CacheControl: "no-cache"})
	if err != nil { // its blob must be there: an accident, not a 404
		web.Error(w, r, fmt.Errorf("serving image %s: %w", image.Key, err))
	}
}
