package drill_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sealift/api"
	"sealift/fixtures/device"
	"sealift/gateway"
	"sealift/internal/db"
	"sealift/internal/diskblob"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/tools/sealift/wiring"
)

const day = 24 * time.Hour

// shift is how far the clock of a test is from the machine's. Safe for concurrent
// use.
type shift struct {
	mu sync.Mutex
	by time.Duration
}

func (s *shift) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.by)
}

func (s *shift) set(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = by
}

// TestClock runs one server at the wrong time. The built server has the machine's
// clock; when it is off, the same data are served out of the test, at another time.
// A clock that went on an hour and was set back: what is stored is served, nothing
// is signed until an operator accepts the clock. A server that was off for forty
// days: everything signed online has expired, and is signed again.
func TestClock(t *testing.T) {
	ctx, clock := t.Context(), &shift{}
	s := newServer(t, t.TempDir())
	s.start()
	s.release(4)
	o := newOperator(s, 4)
	c := newCar(s, s.archive(), "truck", func(d *device.Config) { d.Now = clock.now })
	poll := func(want device.Outcome) device.Result {
		t.Helper()
		r, err := c.Poll(ctx)
		if err != nil || r.Outcome != want {
			t.Fatalf("the device polls: %q, %v, want %q", r.Outcome, err, want)
		}
		return r
	}
	offer := func() {
		t.Helper()
		before := len(o.assigned)
		must(t, o.assign(ctx, c))
		if len(o.assigned) != before+1 {
			t.Fatal("nothing was assigned")
		}
	}
	poll(device.NothingNew)
	offer()
	poll(device.Installed)

	offer()
	s.stop()
	clock.set(time.Hour)
	s.at(clock, func(*wiring.Services) {
		poll(device.Installed)
		poll(device.NothingNew) // after what it reported there is something to be signed
	})

	clock.set(0)
	s.start()
	poll(device.NothingNew) // is told what was signed in an hour
	offer()
	refusedForClock(t, c)
	s.stop()
	if said := s.run("clock", "accept"); !strings.Contains(said, "audit") {
		t.Errorf("accepting the clock says %q", said)
	}
	s.start()
	last := poll(device.Installed)

	offer()
	s.stop()
	clock.set(40 * day)
	var certificate *x509.Certificate
	s.at(clock, func(v *wiring.Services) {
		certificate = s.certificate(clock)
		acts, err := v.Vault.Acts(ctx, "", "", 10)
		if err != nil || len(acts) == 0 || acts[0].Action != "clock.accept" {
			t.Errorf("the audit has %+v, %v", acts, err)
		}
		next := poll(device.Installed)
		if next.Director.Timestamp <= last.Director.Timestamp || next.Image.Timestamp <= last.Image.Timestamp || next.Image.Snapshot <= last.Image.Snapshot {
			t.Errorf("after forty days the device is shown %+v and %+v, before %+v and %+v", next.Director, next.Image, last.Director, last.Image)
		}
		if next.Image.Targets != last.Image.Targets {
			t.Errorf("targets of version %d became %d: nobody signed offline", last.Image.Targets, next.Image.Targets)
		}
	})
	clock.set(270 * day) // two thirds of the life of the server's certificate
	s.at(clock, func(*wiring.Services) {
		poll(device.NothingNew)
		if ends := s.certificate(clock).NotAfter; !ends.After(certificate.NotAfter) {
			t.Errorf("the server's certificate ends on %s, as before", ends)
		}
	})
	t.Logf("drill: clock -1 h: refused until accepted; +40 d: signed again, images of before installed")
}

// refusedForClock demands that a poll fails because nothing is signed, and that the
// error has an id.
func refusedForClock(t *testing.T, c *car) {
	t.Helper()
	_, err := c.Poll(t.Context())
	var status *device.StatusError
	if !errors.As(err, &status) || status.Status != http.StatusServiceUnavailable || status.Code != "clock_behind" {
		t.Errorf("the clock is behind, the device polls: %v", err)
	}
	all := c.w.trouble()
	if len(all) == 0 {
		t.Fatal("nothing was refused")
	}
	for _, r := range all {
		(trouble{name: "clock"}).check(t, r.String(), r.answer)
	}
}

// certificate is that of the gateway, which a client with the same clock accepts.
func (s *server) certificate(clock *shift) *x509.Certificate {
	s.t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.gateway, "https://"), &tls.Config{RootCAs: s.trust, Time: clock.now})
	must(s.t, err)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// at serves both edges at the time of a clock, while the server itself is off. Like
// the server it renews and announces before it listens.
func (s *server) at(clock *shift, work func(*wiring.Services)) {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	defer stop()
	log := slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	data := filepath.Join(s.dir, "sealift-data")
	kek, err := keys.OpenFileKEK(data+".master-key", nil)
	must(s.t, err)
	d, err := db.Open(ctx, "sqlite:"+filepath.Join(data, "sealift.db"))
	must(s.t, err)
	defer d.Close()
	objects, err := diskblob.Open(filepath.Join(data, "blobs", "treehub"))
	must(s.t, err)
	defer objects.Close()
	images, err := diskblob.Open(filepath.Join(data, "blobs", "repo"))
	must(s.t, err)
	defer images.Close()
	v, err := wiring.Open(ctx, wiring.Config{DB: d, KEK: kek, Objects: objects, Images: images, Now: clock.now, Log: log})
	must(s.t, err)
	defer func() { must(s.t, v.Close(ctx)) }()
	must(s.t, v.Repo.Renew(ctx))
	people := api.Config{URL: s.api, Now: clock.now, Log: log}
	must(s.t, v.Guardian(people).Announce(ctx))
	devices, err := v.Gateway(gateway.Config{Now: clock.now, Log: log})
	must(s.t, err)
	operators, err := v.API(people)
	must(s.t, err)
	config, err := v.Vault.TLSConfig(ctx, pki.Names{DNS: []string{"localhost"}})
	must(s.t, err)
	defer s.edge(s.gateway, devices, config, log)()
	config = config.Clone()
	config.ClientAuth = tls.NoClientCert
	defer s.edge(s.api, operators, config, log)()
	work(v)
}

// edge serves at an address until the function that it returns is called.
func (s *server) edge(address string, handler http.Handler, config *tls.Config, log *slog.Logger) func() {
	s.t.Helper()
	server := web.Server(handler, log)
	server.TLSConfig = config.Clone() // the server completes it
	where, err := url.Parse(address)
	must(s.t, err)
	l, err := net.Listen("tcp", "127.0.0.1:"+where.Port())
	must(s.t, err)
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(l, "", "") }()
	return func() {
		must(s.t, server.Close())
		<-ended
	}
}
