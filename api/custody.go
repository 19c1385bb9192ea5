package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/fault"
	"sealift/internal/web"
)

// errNoPrivateKeys: servers of the older kind give private keys to whoever asks.
var errNoPrivateKeys = fault.New(fault.NotFound, "keypair_not_found", "this server gives no private key away, and takes none back")

// custodyRoutes are those with which other servers give private keys away. Tools
// that know them are told why they get none.
func (s *server) custodyRoutes() []web.Route {
	var routes []web.Route
	for _, r := range []struct{ method, pattern string }{
		{http.MethodGet, repoPrefix + "/root/private_keys/:keyid"},
		{http.MethodDelete, repoPrefix + "/root/private_keys/:keyid"},
		{http.MethodGet, "/api/v1/director/admin/repo/private_keys/:keyid"},
		{http.MethodDelete, "/api/v1/director/admin/repo/private_keys/:keyid"},
		{http.MethodDelete, "/api/v1/root/:repository/private_keys/:keyid"},
		{http.MethodGet, "/api/v1/root/:repository/keys/:keyid"},
		{http.MethodGet, "/api/v1/root/:repository/keys/targets/pairs"},
	} {
		routes = append(routes, web.Route{Method: r.method, Pattern: r.pattern, Permission: access.RepoSign, Handler: refusePrivateKeys})
	}
	return routes
}

// errRotation: other servers make new keys for root and targets on demand.
var errRotation = fault.New(fault.PreconditionFailed, "role_key_not_found", "the keys of root and targets are offline: new ones are made and signed for where they are")

func refuseRotation(c *gin.Context) {
	web.Fail(c, errRotation.With("sealift root rotate, or garage-sign root and targets-key commands and then root push"))
}

func refusePrivateKeys(c *gin.Context) {
	web.Fail(c, errNoPrivateKeys.With("root keys and the targets key are with whoever signs: garage-sign has them in its home, build.zip or a token; "+
		"an online key is copied out with sealift keys export on the server, and forgotten once a root no longer names it"))
}
