package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"

	"sealift/keys/pki"
)

// gatewayTLS shows the certificate that the gateway is given, but to clients that
// ask for a name which is only the server's own: so devices that came from another
// server and those that provision themselves here each find what they trust.
func gatewayTLS(own *tls.Config, given tls.Certificate, names pki.Names) *tls.Config {
	c, ours := own.Clone(), &x509.Certificate{DNSNames: names.DNS}
	c.Certificates = []tls.Certificate{given}
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if covers(given.Leaf, hello.ServerName) || !covers(ours, hello.ServerName) {
			return &given, nil
		}
		return own.GetCertificate(hello)
	}
	return c
}

// covers tells whether clients take a certificate for a name: without alternative
// names some go by the common name.
func covers(leaf *x509.Certificate, name string) bool {
	return leaf.VerifyHostname(name) == nil || name != "" && len(leaf.DNSNames) == 0 && strings.EqualFold(leaf.Subject.CommonName, name)
}

// warnOfName says when no new device will get in.
func (s settings) warnOfName(given *x509.Certificate, log *slog.Logger) {
	if u, err := url.Parse(s.GatewayURL); err == nil && (net.ParseIP(u.Hostname()) != nil || covers(given, u.Hostname())) {
		log.Warn("devices that provision themselves with our device.zip trust our own CA, and get the certificate of --gateway-cert: give --gateway-url a host name that this certificate does not have",
			"name", u.Hostname(), "issuer", given.Issuer.String())
	}
}

// apiTLS is how the api proves itself: with the certificate it is given, or as
// the gateway does. Clients are not asked for certificates there.
func apiTLS(gateway *tls.Config, given []tls.Certificate) *tls.Config {
	c := gateway.Clone()
	c.ClientAuth = tls.NoClientCert
	if len(given) > 0 {
		c.GetCertificate, c.Certificates = nil, given
	}
	return c
}

// apiCertificates is the certificate that the api is given, if any.
func (s settings) apiCertificates() ([]tls.Certificate, error) {
	return givenCertificates("api", s.APICert, s.APIKey)
}

// givenCertificates reads the certificate that a listener is given, if any.
func givenCertificates(listener, cert, key string) ([]tls.Certificate, error) {
	if cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("reading --%s-cert and --%s-key: %w", listener, listener, err)
	}
	return []tls.Certificate{pair}, nil
}
