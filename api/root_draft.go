package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/uptane"
	"sealift/uptane/ceremony"
)

// rootDraftRoutes are for roots that several people sign, each when and where it
// suits. To begin one, or to give one up, is for administrators: it makes and
// deletes keys. Signatures are judged by the keys of the roots, whoever brings them.
func (s *server) rootDraftRoutes() []web.Route {
	const path = "/api/v1/root-drafts"
	return []web.Route{
		{Method: http.MethodGet, Pattern: path, Permission: access.RepoRead, Handler: s.listRootDrafts},
		{Method: http.MethodPost, Pattern: path, Permission: access.KeysWrite, Handler: s.postRootDraft},
		{Method: http.MethodGet, Pattern: path + "/:id", Permission: access.RepoRead, Handler: s.getRootDraft},
		{Method: http.MethodPost, Pattern: path + "/:id/signatures", Permission: access.RepoSign, Handler: s.postRootSignatures},
		{Method: http.MethodPost, Pattern: path + "/:id/publish", Permission: access.RepoSign, Handler: s.publishRootDraft},
		{Method: http.MethodDelete, Pattern: path + "/:id", Permission: access.KeysWrite, Handler: s.deleteRootDraft},
	}
}

// rootDraft is a root that people are signing, as the api shows it. There are no
// encoded bytes in it: whoever signs encodes the model.
type rootDraft struct {
	ID         string            `json:"id"`
	Repository uptane.Repository `json:"repository"`
	Before     ceremony.Model    `json:"before"`
	Model      ceremony.Model    `json:"model"`
	Changes    []string          `json:"changes"`
	MadeKeys   []uptane.KeyID    `json:"madeKeys"`
	SignedBy   []uptane.KeyID    `json:"signedBy"`
	Quorum     ceremony.Quorum   `json:"quorum"`
	Complete   bool              `json:"complete"`
	CreatedAt  time.Time         `json:"createdAt"`
	CreatedBy  string            `json:"createdBy"`
	EndsAt     time.Time         `json:"endsAt"`
}

func rootDraftOut(d keys.Draft) rootDraft {
	return rootDraft{d.ID, d.Repository, d.Before, d.Model, ceremony.Diff(d.Before, d.Model), append([]uptane.KeyID{}, d.Made...),
		append([]uptane.KeyID{}, d.SignedBy...), d.Quorum, d.Quorum.Reached(), d.CreatedAt, d.CreatedBy, d.EndsAt}
}

func sendRootDraft(c *gin.Context, status int, d keys.Draft, err error) {
	if err != nil {
		web.Fail(c, refuseRoot(err))
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(status, rootDraftOut(d))
}

func (s *server) listRootDrafts(c *gin.Context) {
	p, err := web.PageOf(c)
	var list []keys.Draft
	if err == nil {
		list, err = s.vault.Drafts(c.Request.Context(), web.MustCaller(c).Namespace)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	total := len(list)
	list = list[min(p.Offset, total):]
	web.List(c, p, mapped(list[:min(p.Limit, len(list))], rootDraftOut), total)
}

func (s *server) getRootDraft(c *gin.Context) {
	d, err := s.vault.Draft(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("id"))
	sendRootDraft(c, http.StatusOK, d, err)
}

func (s *server) postRootDraft(c *gin.Context) {
	var ask struct {
		Repository uptane.Repository              `json:"repository"`
		Replaces   string                         `json:"replaces"`
		Expires    *time.Time                     `json:"expires"`
		Roles      map[uptane.Role]ceremony.Trust `json:"roles"`
		Rotate     []uptane.Role                  `json:"rotate"`
		KeyType    string                         `json:"keyType"`
	}
	err := web.DecodeJSON(c, maxRoot, &ask)
	var d keys.Draft
	if err == nil {
		request := keys.DraftRequest{Repository: ask.Repository, Replaces: ask.Replaces, Roles: ask.Roles, Rotate: ask.Rotate, KeyType: ask.KeyType}
		if ask.Expires != nil {
			request.Expires = *ask.Expires
		}
		d, err = s.vault.DraftRoot(c.Request.Context(), web.MustCaller(c).Namespace, request)
	}
	sendRootDraft(c, http.StatusCreated, d, err)
}

func (s *server) postRootSignatures(c *gin.Context) {
	var ask struct {
		Uptane json.RawMessage `json:"uptane"`
		TUF    json.RawMessage `json:"tuf"`
	}
	err := web.DecodeJSON(c, maxRoot, &ask)
	var d keys.Draft
	if err == nil {
		d, err = s.vault.SignDraft(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("id"), ask.Uptane, ask.TUF)
	}
	sendRootDraft(c, http.StatusOK, d, err)
}

// publishRootDraft publishes what enough people have signed: the root, the keys
// that it names and the end of the draft become true in one transaction.
func (s *server) publishRootDraft(c *gin.Context) {
	d, err := s.publishDraft(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("id"))
	sendRootDraft(c, http.StatusOK, d, err)
}

func (s *server) publishDraft(ctx context.Context, ns uptane.Namespace, id string) (keys.Draft, error) {
	d, err := s.vault.Draft(ctx, ns, id)
	if err != nil {
		return d, err
	}
	if q := d.Quorum; !q.Reached() {
		return d, keys.ErrDraftIncomplete.Withf("%d of %d keys of the root before and %d of %d of its own", q.Old, q.OldNeeds, q.New, q.NewNeeds)
	}
	put := func(ctx context.Context, root, twin []byte) error {
		return s.vault.PublishDraft(ctx, ns, id, d.Repository, root, twin)
	}
	if d.Repository == uptane.DirectorRepository {
		return d, put(ctx, d.Uptane, nil)
	}
	if err := s.repo.StageTwin(ctx, ns, uptane.RoleRoot, d.TUF); err != nil {
		return d, err
	}
	return d, s.repo.PutRootBy(ctx, ns, d.Uptane, put)
}

func (s *server) deleteRootDraft(c *gin.Context) {
	answer(c, s.vault.WithdrawDraft(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("id")), http.StatusNoContent)
}
