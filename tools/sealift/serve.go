package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"sealift/api"
	"sealift/gateway"
	"sealift/internal/web"
)

// shutdownTime is how long requests under way may take after a signal.
const shutdownTime = 20 * time.Second

// sweepEvery is how often left-over uploads, and what ends, are looked for.
const sweepEvery = time.Hour

// garbage is how much of it, in percent of what lives, is made between two
// collections. Little lives in this server, and a collection costs each
// connection that waits the stack it had grown. GOGC says otherwise.
const garbage = 200

// newServe is `sealift serve`.
func newServe() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use: "serve", Short: "Run the server", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := s.load(c); err != nil {
				return err
			}
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(garbage)
			}
			return runServe(c.Context(), s, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	s.bind(c)
	return c
}

// runServe serves until ctx ends, then lets requests under way finish.
func runServe(ctx context.Context, s settings, out, logTo io.Writer) (err error) {
	log := s.logger(logTo)
	if err := s.checkNames(); err != nil {
		return err
	}
	v, err := openServices(ctx, s, log, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	if err := v.Repo.Renew(ctx); err != nil { // it is tried again when a device asks
		log.Warn("renewing metadata before listening failed", "error", err)
	}
	certificates, err := s.apiCertificates()
	if err != nil {
		return err
	}
	own, err := givenCertificates("gateway", s.GatewayCert, s.GatewayKey)
	if err != nil {
		return err
	}
	people := api.Config{URL: s.APIURL, Version: "sealift/" + version, Log: log, Disk: s.disk(), Certificates: map[string]*x509.Certificate{}}
	for listener, list := range map[string][]tls.Certificate{"api": certificates, "gateway": own} {
		for _, c := range list {
			people.Certificates[listener] = c.Leaf
		}
	}
	guardian := v.Guardian(people)
	listeners, err := v.listen(ctx, s, people, certificates, own, guardian, log)
	if err != nil {
		return err
	}
	if err := v.seal(ctx, s, out, log); err != nil {
		return err
	}
	announce(ctx, guardian, log)
	printListeners(out, listeners)
	go v.sweep(ctx, guardian, log)
	return serveAll(ctx, listeners, log)
}

// listener is one address and what answers there.
type listener struct {
	name   string
	forWho string
	net.Listener
	server *http.Server
}

func (v *services) listen(ctx context.Context, s settings, c api.Config, certificates, own []tls.Certificate, guardian *api.Guardian, log *slog.Logger) ([]*listener, error) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics.MustRegister(v.Repo.Collector(), guardian)
	devices, err := v.Gateway(gateway.Config{Version: "sealift/" + version, Log: log, Metrics: metrics})
	if err != nil {
		return nil, err
	}
	c.Metrics = metrics
	people, err := v.API(c)
	if err != nil {
		return nil, err
	}
	names, err := s.names()
	if err != nil {
		return nil, usage(err)
	}
	deviceTLS, err := v.Vault.TLSConfig(ctx, names)
	if err != nil {
		return nil, err
	}
	peopleTLS := apiTLS(deviceTLS, certificates)
	if len(own) > 0 {
		s.warnOfName(own[0].Leaf, log)
		deviceTLS = gatewayTLS(deviceTLS, own[0], names)
	}
	all := []*listener{
		{name: "gateway", forWho: "devices, TLS with their certificates", server: web.Server(devices, log)},
		{name: "api", forWho: "people and builds, with tokens; documentation at /docs", server: web.Server(people, log)},
	}
	all[0].server.TLSConfig, all[1].server.TLSConfig = deviceTLS, peopleTLS
	addresses := []string{s.ListenGateway, s.ListenAPI}
	if s.ListenMetrics != "" {
		all = append(all, &listener{name: "metrics", forWho: "Prometheus, at /metrics", server: web.Server(monitoring(s, metrics), log)})
		addresses = append(addresses, s.ListenMetrics)
	}
	for i, l := range all {
		if l.Listener, err = net.Listen("tcp", addresses[i]); err != nil {
			for _, open := range all[:i] {
				_ = open.Close()
			}
			return nil, fmt.Errorf("listening for %s: %w; choose another address with --listen-%s", l.name, err, l.name)
		}
	}
	return all, nil
}

// monitoring is what the metrics address serves; on loopback profiles too.
func monitoring(s settings, metrics *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	if host, _, err := net.SplitHostPort(s.ListenMetrics); err == nil && isLoopback(host) {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	}
	return mux
}

// disk measures the room for what is pushed, where it is on this machine.
func (s settings) disk() func() (free, total uint64, err error) {
	if s.DatabaseURL != "" && s.BlobsURL != "" {
		return nil
	}
	return func() (free, total uint64, err error) {
		var st syscall.Statfs_t
		if err := syscall.Statfs(s.Data, &st); err != nil {
			return 0, 0, fmt.Errorf("measuring the disk: %w", err)
		}
		return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
	}
}

func printListeners(w io.Writer, all []*listener) {
	for _, l := range all {
		scheme := "https"
		if l.server.TLSConfig == nil {
			scheme = "http"
		}
		fmt.Fprintf(w, "%-8s %s://%-21s %s\n", l.name, scheme, l.Addr(), l.forWho)
	}
	fmt.Fprintln(w, "ready")
}

func serveAll(ctx context.Context, all []*listener, log *slog.Logger) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, l := range all {
		running.Go(func() {
			var err error
			if l.server.TLSConfig != nil {
				err = l.server.ServeTLS(l.Listener, "", "")
			} else {
				err = l.server.Serve(l.Listener)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("serving %s: %w", l.name, err))
			}
		})
	}
	<-ctx.Done()
	log.Info("stopping; requests under way may finish", "seconds", shutdownTime.Seconds())
	patience, end := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer end()
	for _, l := range all {
		if err := l.server.Shutdown(patience); err != nil {
			_ = l.server.Close()
		}
	}
	running.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func announce(ctx context.Context, guardian *api.Guardian, log *slog.Logger) {
	if err := guardian.Announce(ctx); err != nil && ctx.Err() == nil {
		log.Warn("looking for what ends failed; it is tried again", "error", err)
	}
}

// sweep deletes left-over uploads and announces what ends, now and then.
func (v *services) sweep(ctx context.Context, guardian *api.Guardian, log *slog.Logger) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			announce(ctx, guardian, log)
			if n, err := v.Repo.Sweep(ctx); err != nil && ctx.Err() == nil {
				log.Warn("deleting left-over uploads failed; it is tried again", "error", err)
			} else if n > 0 {
				log.Info("left-over uploads deleted", "count", n)
			}
		}
	}
}

func (s settings) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		fmt.Fprintf(os.Stderr, "sealift: --log-level %q is unknown; info is used\n", s.LogLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
