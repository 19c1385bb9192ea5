package credentials_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"sealift/internal/credentials"
)

// idp is a token endpoint that hands out T1, T2, ... of which only the newest is good.
type idp struct {
	issued atomic.Int64
	form   atomic.Value
}

func (p *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	if id != "id" || secret != "s:e&cret" || r.Method != http.MethodPost {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	body, _ := io.ReadAll(r.Body)
	p.form.Store(r.URL.Path + "?" + string(body))
	fmt.Fprintf(w, `{"access_token":"T%d","token_type":"bearer"}`, p.issued.Add(1))
}

// echo answers with the Authorization header it got, 401 unless it is as good says.
func echo(good func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		auth := r.Header.Get("Authorization")
		if good != nil && auth != good() {
			w.WriteHeader(http.StatusUnauthorized)
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s|%s", auth, body)
	}
}

func oauthArchive(t *testing.T, hub string, o credentials.OAuth2) *credentials.Archive {
	t.Helper()
	data, err := json.Marshal(credentials.NewTreeHub(hub, &o))
	if err != nil {
		t.Fatal(err)
	}
	a, err := credentials.Parse(zipped(t, credentials.File{Name: "treehub.json", Content: data}))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOAuth2(t *testing.T) {
	p := &idp{}
	tokens := httptest.NewServer(p)
	defer tokens.Close()
	hub := httptest.NewServer(echo(func() string { return fmt.Sprintf("Bearer T%d", p.issued.Load()) }))
	defer hub.Close()
	foreign := httptest.NewServer(echo(nil))
	defer foreign.Close()

	for _, c := range []struct{ server, scope, form string }{
		{"/oauth2/token", "ns.a/b c", "/oauth2/token?grant_type=client_credentials&scope=ns.a%2Fb+c"},
		{"/oauth2/token", "", "/oauth2/token?grant_type=client_credentials&scope=none"},
		{"/old", "ignored", "/old/token?grant_type=client_credentials"},
	} {
		p.issued.Store(0)
		a := oauthArchive(t, hub.URL+"/api/v3/", credentials.OAuth2{Server: tokens.URL + c.server, ClientID: "id", ClientSecret: "s:e&cret", Scope: c.scope})
		client, err := a.HTTPClient(t.Context(), credentials.ClientConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if p.issued.Load() != 0 {
			t.Error("the token was fetched before it was needed")
		}
		for range 2 {
			get(t, client, hub.URL, 200, "Bearer T1|")
		}
		if p.issued.Load() != 1 || p.form.Load() != c.form {
			t.Errorf("%d tokens, form %v, want %s", p.issued.Load(), p.form.Load(), c.form)
		}
		get(t, client, foreign.URL, 200, "|")

		// T1 stops being good: one refetch, and the body is sent again.
		p.issued.Add(1)
		res, err := client.Post(hub.URL, "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, res); res.StatusCode != 200 || got != "Bearer T3|body" {
			t.Errorf("after the token expired: %d %q", res.StatusCode, got)
		}
	}
}

func TestOAuth2Failures(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"refused": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"no token": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) },
		"no JSON":  func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `<html>`) },
	} {
		s := httptest.NewServer(h)
		a := oauthArchive(t, s.URL, credentials.OAuth2{Server: s.URL + "/token", ClientID: "id", ClientSecret: "s"})
		if _, err := a.HTTPClient(t.Context(), credentials.ClientConfig{Login: true}); err == nil || !strings.Contains(err.Error(), "getting an access token") {
			t.Errorf("%s: %v", name, err)
		}
		s.Close()
	}
}

func TestOAuth2WaitingObeysContext(t *testing.T) {
	block := make(chan struct{})
	entered := make(chan struct{}, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { entered <- struct{}{}; <-block }))
	defer s.Close()
	defer close(block)
	a := oauthArchive(t, s.URL, credentials.OAuth2{Server: s.URL + "/token", ClientID: "id", ClientSecret: "s"})
	client, err := a.HTTPClient(t.Context(), credentials.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if res, err := client.Get(s.URL); err == nil {
			res.Body.Close()
		}
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if _, err := client.Do(req); err == nil {
		t.Error("a cancelled request waited for a token")
	}
}

func TestBasicStaysAtHome(t *testing.T) {
	foreign := httptest.NewServer(echo(nil))
	defer foreign.Close()
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, foreign.URL, http.StatusFound)
			return
		}
		echo(nil)(w, r)
	}))
	defer home.Close()
	a, err := credentials.Parse([]byte(`{"basic_auth":{"user":"u","password":"p"},"ostree":{"server":"` + home.URL + `"}}`))
	if err != nil {
		t.Fatal(err)
	}
	client, err := a.HTTPClient(t.Context(), credentials.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	get(t, client, home.URL, 200, "Basic "+base64.StdEncoding.EncodeToString([]byte("u:p"))+"|")
	get(t, client, home.URL+"/away", 200, "|")
}

