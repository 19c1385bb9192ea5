package keys_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/keys"
	"sealift/keys/pki"
)

func localhost() pki.Names {
	return pki.Names{DNS: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}
}

// listen serves who the caller is, as the gateway would, and returns its URL.
func (r *rig) listen(names pki.Names) string {
	r.t.Helper()
	config, err := r.TLSConfig(r.t.Context(), names)
	if err != nil {
		r.t.Fatal(err)
	}
	s := &http.Server{TLSConfig: config, ErrorLog: r.HandshakeLog(), Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		id, err := r.Identify(q.Context(), q.TLS.PeerCertificates)
		if err != nil {
			w.WriteHeader(fault.Status(err))
			_, _ = io.WriteString(w, fault.Of(err).Code())
			return
		}
		_, _ = io.WriteString(w, q.Proto+" "+string(id.Kind)+" "+string(id.OEMID))
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ServeTLS(l, "", "") }()
	r.t.Cleanup(func() { _ = s.Close(); <-done })
	return "https://" + l.Addr().String()
}

// dial asks the server with what is in a p12 archive, or without one.
func (r *rig) dial(url string, p12 []byte, roots ...*x509.Certificate) (int, string, error) {
	r.t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), Time: r.clock.now}
	if p12 != nil {
		key, cert, extra, err := pkcs12.DecodeChain(p12, "")
		if err != nil {
			r.t.Fatal(err)
		}
		chain := [][]byte{cert.Raw}
		for _, c := range extra { // as aktualizr does: trust them, and send them too
			roots = append(roots, c)
			chain = append(chain, c.Raw)
		}
		config.Certificates = []tls.Certificate{{Certificate: chain, PrivateKey: key}}
	}
	for _, c := range roots {
		config.RootCAs.AddCert(c)
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

// A device's first day: bootstrap certificate, own certificate, at work.
func TestDeviceSession(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		serverRoot, _ := r.authorities()
		s := r.listen(localhost())

		if code, body, err := r.dial(s, nil, serverRoot.Cert); code != 401 || body != "certificate_required" {
			t.Errorf("without a certificate: %d %s, %v", code, body, err)
		}
		shared, b, err := r.IssueBootstrap(ctx, keys.BootstrapRequest{Namespace: ns, Name: "image 1"})
		if err != nil {
			t.Fatal(err)
		}
		if code, body, err := r.dial(s, shared); code != 200 || body != "HTTP/2.0 bootstrap " {
			t.Errorf("bootstrap: %d %s, %v", code, body, err)
		}
		own, err := r.IssueDevice(ctx, keys.IssueRequest{Namespace: ns, OEMID: "board-7", Device: "d", TTL: 36000, Bootstrap: b.Fingerprint})
		if err != nil {
			t.Fatal(err)
		}
		if code, body, err := r.dial(s, own); code != 200 || body != "HTTP/2.0 device board-7" {
			t.Errorf("device: %d %s, %v", code, body, err)
		}

		// The archive: life as asked for, capped; server roots and nothing else.
		for _, p12 := range [][]byte{shared, own} {
			_, cert, extra, err := pkcs12.DecodeChain(p12, "")
			if err != nil || len(extra) != 2 {
				t.Fatalf("%d CA certificates, %v", len(extra), err)
			}
			roots, err := r.ServerRoots(ctx)
			if err != nil || !extra[0].Equal(roots[0]) || !extra[1].Equal(roots[1]) {
				t.Errorf("the archive has other CAs than the server roots: %v", err)
			}
			if max := r.clock.now().Add(pki.MaxDeviceLife); cert.NotAfter.After(max) {
				t.Errorf("valid until %v, longer than %v", cert.NotAfter, max)
			}
		}
		if err := r.ResetDevice(ctx, ns, "d"); err != nil {
			t.Fatal(err)
		}
		if code, body, err := r.dial(s, own); code != 401 || body != "certificate_revoked" {
			t.Errorf("after a reset: %d %s, %v", code, body, err)
		}
	})
}

