package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/repo"
	"sealift/uptane"
)

const (
	// maxTrusted bounds lists of delegations and of their keys.
	maxTrusted = 4 << 20
	// maxRemote bounds what is said about a remote delegation.
	maxRemote = 256 << 10

	fetchedHeader = "x-ats-delegation-last-fetched-at"
)

// errImmutable: a member that only the server sets.
var errImmutable = fault.New(fault.Invalid, "immutable_fields_specified", "only friendlyName can be changed")

// delegationRoutes are the roles that targets delegate to: who is trusted, and the
// metadata they signed.
func (s *server) delegationRoutes() []web.Route {
	const trusted = "/trusted-delegations"
	return []web.Route{
		{Method: http.MethodGet, Pattern: trusted, Permission: access.RepoRead, Handler: s.getTrusted},
		{Method: http.MethodPut, Pattern: trusted, Permission: access.RepoSign, Handler: s.putTrusted},
		{Method: http.MethodGet, Pattern: trusted + "/keys", Permission: access.RepoRead, Handler: s.getTrustedKeys},
		{Method: http.MethodPut, Pattern: trusted + "/keys", Permission: access.RepoSign, Handler: s.putTrustedKeys},
		{Method: http.MethodDelete, Pattern: trusted + "/:role", Permission: access.RepoSign, Handler: s.deleteTrusted},
		{Method: http.MethodPut, Pattern: trusted + "/:role/remote", Permission: access.RepoSign, Handler: s.putRemote},
		{Method: http.MethodPut, Pattern: trusted + "/:role/remote/refresh", Permission: access.RepoDelegate, Handler: s.refreshRemote},
		{Method: http.MethodGet, Pattern: trusted + "/info", Permission: access.RepoRead, Handler: s.getRolesInfo},
		{Method: http.MethodGet, Pattern: trusted + "/:role/info", Permission: access.RepoRead, Handler: s.getRoleInfo},
		{Method: http.MethodPatch, Pattern: trusted + "/:role/info", Permission: access.RepoSign, Handler: s.patchRoleInfo},
		{Method: http.MethodGet, Pattern: "/delegations/:file", Permission: access.RepoRead, Handler: s.getDelegation},
		{Method: http.MethodPut, Pattern: "/delegations/:file", Permission: access.RepoDelegate, Handler: s.putDelegation},
		{Method: http.MethodGet, Pattern: "/delegations_items", Permission: access.RepoRead, Handler: s.getDelegatedItems},
		{Method: http.MethodGet, Pattern: "/delegations_items/*filename", Permission: access.RepoRead, Handler: s.getDelegatedItem},
	}
}

// answer ends a request that changes something: with its error or a status.
func answer(c *gin.Context, err error, status int) {
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(status)
}

func roleOf(c *gin.Context) uptane.Role { return uptane.Role(c.Param("role")) }

func (s *server) getTrusted(c *gin.Context) {
	s.sendTrusted(c, func(roles, _ []json.RawMessage) any { return roles })
}
func (s *server) getTrustedKeys(c *gin.Context) {
	s.sendTrusted(c, func(_, keys []json.RawMessage) any { return keys })
}

func (s *server) sendTrusted(c *gin.Context, of func(roles, keys []json.RawMessage) any) {
	roles, keys, err := s.repo.TrustedDelegations(c.Request.Context(), web.MustCaller(c).Namespace)
	if err != nil {
		web.Fail(c, err)
		return
	}
	if roles == nil {
		roles = []json.RawMessage{}
	}
	if keys == nil {
		keys = []json.RawMessage{}
	}
	c.PureJSON(http.StatusOK, of(roles, keys))
}

func (s *server) putTrusted(c *gin.Context) {
	var roles []json.RawMessage
	err := web.DecodeLooseJSON(c, maxTrusted, &roles)
	if err == nil {
		err = s.repo.SetDelegations(c.Request.Context(), web.MustCaller(c).Namespace, roles)
	}
	answer(c, err, http.StatusNoContent)
}

