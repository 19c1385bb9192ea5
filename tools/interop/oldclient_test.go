//go:build aktualizr

package interop

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sealift/fixtures"
)

// oldClient asks as clients of before 2020.6 did, with what the newer one was
// recorded to send: the old one is not here.
type oldClient struct {
	gateway string
	http    http.Client
}

// newOldClient uses credentials that the real tool made.
func newOldClient(t *testing.T, b *board) oldClient {
	t.Helper()
	at := func(name string) string { return filepath.Join(b.dir, "import", name) }
	cert, err := tls.LoadX509KeyPair(at("client.pem"), at("pkey.pem"))
	must(t, err)
	ca, err := os.ReadFile(at("root.crt"))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}}}
	t.Cleanup(transport.CloseIdleConnections)
	return oldClient{b.s.gateway, http.Client{Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (c oldClient) ask(t *testing.T, method, path string, body []byte) (status int, answer []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.gateway+path, bytes.NewReader(body))
	must(t, err)
	req.Header.Set("User-Agent", "Aktualizr/2019.11")
	if req.Header.Set("Accept", "*/*"); body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	must(t, err)
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, answer
}

// olderClient: what the older client asked for is answered, without a redirect,
// which it follows for images alone.
func olderClient(t *testing.T) string {
	l := startLiar(t)
	l.uploadBinary(t, "app", "1", "board", "application one")
	l.rotateTimes(t, l.founders(), 1)
	factory := newBoard(t, l.server, boardOptions{hwid: "dummy-hw", mode: "DeviceCred"})
	factory.certProvider(t)
	c := newOldClient(t, factory)
	sent := func(name string) []byte { return fixtures.Read("aktualizr/" + name + ".json") }
	n := 0
	for _, r := range []struct {
		method, path string
		body         []byte
		status       int
	}{
		{"POST", "/director/ecus", sent("ostree-ecus-1"), 201}, {"POST", "/director/ecus", sent("ostree-ecus-1"), 200},
		{"PUT", "/director/manifest", sent("ostree-manifest-1"), 200},
		{"GET", "/director/root.json", nil, 200}, {"GET", "/director/1.root.json", nil, 200}, {"GET", "/director/2.root.json", nil, 200},
		{"GET", "/director/3.root.json", nil, 404}, {"GET", "/director/targets.json", nil, 200},
		{"GET", "/director/timestamp.json", nil, 200}, {"GET", "/director/snapshot.json", nil, 200},
		{"GET", "/repo/root.json", nil, 200}, {"GET", "/repo/1.root.json", nil, 200}, {"GET", "/repo/2.root.json", nil, 200}, {"GET", "/repo/3.root.json", nil, 404},
		{"GET", "/repo/timestamp.json", nil, 200}, {"GET", "/repo/snapshot.json", nil, 200}, {"GET", "/repo/targets.json", nil, 200},
		{"GET", "/repo/targets/app-1", nil, 200},
		// Where the gateway's URL ends in a slash, paths begin with two.
		{"GET", "//director/root.json", nil, 200}, {"PUT", "//director/manifest", sent("ostree-manifest-1"), 200}, {"GET", "//repo/targets/app-1", nil, 200},
		{"PUT", "/core/installed", sent("ostree-installed-1"), 204}, {"PUT", "/core/installed/", sent("ostree-installed-1"), 204},
		{"PUT", "/system_info", sent("secondaries-system_info-1"), 204}, {"PUT", "/system_info/", sent("secondaries-system_info-1"), 204},
		{"PUT", "/system_info/network", sent("ostree-network-1"), 204}, {"PUT", "/system_info/network/", sent("ostree-network-1"), 204},
		{"POST", "/events", sent("ostree-events-1"), 204}, {"POST", "/events/", sent("ostree-events-1"), 204},
	} {
		if n++; r.method == "GET" {
			r.body = nil
		}
		if status, answer := c.ask(t, r.method, r.path, r.body); status != r.status {
			t.Errorf("%s %s: %d %.200s, want %d", r.method, r.path, status, answer, r.status)
		}
	}
	for _, below := range []string{"/director/", "/repo/"} {
		_, newest := c.ask(t, "GET", below+"root.json", nil)
		if _, second := c.ask(t, "GET", below+"2.root.json", nil); !bytes.Equal(newest, second) {
			t.Errorf("%sroot.json is not the newest root: %.200s", below, newest)
		}
	}
	b, id := l.newDevice(t, boardOptions{name: "truck-21", hwid: "board"})
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.recovers(t, b, id, "truck-21-primary", "app-1")
	return fmt.Sprintf("%d requests, none redirected: unnumbered root.json of both is the newest, doubled and trailing slashes; then app-1 (old binary not run)", n)
}