func TestServerTrust(t *testing.T) {
	s := httptest.NewTLSServer(echo(nil))
	defer s.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	other := selfSigned(t, "other").certPEM
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(bundle, other, 0o600); err != nil {
		t.Fatal(err)
	}
	hub := credentials.File{Name: "treehub.json", Content: []byte(`{"no_auth":true,"ostree":{"server":"` + s.URL + `"}}`)}

	with := mustParse(t, zipped(t, hub, credentials.File{Name: "server_ca.pem", Content: ca}))
	for _, cfg := range []credentials.ClientConfig{{}, {CACert: bundle}} {
		client, err := with.HTTPClient(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		get(t, client, s.URL, 200, "|")
	}

	without := mustParse(t, zipped(t, hub))
	client, err := without.HTTPClient(t.Context(), credentials.ClientConfig{CACert: bundle})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := client.Get(s.URL); err == nil {
		res.Body.Close()
		t.Error("a server nobody vouches for was trusted")
	}
	for _, bad := range []credentials.ClientConfig{{CACert: "/nonexistent"}, {CACert: os.DevNull}, {TrustPEM: []byte("x")}} {
		if _, err := without.HTTPClient(t.Context(), bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestClientCertificate(t *testing.T) {
	id := selfSigned(t, "builder")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName+" "+r.Proto)
		}
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	trust, err := pkcs12.Modern2023.EncodeTrustStore([]*x509.Certificate{s.Certificate()}, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, enc := range map[string]*pkcs12.Encoder{
		"modern": pkcs12.Modern2023, "3des": pkcs12.LegacyDES, "rc2": pkcs12.LegacyRC2, "none": pkcs12.Passwordless,
	} {
		p12, err := enc.Encode(id.key, id.cert, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		a := mustParse(t, zipped(t, credentials.File{Name: "client_auth.p12", Content: p12}, credentials.File{Name: "server.p12", Content: trust}))
		client, err := a.HTTPClient(t.Context(), credentials.ClientConfig{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		get(t, client, s.URL, 200, "builder HTTP/2.0")
	}
}

func TestReadP12Refuses(t *testing.T) {
	id, other := selfSigned(t, "a"), selfSigned(t, "b")
	mismatched, err := pkcs12.Modern2023.Encode(id.key, other.cert, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	good, err := pkcs12.Modern2023.WithIterations(70_000).Encode(id.key, id.cert, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := credentials.ReadP12(good, ""); err != nil {
		t.Errorf("70,000 rounds: %v", err)
	}
	for name, data := range map[string][]byte{
		"nothing": nil, "text": []byte("p12"), "mismatch": mismatched, "cut": good[:len(good)/2],
		"huge": make([]byte, 2<<20),
	} {
		if _, _, err := credentials.ReadP12(data, ""); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, _, err := credentials.ReadP12(endlessRounds(t, id), ""); err == nil || !strings.Contains(err.Error(), "rounds") {
		t.Errorf("eight million rounds: %v", err)
	}
	if _, _, err := credentials.ReadP12(good, "password"); err == nil {
		t.Error("a wrong password was taken")
	}
}

func FuzzReadP12(f *testing.F) {
	id := selfSigned(f, "a")
	p12, err := pkcs12.Modern2023.WithIterations(1).Encode(id.key, id.cert, nil, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p12)
	f.Fuzz(func(t *testing.T, data []byte) {
		cert, _, err := credentials.ReadP12(data, "")
		if err == nil && (cert.Leaf == nil || cert.PrivateKey == nil) {
			t.Error("read, but incomplete")
		}
	})
}

type identity struct {
	key     *ecdsa.PrivateKey
	cert    *x509.Certificate
	certPEM []byte
}

func selfSigned(t testing.TB, name string) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return identity{key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// endlessRounds is a file whose MAC asks for eight million rounds: it must be
// refused for that, before any is done.
func endlessRounds(t testing.TB, id identity) []byte {
	t.Helper()
	const rounds = 70_000 // written 02 03 01 11 70, as long as eight million
	p12, err := pkcs12.Modern2023.WithIterations(rounds).Encode(id.key, id.cert, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(p12, []byte{2, 3, 1, 0x11, 0x70})
	if at < 0 {
		t.Fatal("the MAC is last in the file; where is its count?")
	}
	p12[at+2], p12[at+3], p12[at+4] = 0x7f, 0xff, 0xff
	return p12
}

func mustParse(t *testing.T, data []byte) *credentials.Archive {
	t.Helper()
	a, err := credentials.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func get(t *testing.T, client *http.Client, url string, status int, body string) {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	if got := text(t, res); res.StatusCode != status || got != body {
		t.Errorf("GET %s: %d %q, want %d %q", url, res.StatusCode, got, status, body)
	}
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
