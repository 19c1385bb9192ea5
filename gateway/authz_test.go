package gateway_test

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"sealift/gateway"
	"sealift/internal/db/dbtest"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/registry"
	"sealift/uptane"
)

// entrance is the whole gateway with a real vault and registry, which say who
// a certificate is, and nothing behind them: a handler that is reached fails,
// but not with 401 or 403.
type entrance struct {
	t         *testing.T
	vault     *keys.Vault
	handler   http.Handler
	routes    []web.Route
	bootstrap *x509.Certificate
	device    *x509.Certificate
	revoked   *x509.Certificate
	stranger  *x509.Certificate
}

func newEntrance(t *testing.T) *entrance {
	t.Helper()
	e := &entrance{t: t}
	log, d := slog.New(slog.DiscardHandler), dbtest.SQLite(t)
	kek, err := keys.CreateFileKEK(filepath.Join(t.TempDir(), "master.key"), nil)
	must(t, err)
	e.vault, err = keys.New(t.Context(), keys.Config{DB: d, KEK: kek, Log: log})
	must(t, err)
	seen, err := registry.New(t.Context(), registry.Config{DB: d, Log: log})
	must(t, err)
	t.Cleanup(func() { must(t, seen.Close()) })
	e.handler, err = gateway.New(gateway.Config{Vault: e.vault, Registry: seen, Log: log})
	must(t, err)
	e.routes, err = gateway.Routes()
	must(t, err)

	now := time.Now()
	root, err1 := pki.NewServerRoot(now, "server root")
	next, err2 := pki.NewServerRoot(now, "next server root")
	must(t, errors.Join(err1, err2))
	issuer, err := pki.NewServerIntermediate(now, "server", root)
	must(t, err)
	must(t, e.vault.ImportServerTree(t.Context(), keys.ServerTree{Root: root.Cert, Next: next.Cert, Issuer: issuer}))
	e.deviceTree("default")
	p12, _, err := e.vault.IssueBootstrap(t.Context(), keys.BootstrapRequest{Namespace: "default", Name: "line 1"})
	must(t, err)
	e.bootstrap = e.leaf(p12)
	e.device, e.revoked = e.provision("car-1"), e.provision("car-2")
	must(t, e.vault.RevokeDevice(t.Context(), "default", "id-of-car-2"))
	e.stranger = selfSigned(t, e.device)
	return e
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deviceTree gives a namespace a device CA.
func (e *entrance) deviceTree(ns uptane.Namespace) {
	e.t.Helper()
	root, err := pki.NewDeviceRoot(time.Now(), "devices of "+string(ns))
	must(e.t, err)
	issuer, err := pki.NewDeviceIntermediate(time.Now(), "devices of "+string(ns), root)
	must(e.t, err)
	must(e.t, e.vault.ImportDeviceTree(e.t.Context(), ns, root.Cert, issuer))
}

func (e *entrance) provision(oemid uptane.OEMID) *x509.Certificate {
	e.t.Helper()
	p12, err := e.vault.IssueDevice(e.t.Context(), keys.IssueRequest{
		Namespace: "default", Device: uptane.DeviceID("id-of-" + oemid), OEMID: oemid, TTL: 100})
	must(e.t, err)
	return e.leaf(p12)
}

func (e *entrance) leaf(p12 []byte) *x509.Certificate {
	e.t.Helper()
	_, cert, _, err := pkcs12.DecodeChain(p12, "")
	must(e.t, err)
	return cert
}

// selfSigned copies all that a certificate says of its owner.
func selfSigned(t *testing.T, like *x509.Certificate) *x509.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	draft := &x509.Certificate{SerialNumber: like.SerialNumber, Subject: like.Subject, NotBefore: like.NotBefore, NotAfter: like.NotAfter,
		KeyUsage: like.KeyUsage, ExtKeyUsage: like.ExtKeyUsage}
	der, err := x509.CreateCertificate(nil, draft, draft, public, private)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}

// answer is what a request met with; code is empty where the body is.
type answer struct {
	status  int
	code    string
	errorID string
	body    int
}

// ask sends a request to a route over TLS, with a certificate or without.
func (e *entrance) ask(r web.Route, cert *x509.Certificate, headers ...string) answer {
	path := regexp.MustCompile(`[:*]\w+`).ReplaceAllString(r.Pattern, "x")
	q := httptest.NewRequest(r.Method, "https://gateway.test"+path, nil)
	q.TLS = &tls.ConnectionState{}
	if cert != nil {
		q.TLS.PeerCertificates = []*x509.Certificate{cert}
	}
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	e.handler.ServeHTTP(rec, q)
	var body struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(rec.Body.Bytes(), &body)
	return answer{rec.Code, body.Code, rec.Header().Get("x-sealift-error"), rec.Body.Len()}
}

