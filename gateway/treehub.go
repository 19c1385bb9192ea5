package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"
	"gocloud.dev/gcerrors"

	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/treehub"
	"sealift/treehub/ostree"
)

// Names of objects never change what they mean, so caches may keep them;
// detached metadata can be replaced.
const (
	cacheForever = "private, max-age=31536000, immutable"
	cacheChecked = "private, no-cache"
)

var (
	errNotOffered = fault.New(fault.NotFound, "missing_entity", "TreeHub offers no such file")
	errDelivery   = errors.New("a stored object has no blob")
)

// treehubRoutes are what libostree reads from a remote. To it 404 alone says
// that something does not exist; nearly all other statuses end its pull.
func (s *server) treehubRoutes() []web.Route {
	return []web.Route{
		{Method: "GET", Pattern: "/treehub/config", Permission: permitDevice, Handler: s.getConfig},
		{Method: "GET", Pattern: "/treehub/objects/:prefix/:rest", Permission: permitDevice, Raw: s.getObject},
		{Method: "HEAD", Pattern: "/treehub/objects/:prefix/:rest", Permission: permitDevice, Raw: s.getObject},
		{Method: "GET", Pattern: "/treehub/refs/heads/*name", Permission: permitDevice, Handler: s.getRef},
		// Asked for with every pull, so that "no" is an expected answer.
		{Method: "GET", Pattern: "/treehub/summary", Permission: permitDevice, Handler: s.notOffered},
		{Method: "GET", Pattern: "/treehub/summary.sig", Permission: permitDevice, Handler: s.notOffered},
		{Method: "GET", Pattern: "/treehub/delta-indexes/*path", Permission: permitDevice, Handler: s.notOffered},
		{Method: "GET", Pattern: "/treehub/deltas/*path", Permission: permitDevice, Handler: s.notOffered},
	}
}

func (s *server) getConfig(c *gin.Context) {
	web.Raw(c, "text/plain; charset=utf-8", treehub.RepoConfig())
}

func (s *server) notOffered(c *gin.Context) { web.Fail(c, errNotOffered) }

func (s *server) getRef(c *gin.Context) {
	commit, err := s.treehub.Ref(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("name"))
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.Raw(c, "text/plain; charset=utf-8", []byte(commit.String()))
}

func (s *server) getObject(w http.ResponseWriter, r *http.Request) {
	if err := s.sendObject(w, r); err != nil {
		web.Error(w, r, err)
	}
}

func (s *server) sendObject(w http.ResponseWriter, r *http.Request) error {
	who, _ := web.CallerFrom(r.Context())
	name, err := ostree.ParseObjectPath(r.PathValue("prefix") + "/" + r.PathValue("rest"))
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
		err = web.ServeObject(w, r, s.treehub.Bucket(), at.Key, o)
		if gcerrors.Code(err) == gcerrors.NotFound && at.Mutable && again {
			continue // replaced in this moment
		}
		if err != nil { // not 404: the object exists, the server is damaged
			return fmt.Errorf("serving %s: %w: %w", name, errDelivery, err)
		}
		return nil
	}
}