func (s *server) putTrustedKeys(c *gin.Context) {
	var keys []json.RawMessage
	err := web.DecodeLooseJSON(c, maxTrusted, &keys)
	if err == nil {
		err = s.repo.SetDelegationKeys(c.Request.Context(), web.MustCaller(c).Namespace, keys)
	}
	answer(c, err, http.StatusNoContent)
}

func (s *server) deleteTrusted(c *gin.Context) {
	answer(c, s.repo.DropDelegation(c.Request.Context(), web.MustCaller(c).Namespace, roleOf(c)), http.StatusNoContent)
}

func (s *server) putRemote(c *gin.Context) {
	var ask struct {
		URI          string            `json:"uri"`
		Headers      map[string]string `json:"remoteHeaders"`
		FriendlyName string            `json:"friendlyName"`
	}
	who := web.MustCaller(c)
	err := web.DecodeLooseJSON(c, maxRemote, &ask)
	if err == nil {
		err = s.repo.SetRemote(c.Request.Context(), who.Namespace, roleOf(c), ask.URI, ask.Headers, ask.FriendlyName, who.String())
	}
	answer(c, err, http.StatusCreated)
}

func (s *server) refreshRemote(c *gin.Context) {
	who := web.MustCaller(c)
	err := s.mayDelegate(c, roleOf(c))
	if err == nil {
		err = s.repo.RefreshRemote(c.Request.Context(), who.Namespace, roleOf(c), who.String())
	}
	answer(c, err, http.StatusOK)
}

// mayDelegate refuses roles of others to who is confined to some.
func (s *server) mayDelegate(c *gin.Context, role uptane.Role) error {
	who := web.MustCaller(c)
	if len(who.Confined) == 0 {
		return nil
	}
	return s.repo.MayDelegate(c.Request.Context(), who.Namespace, role, who.Confined)
}

// mayBring refuses names of others to who is confined to some delegated roles.
func (s *server) mayBring(ctx context.Context, filename string) error {
	who, _ := web.CallerFrom(ctx)
	if len(who.Confined) == 0 {
		return nil
	}
	return s.repo.MayBring(ctx, who.Namespace, filename, who.Confined)
}

// roleInfo is what people are told about a delegated role. The first four members
// are of old; all are there, null where nothing is known.
type roleInfo struct {
	LastFetched  *time.Time `json:"lastFetched"`
	RemoteURI    *string    `json:"remoteUri"`
	FriendlyName *string    `json:"friendlyName"`
	Expires      *time.Time `json:"expires"`

	Parent     uptane.Role `json:"parent"`
	Version    int         `json:"version"` // 0: it has no metadata
	TUFVersion int         `json:"tufVersion"`
	InForce    bool        `json:"inForce"`
}

func viewRole(r repo.Role) roleInfo {
	return roleInfo{LastFetched: orNull(r.Remote.FetchedAt), RemoteURI: orNull(r.Remote.URI), FriendlyName: orNull(r.Remote.FriendlyName),
		Expires: orNull(r.Expires), Parent: r.Parent, Version: r.Version, TUFVersion: r.TUF, InForce: r.InForce}
}

func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func (s *server) getRolesInfo(c *gin.Context) {
	list, err := s.repo.Roles(c.Request.Context(), web.MustCaller(c).Namespace)
	if err != nil {
		web.Fail(c, err)
		return
	}
	all := make(map[uptane.Role]roleInfo, len(list))
	for _, r := range list {
		all[r.Name] = viewRole(r)
	}
	c.PureJSON(http.StatusOK, all)
}

func (s *server) getRoleInfo(c *gin.Context) {
	r, err := s.repo.Role(c.Request.Context(), web.MustCaller(c).Namespace, roleOf(c))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, viewRole(r))
}