func TestServerCertificateIsKeptAndRenewed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		root, _ := r.authorities()
		config := must(r.TLSConfig(ctx, localhost()))(t)
		get := func(c *tls.Config) *tls.Certificate {
			t.Helper()
			// A handshake, as Context of a ClientHelloInfo cannot be made up.
			client, server := net.Pipe()
			defer func() { _, _ = client.Close(), server.Close() }()
			pool := x509.NewCertPool()
			pool.AddCert(root.Cert)
			go func() { _ = tls.Server(server, c).HandshakeContext(ctx) }()
			conn := tls.Client(client, &tls.Config{RootCAs: pool, ServerName: "localhost", Time: r.clock.now})
			if err := conn.HandshakeContext(ctx); err != nil {
				t.Fatal(err)
			}
			chain := conn.ConnectionState().PeerCertificates
			if len(chain) != 2 {
				t.Fatalf("%d certificates sent, want leaf and intermediate", len(chain))
			}
			return &tls.Certificate{Leaf: chain[0]}
		}
		first := get(config)
		if life := first.Leaf.NotAfter.Sub(first.Leaf.NotBefore); life != pki.ServerLife {
			t.Errorf("life of %v, want %v", life, pki.ServerLife)
		}
		restarted := must(r.replica().TLSConfig(ctx, pki.Names{DNS: []string{"LOCALHOST."}, IPs: localhost().IPs}))(t)
		if !get(restarted).Leaf.Equal(first.Leaf) {
			t.Error("a restart issued another certificate for the same names")
		}
		renamed := must(r.TLSConfig(ctx, pki.Names{DNS: []string{"localhost", "ota.example.com"}}))(t)
		if c := get(renamed); c.Leaf.Equal(first.Leaf) || c.Leaf.VerifyHostname("ota.example.com") != nil {
			t.Error("no certificate for the new name")
		}

		r.clock.move(pki.ServerLife * 2 / 3)
		second := get(config)
		if second.Leaf.Equal(first.Leaf) {
			t.Error("not renewed after two thirds of its life")
		}
		if !get(restarted).Leaf.Equal(second.Leaf) {
			t.Error("the other listener has a certificate of its own")
		}
		// A renewal that fails must not stop the service.
		r.clock.move(pki.ServerLife * 2 / 3)
		if _, err := d.ExecContext(ctx, `UPDATE authority SET revoked = 1 WHERE kind = 'server'`); err != nil {
			t.Fatal(err)
		}
		if !get(config).Leaf.Equal(second.Leaf) {
			t.Error("another certificate")
		}
		if !strings.Contains(r.log.String(), "renewing the server certificate failed") {
			t.Error("the log says nothing of the failure")
		}
	})
}

func TestTroubleInHandshakesIsExplained(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t))
	r.authorities()
	stranger := must(pki.NewServerRoot(r.clock.now(), "Stranger"))(t)
	s := r.listen(localhost())
	if _, _, err := r.dial(s, nil, stranger.Cert); err == nil {
		t.Error("a client trusted a server of another CA")
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(s, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	_, _ = io.ReadAll(conn) // until the server hangs up
	_ = conn.Close()

	logger := r.HandshakeLog()
	logger.Print("http: TLS handshake error from 192.0.2.1:4711: remote error: tls: unknown certificate authority")
	for range 3 {
		logger.Print("http: TLS handshake error from 192.0.2.1:4711: tls: client offered only unsupported versions: [301]")
	}
	logger.Print("http: TLS handshake error from 192.0.2.1:4711: something new")
	logger.Print("http2: odd frame")
	r.log.await(t, "refuses our certificate", "does not trust this server", "speaks plain HTTP", "TLS 1.2 or later", "192.0.2.1:4711", "something new", "odd frame")
	if n := strings.Count(r.log.String(), "TLS 1.2 or later"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestWrongServerNameIsLogged(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t))
	server, _ := r.authorities()
	config := must(r.TLSConfig(t.Context(), localhost()))(t)
	client, peer := net.Pipe()
	go func() { _ = tls.Server(peer, config).HandshakeContext(t.Context()); _ = peer.Close() }()
	pool := x509.NewCertPool()
	pool.AddCert(server.Cert)
	conn := tls.Client(client, &tls.Config{RootCAs: pool, ServerName: "ota.example.com", Time: r.clock.now})
	if err := conn.HandshakeContext(t.Context()); err == nil {
		t.Error("accepted")
	}
	_ = client.Close()
	if !strings.Contains(r.log.String(), "ota.example.com") || !strings.Contains(r.log.String(), "--hostname") {
		t.Errorf("log: %s", r.log)
	}
	if _, err := r.TLSConfig(t.Context(), pki.Names{}); err == nil {
		t.Error("a listener without a name")
	}
}