// refused reports an answer that is not this refusal, in the form its path
// has errors in.
func (e *entrance) refused(r web.Route, name string, got answer, status int, code string) {
	e.t.Helper()
	if strings.HasPrefix(r.Pattern, "/repo/targets/") || strings.HasPrefix(r.Pattern, "/treehub/") {
		code = ""
		if got.body != 0 {
			e.t.Errorf("%s with %s: a body of %d bytes would end in a file of the device", r, name, got.body)
		}
	}
	if got.status != status || got.code != code || got.errorID == "" {
		e.t.Errorf("%s with %s: %+v, want %d %s", r, name, got, status, code)
	}
}

// guarded returns the routes that demand a certificate.
func (e *entrance) guarded() []web.Route {
	return slices.DeleteFunc(slices.Clone(e.routes), func(r web.Route) bool { return r.Permission == web.Public })
}

func TestPublicRoutes(t *testing.T) {
	e := newEntrance(t)
	var public []string
	for _, r := range e.routes {
		if r.Permission != web.Public {
			continue
		}
		public = append(public, r.Method+" "+r.Pattern)
		if got := e.ask(r, nil); got.status != http.StatusOK {
			t.Errorf("%s without a certificate: %+v", r, got)
		}
	}
	want := slices.Sorted(slices.Values(gateway.PublicRoutes))
	if slices.Sort(public); !slices.Equal(public, want) {
		t.Errorf("public routes are %q, the list has %q", public, want)
	}
}

// TestCertificatesDecide asks for every route with every kind of certificate.
func TestCertificatesDecide(t *testing.T) {
	e := newEntrance(t)
	opened := map[string]int{}
	for _, r := range e.guarded() {
		e.refused(r, "no certificate", e.ask(r, nil), http.StatusUnauthorized, "certificate_required")
		e.refused(r, "a stranger's certificate", e.ask(r, e.stranger), http.StatusUnauthorized, "unknown_certificate")
		e.refused(r, "a revoked certificate", e.ask(r, e.revoked), http.StatusUnauthorized, "certificate_revoked")
		for kind, cert := range map[string]*x509.Certificate{"device": e.device, "provision": e.bootstrap} {
			got := e.ask(r, cert)
			if r.Permission != kind {
				e.refused(r, "the certificate for "+kind, got, http.StatusForbidden, "forbidden")
				continue
			}
			opened[kind]++
			if got.status == http.StatusUnauthorized || got.status == http.StatusForbidden {
				t.Errorf("%s with the certificate for %s: %+v", r, kind, got)
			}
		}
	}
	if opened["provision"] != 1 || opened["device"] != len(e.guarded())-1 {
		t.Errorf("a bootstrap certificate is good for provisioning alone: %v", opened)
	}
}

func TestWhatIsSaidInHeadersProvesNothing(t *testing.T) {
	e := newEntrance(t)
	for _, r := range e.guarded() {
		got := e.ask(r, nil, "x-ats-device-uuid", "id-of-car-1", "x-ats-namespace", "default", "x-ssl-client-s-dn", "CN=car-1",
			"x-forwarded-for", "127.0.0.1", "Authorization", "Bearer x")
		e.refused(r, "headers", got, http.StatusUnauthorized, "certificate_required")
	}
}

func TestNamespaceIsTheCertificates(t *testing.T) {
	e := newEntrance(t)
	for _, r := range e.guarded() {
		cert := e.device
		if r.Permission == "provision" {
			cert = e.bootstrap
		}
		e.refused(r, "another namespace", e.ask(r, cert, "x-ats-namespace", "another"), http.StatusForbidden, "namespace_mismatch")
		if got := e.ask(r, cert, "x-ats-namespace", "default"); got.status == http.StatusForbidden {
			t.Errorf("%s in the certificate's own namespace: %+v", r, got)
		}
	}
}

// TestPlainConnectionsProveNobody: a certificate counts only where TLS has
// checked that its owner is there.
func TestPlainConnectionsProveNobody(t *testing.T) {
	e := newEntrance(t)
	rec := httptest.NewRecorder()
	e.handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://gateway.test/repo/root.json", nil))
	if rec.Code != http.StatusUnauthorized {
		t.Errorf("without TLS: %d", rec.Code)
	}
}