func (s *server) patchRoleInfo(c *gin.Context) {
	var ask struct {
		LastFetched  json.RawMessage `json:"lastFetched"`
		RemoteURI    json.RawMessage `json:"remoteUri"`
		FriendlyName string          `json:"friendlyName"`
	}
	err := web.DecodeLooseJSON(c, maxRemote, &ask)
	if err == nil && (said(ask.LastFetched) || said(ask.RemoteURI)) {
		err = errImmutable
	}
	if err == nil {
		err = s.repo.NameRole(c.Request.Context(), web.MustCaller(c).Namespace, roleOf(c), ask.FriendlyName)
	}
	answer(c, err, http.StatusOK)
}

func said(v json.RawMessage) bool { return len(v) > 0 && string(v) != "null" }

// delegationIn reads the role out of ROLE.json.
func delegationIn(c *gin.Context) (uptane.Role, error) {
	role, version, err := uptane.ParseFilename(c.Param("file"))
	if err != nil || version != 0 || !role.Delegation() {
		return "", repo.ErrDelegationName.Withf("%.60q", c.Param("file"))
	}
	return role, nil
}

func (s *server) getDelegation(c *gin.Context) {
	ns := web.MustCaller(c).Namespace
	role, err := delegationIn(c)
	if err != nil {
		web.Fail(c, repo.ErrDelegationMissing.With(fault.Of(err).Cause()))
		return
	}
	s.repo.Reread(ns)
	doc, err := s.repo.Delegation(c.Request.Context(), ns, role)
	if err != nil {
		web.Fail(c, err)
		return
	}
	if r, err := s.repo.Role(c.Request.Context(), ns, role); err == nil && !r.Remote.FetchedAt.IsZero() {
		c.Header(fetchedHeader, r.Remote.FetchedAt.Format(time.RFC3339))
	}
	c.Header(checksumHeader, doc.Checksum)
	c.Header("ETag", strconv.Quote(doc.Checksum))
	c.Header("Cache-Control", "no-cache")
	web.Raw(c, "application/json", doc.Bytes)
}

func (s *server) putDelegation(c *gin.Context) {
	who := web.MustCaller(c)
	role, err := delegationIn(c)
	if err == nil {
		err = s.mayDelegate(c, role)
	}
	var doc []byte
	if err == nil {
		doc, err = inflated(c, repo.MaxTargets)
	}
	var sum string
	if err == nil {
		sum, err = s.repo.PutDelegation(c.Request.Context(), who.Namespace, role, doc, who.String())
	}
	if err == nil {
		c.Header(checksumHeader, sum)
	}
	answer(c, err, http.StatusNoContent)
}

// delegatedItem is a target of a delegated role.
type delegatedItem struct {
	Filename string      `json:"targetFilename"`
	Role     uptane.Role `json:"delegatedRoleName"`
	Item     targetItem  `json:"clientTargetItem"`
}

func viewDelegated(items []repo.Item) ([]delegatedItem, error) {
	views := make([]delegatedItem, len(items))
	for i, item := range items {
		v, err := viewItem(item)
		if err != nil {
			return nil, err
		}
		views[i] = delegatedItem{item.Filename, item.Role, v}
	}
	return views, nil
}

func (s *server) getDelegatedItems(c *gin.Context) {
	page, err := web.PageOf(c)
	var items []repo.Item
	var total int
	if err == nil {
		items, total, err = s.repo.DelegatedItems(c.Request.Context(), web.MustCaller(c).Namespace, c.Query("nameContains"), page.Limit, page.Offset)
	}
	var views []delegatedItem
	if err == nil {
		views, err = viewDelegated(items)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.List(c, page, views, total)
}

func (s *server) getDelegatedItem(c *gin.Context) {
	items, err := s.repo.DelegatedItem(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("filename"))
	if err == nil && len(items) == 0 {
		err = repo.ErrDelegatedTarget.With("no delegated role has such a target")
	}
	var views []delegatedItem
	if err == nil {
		views, err = viewDelegated(items)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, views)
}
