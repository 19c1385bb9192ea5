package credentials

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Auth is how a client identifies itself: by the first field that is set, or
// not at all. P12 has an empty password.
type Auth struct {
	P12    []byte
	OAuth2 *OAuth2
	Basic  *Basic
}

// ClientConfig says whom a client trusts and whom it may identify itself to.
// The zero value trusts the system's certificates.
type ClientConfig struct {
	CACert   string   // PEM file that replaces the system's certificates
	TrustP12 []byte   // certificate-only PKCS#12; replaces the system's certificates where CACert is empty
	TrustPEM []byte   // certificates trusted in addition
	Hosts    []string // URLs whose scheme, host and port may get a token or password; no others do
	Login    bool     // fetch the OAuth2 token now instead of with the first request
}

// HTTPClient returns a client that identifies itself as the archive says to
// the servers the archive names and to cfg.Hosts. The archive's server_ca.pem
// is trusted in addition to what cfg says.
func (a *Archive) HTTPClient(ctx context.Context, cfg ClientConfig) (*http.Client, error) {
	auth, err := a.Auth()
	if err != nil {
		return nil, err
	}
	cfg.Hosts = append(a.hosts(), cfg.Hosts...)
	if cfg.TrustP12 == nil && len(auth.P12) > 0 && a.Has(memberServerP12) {
		cfg.TrustP12, _ = a.ServerP12() // Has said so
	}
	if ca, err := a.ServerCA(); err == nil {
		cfg.TrustPEM = append(append(ca, '\n'), cfg.TrustPEM...)
	}
	return NewClient(ctx, auth, cfg)
}

// hosts are the servers the archive's credentials are meant for. The device
// gateway (autoprov.url) is not one of them.
func (a *Archive) hosts() []string {
	var hosts []string
	if t, err := a.TreeHub(); err == nil && t.Server() != "" {
		hosts = append(hosts, t.Server())
	}
	for _, read := range []func() (string, error){a.TufRepoURL, a.GatewayURL} {
		if u, err := read(); err == nil {
			hosts = append(hosts, u)
		}
	}
	return hosts
}

// NewClient returns a client for auth. It has no overall timeout, because
// uploads take as long as they take; connecting and waiting for an answer are
// bounded, and contexts are obeyed. Safe for concurrent use.
func NewClient(ctx context.Context, auth Auth, cfg ClientConfig) (*http.Client, error) {
	roots, err := trust(cfg)
	if err != nil {
		return nil, err
	}
	tlsConfig := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	base := newTransport(tlsConfig)
	if len(auth.P12) > 0 {
		cert, _, err := ReadP12(auth.P12, "")
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate: %w", err)
		}
		tlsConfig.Certificates = []tls.Certificate{cert}
		return &http.Client{Transport: base}, nil
	}
	origins, err := originsOf(cfg.Hosts)
	if err != nil {
		return nil, err
	}
	switch {
	case auth.OAuth2 != nil:
		src, err := newTokenSource(*auth.OAuth2, base)
		if err != nil {
			return nil, err
		}
		if cfg.Login {
			if _, err := src.token(ctx, ""); err != nil {
				return nil, err
			}
		}
		return &http.Client{Transport: &bearerTransport{base: base, origins: origins, tokens: src}}, nil
	case auth.Basic != nil:
		return &http.Client{Transport: &basicTransport{base: base, origins: origins, basic: *auth.Basic}}, nil
	}
	return &http.Client{Transport: base}, nil
}

func newTransport(cfg *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		TLSClientConfig:       cfg,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 5 * time.Minute, // a server may hash gigabytes before it answers
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   64,
		ForceAttemptHTTP2:     true,
	}
}

// trust returns the roots for cfg, nil meaning the system's.
func trust(cfg ClientConfig) (*x509.CertPool, error) {
	var roots *x509.CertPool
	switch {
	case cfg.CACert != "":
		bundle, err := os.ReadFile(cfg.CACert)
		if err != nil {
			return nil, fmt.Errorf("reading CA certificates: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(bundle) {
			return nil, fmt.Errorf("reading CA certificates: no certificate in %s", cfg.CACert)
		}
	case len(cfg.TrustP12) > 0:
		certs, err := readTrust(cfg.TrustP12)
		if err != nil {
			return nil, err
		}
		roots = x509.NewCertPool()
		for _, c := range certs {
			roots.AddCert(c)
		}
	}
	if len(cfg.TrustPEM) == 0 {
		return roots, nil
	}
	if roots == nil {
		var err error
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
	}
	if !roots.AppendCertsFromPEM(cfg.TrustPEM) {
		return nil, errors.New("reading server_ca.pem: no certificate in it")
	}
	return roots, nil
}

// origins is a set of "scheme://host:port".
type origins map[string]bool

func originsOf(urls []string) (origins, error) {
	set := origins{}
	for _, text := range urls {
		u, err := checkURL(text)
		if err != nil {
			return nil, fmt.Errorf("reading the list of servers: %w", err)
		}
		set[origin(u)] = true
	}
	return set, nil
}

// include is what keeps secrets at home: it decides for every request, those
// made for a redirect too, and http never counts as https.
func (o origins) include(u *url.URL) bool { return o[origin(u)] }

func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

type basicTransport struct {
	base    http.RoundTripper
	origins origins
	basic   Basic
}

// RoundTrip adds name and password for the servers they are meant for.
func (t *basicTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.origins.include(req.URL) {
		req = req.Clone(req.Context())
		req.SetBasicAuth(t.basic.User, t.basic.Password)
	}
	return t.base.RoundTrip(req)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections through.
func (t *basicTransport) CloseIdleConnections() { closeIdle(t.base) }

func closeIdle(rt http.RoundTripper) {
	if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
