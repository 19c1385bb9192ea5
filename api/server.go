// Package api is everything a person or a build job can reach: TreeHub and the
// Image repository for the tools of a build, the Director and the registry for
// operators, tokens, and the documentation of all of it.
//
// Who calls is proved by a token: as Bearer, as the password of HTTP Basic, or
// exchanged for an access token by OAuth2 client credentials. The namespace is
// the token's. Each route names the one permission it demands beside its
// handler.
package api

import (
	"crypto/x509"
	_ "embed"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sealift/access"
	"sealift/director"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/registry"
	"sealift/repo"
	"sealift/treehub"
)

//go:embed openapi.yaml
var openapi []byte

// Config is what the api serves from. All services are required.
type Config struct {
	Vault    *keys.Vault
	Director *director.Director
	Repo     *repo.Repo
	TreeHub  *treehub.TreeHub
	Registry *registry.Registry
	Access   *access.Access

	// Certificates are those of the listeners "api" and "gateway" that somebody else
	// renews; their end is told.
	Certificates map[string]*x509.Certificate
	// Disk is how much room there is for what is pushed, in bytes; nil: not on this
	// machine.
	Disk func() (free, total uint64, err error)

	URL     string                // of this edge as callers know it
	Version string                // sent as x-ats-version
	Log     *slog.Logger          // nil: slog.Default()
	Now     func() time.Time      // nil: time.Now
	Metrics prometheus.Registerer // nil: none
}

// server has the handlers; each service's are in the files of its name.
type server struct {
	vault    *keys.Vault
	director *director.Director
	repo     *repo.Repo
	treehub  *treehub.TreeHub
	registry *registry.Registry
	access   *access.Access
	url      string // of this edge as callers know it, without a slash at the end
	log      *slog.Logger
	now      func() time.Time

	certificates map[string]*x509.Certificate
	disk         func() (free, total uint64, err error)
}

// New returns the handler of the api. It expects to run under TLS, or on
// loopback.
func New(c Config) (http.Handler, error) {
	s := newServer(c)
	routes, err := s.routes()
	if err != nil {
		return nil, err
	}
	return web.New(web.Config{
		Name: "api", Routes: routes, Identify: s.identify, Challenge: `Bearer realm="sealift"`,
		Version: c.Version, Log: s.log, Metrics: c.Metrics,
	})
}

func newServer(c Config) *server {
	s := &server{
		vault: c.Vault, director: c.Director, repo: c.Repo, treehub: c.TreeHub, registry: c.Registry, access: c.Access,
		url: strings.TrimRight(c.URL, "/"), log: c.Log, now: c.Now,
		certificates: c.Certificates, disk: c.Disk,
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Routes lists the api's routes, for documentation and its tests.
func Routes() ([]web.Route, error) { return newServer(Config{}).routes() }

// OpenAPI is the description of the api's routes, YAML.
func OpenAPI() []byte { return openapi }

func (s *server) routes() ([]web.Route, error) {
	all, err := s.publicRoutes()
	for _, part := range [][]web.Route{
		s.treehubRoutes(), s.repoRoutes(), s.custodyRoutes(), s.splitRoutes(), s.tufRoutes(), s.directorRoutes(), s.directorRootRoutes(), s.rootDraftRoutes(), s.registryRoutes(), s.deviceRoutes(), s.tokenRoutes(), s.statusRoutes(), s.recoveryRoutes(), s.recordRoutes(), s.issuerRoutes(), s.expiryRoutes(), s.doctorRoutes(), s.exposureRoutes(),
	} {
		all = append(all, part...)
	}
	return all, err
}
