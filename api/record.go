package api

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/uptane"
)

// recordRoutes are what was done and signed, and the proof of it.
func (s *server) recordRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodGet, Pattern: "/api/v1/audit", Permission: access.KeysRead, Handler: s.listActs},
		{Method: http.MethodGet, Pattern: "/api/v1/record", Permission: access.KeysRead, Handler: s.getRecordHead},
		{Method: http.MethodGet, Pattern: "/api/v1/record/proofs/:sha256", Permission: access.KeysRead, Handler: s.getProof},
	}
}

// act is an administrative act.
type act struct {
	ID        string           `json:"id"`
	Namespace uptane.Namespace `json:"namespace"`
	At        time.Time        `json:"at"`
	Actor     string           `json:"actor"`
	ActorName string           `json:"actorName,omitempty"` // of a token
	Action    string           `json:"action"`
	Detail    string           `json:"detail"`
}

func (s *server) listActs(c *gin.Context) {
	page, err := web.PageOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	ctx, ns := c.Request.Context(), web.MustCaller(c).Namespace
	list, err := s.vault.Acts(ctx, ns, c.Query("before"), page.Limit)
	if err != nil {
		web.Fail(c, err)
		return
	}
	tokens := map[string]string{}
	for _, a := range list {
		if id := web.TokenOf(a.Actor); id != "" {
			tokens[id] = ""
		}
	}
	names, err := s.access.TokenNames(ctx, ns, slices.Collect(maps.Keys(tokens)))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, gin.H{"values": mapped(list, func(a keys.Act) act {
		return act{a.ID, a.Namespace, a.At, a.Actor, names[web.TokenOf(a.Actor)], a.Action, a.Detail}
	})})
}

func (s *server) getRecordHead(c *gin.Context) {
	head, err := s.vault.Record().Head(c.Request.Context())
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, head)
}

// sha256Text is how a proof's message is named.
var sha256Text = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (s *server) getProof(c *gin.Context) {
	sum, size := c.Param("sha256"), int64(0)
	if !sha256Text.MatchString(sum) {
		web.Fail(c, web.ErrInvalid.With("the message is named by its SHA-256 in lower-case hex"))
		return
	}
	if text, given := c.GetQuery("size"); given {
		var err error
		if size, err = strconv.ParseInt(text, 10, 64); err != nil || size < 1 {
			web.Fail(c, web.ErrInvalid.With("size must be a whole number, from 1"))
			return
		}
	}
	proof, err := s.vault.Record().Prove(c.Request.Context(), web.MustCaller(c).Namespace, sum, size)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, proof)
}
