package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/repo"
	"sealift/uptane"
)

// policyJSON is what the people of a namespace want of what is pushed.
type policyJSON struct {
	MinTargetsLifeDays *int64 `json:"minTargetsLifeDays"` // 0: any
}

func (s *server) policy(ctx context.Context, ns uptane.Namespace) (policyJSON, error) {
	p, err := s.repo.Policy(ctx, ns)
	if fault.Of(err) != nil { // no repository
		err = nil
	}
	days := int64(p.MinTargetsLife / (24 * time.Hour))
	return policyJSON{&days}, err
}

func (s *server) getPolicy(c *gin.Context) {
	p, err := s.policy(c.Request.Context(), web.MustCaller(c).Namespace)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, p)
}

// putPolicy changes what the body names; it is in the audit.
func (s *server) putPolicy(c *gin.Context) {
	var ask policyJSON
	who, ctx := web.MustCaller(c), c.Request.Context()
	err := web.DecodeJSON(c, maxEdit, &ask)
	if err == nil && (ask.MinTargetsLifeDays == nil || *ask.MinTargetsLifeDays < 0 || *ask.MinTargetsLifeDays > int64(repo.MaxTargetsLife/(24*time.Hour))) {
		err = web.ErrInvalid.With(fmt.Sprintf("minTargetsLifeDays: 0 to %d", repo.MaxTargetsLife/(24*time.Hour)))
	}
	if err == nil {
		err = s.repo.SetPolicy(ctx, who.Namespace, repo.Policy{MinTargetsLife: time.Duration(*ask.MinTargetsLifeDays) * 24 * time.Hour})
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	s.getPolicy(c)
}
