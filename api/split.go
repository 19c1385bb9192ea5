package api

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/repo"
	"sealift/uptane"
)

// splitRoutes move targets into delegated roles. Only where the Director knows
// that no Secondary would miss them: hence a route of the whole server.
func (s *server) splitRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodPost, Pattern: repoPrefix + "/trusted-delegations/:role/split", Permission: access.RepoSign, Handler: s.splitTargets},
	}
}

func (s *server) splitTargets(c *gin.Context) {
	var ask struct {
		Paths []string `json:"paths"`
	}
	ctx, ns := c.Request.Context(), web.MustCaller(c).Namespace
	err := web.DecodeJSON(c, maxEdit, &ask)
	var split repo.Split
	if err == nil {
		split, err = s.repo.Split(ctx, ns, roleOf(c), ask.Paths)
	}
	var held []uptane.HardwareID
	if err == nil {
		held, err = s.director.WithSecondaries(ctx, ns, split.HardwareIDs)
	}
	if err == nil && len(held) > 0 {
		err = repo.ErrSplit.With(fmt.Sprintf("devices with Secondaries have ECUs of %s; their Secondaries know the top level only and would refuse every update with such an image", join(held)))
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, gin.H{"moved": split.Moved, "unsigned_delegation_base64": base64.StdEncoding.EncodeToString(split.Delegation),
		"unsigned_targets_base64": base64.StdEncoding.EncodeToString(split.Targets)})
}

func join(ids []uptane.HardwareID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = string(id)
	}
	return strings.Join(words, ", ")
}
