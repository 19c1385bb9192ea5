// Package gateway is everything a device can reach: provisioning, the
// Director's and the Image repository's metadata, images, OSTree objects and
// the reports devices send.
//
// Who a device is decides its TLS client certificate alone. Answers obey what
// fielded clients can bear: 404 and nothing else for what is not there, empty
// error bodies where a device writes what it gets to a file, no redirects, no
// compression.
package gateway

import (
	_ "embed"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sealift/director"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/registry"
	"sealift/repo"
	"sealift/treehub"
)

//go:embed openapi.yaml
var openapi []byte

// What a certificate permits.
const (
	permitDevice    = "device"    // a device's own certificate
	permitProvision = "provision" // a bootstrap certificate
)

// Config is what the gateway serves from. All services are required.
type Config struct {
	Vault    *keys.Vault
	Director *director.Director
	Repo     *repo.Repo
	TreeHub  *treehub.TreeHub
	Registry *registry.Registry

	Version string                // sent as x-ats-version
	Log     *slog.Logger          // nil: slog.Default()
	Now     func() time.Time      // nil: time.Now
	Metrics prometheus.Registerer // nil: none
}

// server has the handlers; each service's are in the file of its name.
type server struct {
	vault    *keys.Vault
	director *director.Director
	repo     *repo.Repo
	treehub  *treehub.TreeHub
	registry *registry.Registry
	log      *slog.Logger
	now      func() time.Time
}

// New returns the handler of the gateway. It expects to run under TLS with
// client certificates requested: see keys.Vault.TLSConfig.
func New(c Config) (http.Handler, error) {
	s := newServer(c)
	routes, err := s.routes()
	if err != nil {
		return nil, err
	}
	return web.New(web.Config{
		Name: "gateway", Routes: routes, Identify: s.identify,
		EmptyErrors: []string{"/repo/targets/", "/treehub/"},
		Version:     c.Version, Log: s.log, Metrics: c.Metrics,
	})
}

func newServer(c Config) *server {
	s := &server{vault: c.Vault, director: c.Director, repo: c.Repo, treehub: c.TreeHub, registry: c.Registry, log: c.Log, now: c.Now}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Routes lists the gateway's routes, for documentation and its tests.
func Routes() ([]web.Route, error) { return newServer(Config{}).routes() }

// OpenAPI is the description of the gateway's routes, YAML.
func OpenAPI() []byte { return openapi }

func (s *server) routes() ([]web.Route, error) {
	all, err := s.publicRoutes()
	for _, part := range [][]web.Route{
		s.provisionRoutes(), s.directorRoutes(), s.repoRoutes(), s.tufRoutes(), s.treehubRoutes(), s.reportRoutes(),
	} {
		all = append(all, part...)
	}
	limits := newLimits(s.now)
	for i := range all {
		all[i] = limits.limit(all[i])
	}
	return all, err
}
