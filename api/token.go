package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/access"
	"sealift/internal/web"
)

const maxTokenBody = 16 << 10

// tokenRoutes manage the API tokens of the caller's namespace.
func (s *server) tokenRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodGet, Pattern: "/api/v1/tokens", Permission: access.AccessRead, Handler: s.listTokens},
		{Method: http.MethodPost, Pattern: "/api/v1/tokens", Permission: access.AccessWrite, Handler: s.postToken},
		{Method: http.MethodDelete, Pattern: "/api/v1/tokens/:id", Permission: access.AccessWrite, Handler: s.deleteToken},
	}
}

// postOAuthToken is the OAuth2 client credentials grant (RFC 6749, "Client
// Credentials Grant"), with its own form of errors.
func (s *server) postOAuthToken(c *gin.Context) {
	body, err := web.Body(c, maxTokenBody)
	if err != nil {
		web.Fail(c, err)
		return
	}
	refuse := func(status int, code, text string) {
		c.Header("Cache-Control", "no-store")
		c.PureJSON(status, gin.H{"error": code, "error_description": text})
	}
	form, err := parseForm(body)
	if err != nil || form.Get("grant_type") != "client_credentials" {
		refuse(http.StatusBadRequest, "unsupported_grant_type", "grant_type must be client_credentials")
		return
	}
	id, secret, ok := c.Request.BasicAuth()
	if !ok {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	token, life, err := s.access.Exchange(c.Request.Context(), remote(c.Request), id, secret)
	if err != nil {
		s.log.Warn("a client's credentials were refused", "client_id", loggedID(id), "remote", remote(c.Request), "reason", err)
		c.Header("WWW-Authenticate", `Basic realm="sealift"`)
		refuse(http.StatusUnauthorized, "invalid_client", "the client id or its secret is not accepted")
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, gin.H{"access_token": token, "token_type": "bearer", "expires_in": int(life / time.Second)})
}

// loggedID keeps out of the log what is no id: people mix it up with the secret.
func loggedID(id string) string {
	if uuid.Validate(id) != nil {
		return "(not an id)"
	}
	return id
}

// parseForm reads a form. Some clients do not encode the scope, which may then
// hold blanks; it is not used.
func parseForm(body []byte) (url.Values, error) {
	return url.ParseQuery(strings.ReplaceAll(string(body), " ", "+"))
}

// wireToken is a token as the api shows it.
type wireToken struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Scopes    []access.Scope `json:"scopes"`
	CreatedAt time.Time      `json:"createdAt"`
	ExpiresAt *time.Time     `json:"expiresAt"`
	RevokedAt *time.Time     `json:"revokedAt"`
	LastUsed  *time.Time     `json:"lastUsed"`
	Token     string         `json:"token,omitempty"` // when it is made, never again
}

func tokenOut(t access.Token) wireToken {
	return wireToken{
		ID: t.ID, Name: t.Name, Scopes: t.Scopes, CreatedAt: t.Created.UTC(),
		ExpiresAt: optional(t.Expires), RevokedAt: optional(t.Revoked), LastUsed: optional(t.LastUsed),
	}
}

// optional is a time as JSON shows it: null for none.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

func (s *server) listTokens(c *gin.Context) {
	page, err := web.PageOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	list, total, err := s.access.Tokens(c.Request.Context(), web.MustCaller(c).Namespace, page.Offset, page.Limit)
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.List(c, page, mapped(list, tokenOut), total)
}

func (s *server) postToken(c *gin.Context) {
	var request struct {
		Name   string         `json:"name"`
		Scopes []access.Scope `json:"scopes"`
		Days   int            `json:"days"` // 0: it does not expire
	}
	if err := web.DecodeJSON(c, maxTokenBody, &request); err != nil {
		web.Fail(c, err)
		return
	}
	if request.Days < 0 || request.Days > 36500 {
		web.Fail(c, web.ErrInvalid.With("days: 0 (never expires) to 36500"))
		return
	}
	who := web.MustCaller(c)
	text, token, err := s.access.CreateToken(c.Request.Context(), who.Namespace, request.Name, request.Scopes, time.Duration(request.Days)*24*time.Hour,
		func(ctx context.Context, tx *sqlx.Tx, id string) error {
			return s.vault.AuditIn(ctx, tx, who.Namespace, who.String(), "token.create", "token "+id+" "+request.Name)
		})
	if err != nil {
		web.Fail(c, err)
		return
	}
	out := tokenOut(token)
	out.Token = text
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusCreated, out)
}

func (s *server) deleteToken(c *gin.Context) {
	who, id := web.MustCaller(c), c.Param("id")
	err := s.access.RevokeToken(c.Request.Context(), who.Namespace, id, func(ctx context.Context, tx *sqlx.Tx, id string) error {
		return s.vault.AuditIn(ctx, tx, who.Namespace, who.String(), "token.revoke", "token "+id)
	})
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}
