package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// A server that lets nobody in without a certificate, and has one that only
// server.p12 vouches for: in the archive, or imported later.
func TestLoginWithACertificate(t *testing.T) {
	r := newRepository(t, false)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "builder"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	clients := x509.NewCertPool()
	clients.AddCert(cert)
	server := httptest.NewUnstartedServer(httpProxy(r.url))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	server.StartTLS()
	t.Cleanup(server.Close)

	client, err := pkcs12.Legacy.Encode(key, cert, nil, "")
	check(t, err)
	trust, err := pkcs12.Modern2023.EncodeTrustStore([]*x509.Certificate{server.Certificate()}, "")
	check(t, err)
	s := newShell(t)
	s.credentials(r, map[string]string{"tufrepo.url": server.URL, "client_auth.p12": string(client), "server.p12": string(trust)})
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("targets pull -r a -h $D")
	s.must("targets sign -r a -h $D -k targets")
	s.must("targets push -r a -h $D")

	late := newShell(t)
	late.credentials(r, map[string]string{"tufrepo.url": server.URL})
	late.must("init -r a -h $D -c $D/credentials.zip")
	late.fails(3, "certificate", "targets pull -r a -h $D")
	check(t, os.WriteFile(filepath.Join(late.dir, "me.p12"), client, 0o600))
	check(t, os.WriteFile(filepath.Join(late.dir, "them.p12"), trust, 0o600))
	late.must("import-client-cert -r a -h $D -c $D/me.p12 -s $D/them.p12")
	late.must("targets pull -r a -h $D")
	late.fails(3, "already initialized", "import-client-cert -r a -h $D -c $D/me.p12")
}
