package main

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"sealift/fixtures/oldserver"
	"sealift/keys/pki"
)

// TestTwoNamesOfTheGateway: devices of the server that was here before are shown
// its certificate, those that ask for the new name ours.
func TestTwoNamesOfTheGateway(t *testing.T) {
	pair := func(names ...string) tls.Certificate {
		chain, key := oldserver.New(time.Now(), names...).GatewayPair()
		c, err := tls.X509KeyPair(chain, key)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	given, ours := pair("old.example", "both.example"), pair("new.example")
	own := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &ours, nil }}
	names := pki.Names{DNS: []string{"both.example", "new.example", "*.wide.example"}, IPs: []net.IP{net.IPv4(192, 0, 2, 1)}}
	bare := pair() // without alternative names, as scripts of old make them
	for _, c := range []struct {
		given tls.Certificate
		asked string
		want  tls.Certificate
	}{
		{given, "old.example", given}, {given, "both.example", given}, {given, "new.example", ours}, {given, "NEW.example", ours}, {given, "a.wide.example", ours},
		{given, "", given}, {given, "192.0.2.1", given}, {given, "unknown.example", given},
		{bare, "ota-gateway", bare}, {bare, "new.example", ours},
	} {
		near, far := net.Pipe()
		server := tls.Server(far, gatewayTLS(own, c.given, names))
		go func() { _ = server.Handshake() }()
		client := tls.Client(near, &tls.Config{ServerName: c.asked, InsecureSkipVerify: true})
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		if shown := client.ConnectionState().PeerCertificates[0]; !shown.Equal(c.want.Leaf) {
			t.Errorf("asked for %q it shows one for %q", c.asked, shown.DNSNames)
		}
		_ = near.Close()
	}
}
