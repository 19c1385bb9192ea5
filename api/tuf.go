package api

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/repo"
	"sealift/uptane"
)

// maxTUFSwitch bounds the request that switches TUF.
const maxTUFSwitch = 1 << 10

// behindHeader tells TUF clients by how many versions their targets lag.
const behindHeader = "x-sealift-tuf-behind"

// tufRoutes are the Image repository as clients of TUF 1.0 read it, and its
// switch. To turn private metadata into something that more programs, or all the
// world, may read is for administrators, not for build jobs. What is anonymous
// has addresses of its own, which name the namespace: those that ask for a token
// never stop to.
func (s *server) tufRoutes() []web.Route {
	const public = "/tuf/public/:namespace"
	return []web.Route{
		{Method: http.MethodGet, Pattern: repoPrefix + "/tuf", Permission: access.RepoRead, Handler: s.getTUF},
		{Method: http.MethodPut, Pattern: repoPrefix + "/tuf", Permission: access.KeysWrite, Handler: s.putTUF},
		{Method: http.MethodGet, Pattern: "/tuf/metadata/:file", Permission: access.RepoRead, Handler: s.getTUFMetadata},
		{Method: http.MethodGet, Pattern: "/tuf/targets/*name", Permission: access.RepoRead, Raw: s.getTUFImage},
		{Method: http.MethodHead, Pattern: "/tuf/targets/*name", Permission: access.RepoRead, Raw: s.getTUFImage},
		{Method: http.MethodGet, Pattern: public + "/metadata/:file", Permission: web.Public, Handler: s.getPublicMetadata},
		{Method: http.MethodGet, Pattern: public + "/targets/*name", Permission: web.Public, Raw: s.getPublicImage},
		{Method: http.MethodHead, Pattern: public + "/targets/*name", Permission: web.Public, Raw: s.getPublicImage},
	}
}

// tufState is how the tree for TUF clients stands.
type tufState struct {
	Enabled    bool `json:"enabled"`
	Anonymous  bool `json:"anonymous"`
	Root       int  `json:"rootVersion"`
	RootTwin   int  `json:"tufRootVersion"` // all roots up to this have a TUF document
	Targets    int  `json:"targetsVersion"`
	TUFTargets int  `json:"tufTargetsVersion"` // 0: TUF clients find none yet
	Behind     int  `json:"behind"`
}

func viewTUF(t repo.TUF) tufState {
	return tufState{t.On, t.Anonymous, t.Root, t.RootTwin, t.Targets, t.TUFTargets, t.Behind()}
}

// ofTUF is about what TUF clients miss.
func ofTUF(t tufState) []finding {
	switch {
	case !t.Enabled:
		return nil
	case t.RootTwin < t.Root:
		return []finding{{Code: "tuf_root_missing", Level: levelError,
			Text:   fmt.Sprintf("TUF clients cannot follow to root version %d: it has no TUF document", t.RootTwin+1),
			Advice: "sign and send it: garage-sign root twins; or switch TUF off"}}
	case t.Behind > 0:
		return []finding{{Code: "tuf_behind", Level: levelWarning,
			Text:   fmt.Sprintf("TUF clients see targets version %d, devices %d", t.TUFTargets, t.Targets),
			Advice: "sign targets with garage-sign, which makes their TUF document, too, and push"}}
	}
	return nil
}

func (s *server) getTUF(c *gin.Context) {
	state, err := s.repo.TUF(c.Request.Context(), web.MustCaller(c).Namespace)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, viewTUF(state))
}

func (s *server) putTUF(c *gin.Context) {
	var ask struct {
		Enabled   bool `json:"enabled"`
		Anonymous bool `json:"anonymous"`
	}
	who, ctx := web.MustCaller(c), c.Request.Context()
	err := web.DecodeJSON(c, maxTUFSwitch, &ask)
	if err == nil {
		err = s.repo.SetTUF(ctx, who.Namespace, ask.Enabled, ask.Anonymous)
	}
	var state repo.TUF
	if err == nil {
		state, err = s.repo.TUF(ctx, who.Namespace)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	s.log.InfoContext(ctx, "TUF switched", "namespace", who.Namespace, "by", who.String(), "enabled", ask.Enabled, "anonymous", ask.Anonymous)
	c.PureJSON(http.StatusOK, viewTUF(state))
}

func (s *server) getTUFMetadata(c *gin.Context) {
	s.sendTUFMetadata(c, web.MustCaller(c).Namespace, nil)
}

func (s *server) getPublicMetadata(c *gin.Context) {
	ns := uptane.Namespace(c.Param("namespace"))
	s.sendTUFMetadata(c, ns, s.repo.RequireAnonymous(c.Request.Context(), ns))
}

func (s *server) sendTUFMetadata(c *gin.Context, ns uptane.Namespace, err error) {
	var doc repo.Document
	if err == nil {
		doc, err = s.repo.TUFMetadata(c.Request.Context(), ns, c.Param("file"))
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header(repositoryHeader, doc.Repository)
	c.Header(behindHeader, strconv.Itoa(doc.Behind))
	c.Header("ETag", strconv.Quote(doc.Checksum))
	c.Header("Cache-Control", "no-cache")
	web.Raw(c, "application/json", doc.Bytes)
}

func (s *server) getTUFImage(w http.ResponseWriter, r *http.Request) {
	who, _ := web.CallerFrom(r.Context())
	s.sendTUFImage(w, r, who.Namespace, nil)
}

func (s *server) getPublicImage(w http.ResponseWriter, r *http.Request) {
	ns := uptane.Namespace(r.PathValue("namespace"))
	s.sendTUFImage(w, r, ns, s.repo.RequireAnonymous(r.Context(), ns))
}

func (s *server) sendTUFImage(w http.ResponseWriter, r *http.Request, ns uptane.Namespace, err error) {
	var image repo.Image
	if err == nil {
		image, err = s.repo.TUFImage(r.Context(), ns, r.PathValue("name"))
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
