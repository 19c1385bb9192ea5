package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/repo"
	"sealift/uptane"
)

// maxProposal bounds both flavours of targets in one body.
const maxProposal = 2*repo.MaxTargets + 4096

// proposalRoutes are for targets that several people sign, or that are signed
// elsewhere than they are made.
func (s *server) proposalRoutes() []web.Route {
	const proposal = "/proposals/targets"
	return []web.Route{
		{Method: http.MethodGet, Pattern: proposal, Permission: access.RepoRead, Handler: s.getProposal},
		{Method: http.MethodPut, Pattern: proposal, Permission: access.RepoSign, Handler: s.putProposal},
		{Method: http.MethodPost, Pattern: proposal + "/:id/signatures", Permission: access.RepoSign, Handler: s.postSignatures},
		{Method: http.MethodDelete, Pattern: proposal + "/:id", Permission: access.RepoSign, Handler: s.deleteProposal},
	}
}

// proposalView is targets that wait for signatures, or waited until just now.
type proposalView struct {
	ID        string          `json:"id"`
	Version   int             `json:"version"`
	Base      string          `json:"base"`
	Published string          `json:"published,omitempty"`
	Threshold int             `json:"threshold"`
	KeyIDs    []uptane.KeyID  `json:"keyIds"`
	SignedBy  []uptane.KeyID  `json:"signedBy"`
	CreatedAt time.Time       `json:"createdAt"`
	CreatedBy string          `json:"createdBy"`
	Uptane    json.RawMessage `json:"uptane"`
	TUF       json.RawMessage `json:"tuf"`
}

func sendProposal(c *gin.Context, w repo.Waiting, err error) {
	if err != nil {
		web.Fail(c, err)
		return
	}
	v := proposalView{ID: w.ID, Version: w.Version, Base: w.Base, Published: w.Published, Threshold: w.Threshold, KeyIDs: w.KeyIDs,
		SignedBy: append([]uptane.KeyID{}, w.SignedBy...), CreatedAt: w.CreatedAt, CreatedBy: w.CreatedBy, Uptane: w.Uptane, TUF: w.TUF}
	c.PureJSON(http.StatusOK, v)
}

func (s *server) getProposal(c *gin.Context) {
	w, err := s.repo.Waiting(c.Request.Context(), web.MustCaller(c).Namespace)
	sendProposal(c, w, err)
}

// putProposal keeps the first signatures, if there are any, and documents without.
func (s *server) putProposal(c *gin.Context) {
	var ask struct {
		Replaces string          `json:"replaces"`
		Uptane   json.RawMessage `json:"uptane"`
		TUF      json.RawMessage `json:"tuf"`
	}
	who := web.MustCaller(c)
	var w repo.Waiting
	err := web.DecodeJSON(c, maxProposal, &ask)
	if err == nil {
		if string(ask.TUF) == "null" {
			ask.TUF = nil
		}
		w, err = s.repo.PutWaiting(c.Request.Context(), who.Namespace, ask.Uptane, ask.TUF, c.GetHeader(checksumHeader), ask.Replaces, who.String())
	}
	sendProposal(c, w, err)
}

func (s *server) postSignatures(c *gin.Context) {
	var ask struct {
		Uptane json.RawMessage `json:"uptane"`
		TUF    json.RawMessage `json:"tuf"`
	}
	who := web.MustCaller(c)
	var w repo.Waiting
	err := web.DecodeJSON(c, maxRoot, &ask)
	if err == nil {
		w, err = s.repo.Cosign(c.Request.Context(), who.Namespace, c.Param("id"), ask.Uptane, ask.TUF, who.String())
	}
	sendProposal(c, w, err)
}

func (s *server) deleteProposal(c *gin.Context) {
	who := web.MustCaller(c)
	answer(c, s.repo.DropWaiting(c.Request.Context(), who.Namespace, c.Param("id"), who.String()), http.StatusNoContent)
}
