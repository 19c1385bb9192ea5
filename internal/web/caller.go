// Package web is what the two HTTP surfaces of the server share: who is
// calling ([Caller]), which routes there are and what they demand ([Route]),
// how an error is told ([Fail]), how bodies and pages are read with a limit.
//
// [New] turns a route table into an http.Handler. Each request is taken
// through the same steps in the same order: the path is normalised once,
// matched, the caller identified and authorised, and only then handled.
// Gin gives handlers their context; matching is done here, because one
// decision must choose both the handler and the permission, also for routes
// outside gin and for fixed names beside a catch-all, which gin refuses.
package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"sealift/uptane"
)

// Kind says how a caller proved who it is.
type Kind string

// The kinds of callers.
const (
	Anonymous Kind = "anonymous" // no proof: public routes only
	Device    Kind = "device"    // a device's own certificate
	Bootstrap Kind = "bootstrap" // a certificate good for provisioning alone
	Token     Kind = "token"     // an API token of a person or a build job
)

// Caller is who sends a request, as [Identify] found out. Services take the
// namespace from here and from nowhere else.
type Caller struct {
	Kind        Kind
	Namespace   uptane.Namespace
	Device      uptane.DeviceID // a device's id; else empty
	OEMID       uptane.OEMID    // a device's own name; else empty
	Certificate string          // SHA-256 of the client certificate in hex; else empty
	Token       string          // id of the API token, never its secret; else empty
	Permissions []string        // what it may do, in the words of [Route.Permission]
	// Confined are the delegated roles for which alone it may bring metadata and
	// images, with those below them; none: it is not confined.
	Confined []uptane.Role
	// ConfinedPush are the delegated roles below whose names alone it may set OSTree
	// refs; none: it is not confined.
	ConfinedPush []uptane.Role
}

// May reports whether c has the permission.
func (c Caller) May(permission string) bool { return slices.Contains(c.Permissions, permission) }

// String names the caller for logs and audit records, as in "device:0190...".
func (c Caller) String() string {
	switch c.Kind {
	case Device:
		return "device:" + string(c.Device)
	case Bootstrap:
		return "bootstrap:" + c.Certificate
	case Token:
		return tokenActor + c.Token
	}
	return string(Anonymous)
}

// tokenActor begins the name of a caller with a token.
const tokenActor = "token:"

// TokenOf is the id of the token in what [Caller.String] has written, "" for others.
func TokenOf(actor string) string {
	id, ok := strings.CutPrefix(actor, tokenActor)
	if !ok {
		return ""
	}
	return id
}

// Identify finds out who sends a request, from its certificate or its
// Authorization header. It returns an Unauthorized or Forbidden fault, such
// as [ErrUnauthorized], when nobody acceptable does. It must be safe for
// concurrent use and must not read the body.
type Identify func(*http.Request) (Caller, error)

type callerKey struct{}

// WithCaller returns a context that carries c. [New]'s handler does this for
// every route that is not [Public].
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns the caller in ctx; false means there is none.
func CallerFrom(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// MustCaller returns the caller of a route that is not [Public]. On a public
// route it panics: such a handler has no business asking.
func MustCaller(c *gin.Context) Caller {
	who, ok := CallerFrom(c.Request.Context())
	if !ok {
		panic(fmt.Sprintf("no caller on public path %s", c.Request.URL.Path))
	}
	return who
}
