package web_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"sealift/internal/fault"
	"sealift/internal/web"
)

// edge is a small surface as the gateway and the API build theirs.
type edge struct {
	*httptest.Server
	log *bytes.Buffer
	reg *prometheus.Registry
}

var errGone = fault.New(fault.Gone, "target_retired", "the target was retired")

func newEdge(t *testing.T) *edge {
	t.Helper()
	e := &edge{log: &bytes.Buffer{}, reg: prometheus.NewRegistry()}
	echo := func(c *gin.Context) {
		who := web.MustCaller(c)
		c.String(http.StatusOK, "%s %s %s", who.Namespace, who, c.Param("name"))
	}
	fail := func(err error) gin.HandlerFunc { return func(c *gin.Context) { web.Fail(c, err) } }
	h, err := web.New(web.Config{
		Name: "test",
		Routes: []web.Route{
			{Method: "GET", Pattern: "/health", Permission: web.Public, Handler: func(c *gin.Context) { c.String(200, "OK") }},
			{Method: "GET", Pattern: "/things/:name", Permission: "read", Handler: echo},
			{Method: "POST", Pattern: "/things/:name", Permission: "write", Handler: echo},
			{Method: "GET", Pattern: "/gone", Permission: "read", Handler: fail(errGone.With("on Monday"))},
			{Method: "GET", Pattern: "/broken", Permission: "read", Handler: fail(errors.New("disk on fire at 10.0.0.7"))},
			{Method: "GET", Pattern: "/panic", Permission: "read", Handler: func(*gin.Context) { panic("bug") }},
			{Method: "GET", Pattern: "/half", Permission: "read", Handler: func(c *gin.Context) {
				c.String(200, "half of ")
				c.Writer.Flush()
				web.Fail(c, errors.New("reading on"))
			}},
			{Method: "GET", Pattern: "/files/*name", Permission: "read", Raw: func(w http.ResponseWriter, r *http.Request) {
				web.Error(w, r, errGone.With(r.PathValue("name")))
			}},
			{Method: "GET", Pattern: "/headers", Permission: "read", Handler: func(c *gin.Context) { _ = c.Request.Header.Write(c.Writer) }},
		},
		Identify: func(r *http.Request) (web.Caller, error) {
			token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if token == "" {
				return web.Caller{}, web.ErrUnauthorized
			}
			return web.Caller{Kind: web.Token, Namespace: "acme", Token: token, Permissions: []string{token}}, nil
		},
		EmptyErrors: []string{"/files/"},
		Challenge:   `Bearer realm="sealift"`,
		Version:     "sealift/test",
		Log:         slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics:     e.reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	e.Server = httptest.NewServer(h)
	t.Cleanup(e.Close)
	return e
}

// ask sends a request with the given token and headers "Name: value".
func (e *edge) ask(t *testing.T, method, path, token string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, e.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		if name, value, ok := strings.Cut(h, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // a client would follow redirects
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp, "broken off"
	}
	return resp, string(body)
}

func TestRequestIsMatchedThenAuthorised(t *testing.T) {
	e := newEdge(t)
	tests := []struct {
		method, path, token string
		header              string
		status              int
		want                string // body, or error code
	}{
		{"GET", "/health", "", "", 200, "OK"},
		{"GET", "/health/", "", "X-Ats-Namespace: other", 200, "OK"},
		{"GET", "/things/a", "read", "", 200, "acme token:read a"},
		{"GET", "//things//a/", "read", "", 200, "acme token:read a"},
		{"GET", "/things/a%20b", "read", "", 200, "acme token:read a b"},
		{"GET", "/things/a", "read", "X-Ats-Namespace: acme", 200, "acme token:read a"},
		{"GET", "/things/a", "read", "X-Ats-Namespace: other", 403, "namespace_mismatch"},
		{"GET", "/things/a", "", "", 401, "unauthorized"},
		{"POST", "/things/a", "read", "", 403, "forbidden"},
		{"POST", "/things/a", "write", "", 200, "acme token:write a"},
		{"DELETE", "/things/a", "write", "", 405, "method_not_allowed"},
		{"BREW", "/things/a", "write", "", 405, "method_not_allowed"},
		{"GET", "/nothing", "", "", 404, "not_found"},
		{"GET", "/", "", "", 404, "not_found"},
		{"GET", "/things/../health", "", "", 400, "invalid_path"},
		{"GET", "/things/%2e%2e/health", "", "", 400, "invalid_path"},
		{"GET", "/things/a%00", "read", "", 400, "invalid_path"},
		{"GET", "/gone", "read", "", 410, "target_retired"},
		{"GET", "/broken", "read", "", 500, "internal_server_error"},
		{"GET", "/panic", "read", "", 500, "internal_server_error"},
	}
	for _, tt := range tests {
		resp, body := e.ask(t, tt.method, tt.path, tt.token, tt.header)
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s: status %d, want %d: %s", tt.method, tt.path, resp.StatusCode, tt.status, body)
			continue
		}
		if tt.status == 200 {
			if body != tt.want {
				t.Errorf("%s %s: %q, want %q", tt.method, tt.path, body, tt.want)
			}
			continue
		}
		var p map[string]any
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Errorf("%s %s: body %q: %v", tt.method, tt.path, body, err)
		}
		if p["code"] != tt.want || p["errorId"] == "" || p["errorId"] != resp.Header.Get("x-sealift-error") {
			t.Errorf("%s %s: %v, want code %s", tt.method, tt.path, p, tt.want)
		}
		if _, ok := p["cause"]; !ok || len(p) != 4 {
			t.Errorf("%s %s: %v must have all four members", tt.method, tt.path, p)
		}
	}
	resp, _ := e.ask(t, "DELETE", "/things/a", "")
	if got := resp.Header.Get("Allow"); got != "GET, POST" {
		t.Errorf("Allow = %q", got)
	}
	resp, _ = e.ask(t, "GET", "/things/a", "")
	if resp.Header.Get("WWW-Authenticate") == "" || resp.Header.Get("X-Content-Type-Options") != "nosniff" ||
		resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("x-ats-version") != "sealift/test" {
		t.Errorf("headers: %v", resp.Header)
	}
}

func TestErrorsAreToldAndLogged(t *testing.T) {
	e := newEdge(t)
	_, body := e.ask(t, "GET", "/gone", "read")
	if !strings.Contains(body, `"description":"the target was retired","cause":"on Monday"`) {
		t.Errorf("a fault must be told: %s", body)
	}
	resp, body := e.ask(t, "GET", "/broken", "read")
	if strings.Contains(body, "fire") || !strings.Contains(body, `"internal error"`) {
		t.Errorf("an accident must not be told: %s", body)
	}
	id := resp.Header.Get("x-sealift-error")
	line := lineWith(e.log.String(), id)
	for _, want := range []string{"level=ERROR", "disk on fire at 10.0.0.7", "path=/broken", "caller=token:read", "namespace=acme"} {
		if !strings.Contains(line, want) {
			t.Errorf("log line lacks %q: %s", want, line)
		}
	}

	resp, body = e.ask(t, "GET", "/files/a%2Fb.bin", "read")
	if resp.StatusCode != 410 || body != "" || resp.Header.Get("x-sealift-error") == "" || resp.Header.Get("Content-Type") != "" {
		t.Errorf("under an EmptyErrors prefix: %d %q %v", resp.StatusCode, body, resp.Header)
	}
	for _, path := range []string{"/files/a", "/files", "//files/../a", "/files/%00"} {
		if resp, body := e.ask(t, "GET", path, ""); resp.StatusCode < 400 || body != "" {
			t.Errorf("%s without token: %d %q, want an empty error", path, resp.StatusCode, body)
		}
	}
	if !strings.Contains(e.log.String(), "a/b.bin") {
		t.Error("the cause of an empty error must be in the log")
	}

	if _, body := e.ask(t, "GET", "/half", "read"); body != "broken off" {
		t.Errorf("half an answer looks whole: %q", body)
	}
	e.ask(t, "GET", "/panic", "read")
	if !strings.Contains(e.log.String(), "handler_test.go") {
		t.Error("a panic must be logged with its stack")
	}
}

func TestProxyHeadersAreStrippedAndCounted(t *testing.T) {
	e := newEdge(t)
	_, body := e.ask(t, "GET", "/headers", "read", "X-Forwarded-For: 10.1.1.1", "X_SSL_Client_Verify: SUCCESS",
		"Client-Cert: abc", "Forwarded: for=1", "X-Ats-Device-Uuid: 1", "X-Ats-Ostree-Force: true")
	for _, gone := range []string{"Forwarded", "SSL", "Client-Cert", "Device-Uuid"} {
		if strings.Contains(body, gone) {
			t.Errorf("%s reached the handler:\n%s", gone, body)
		}
	}
	if !strings.Contains(body, "X-Ats-Ostree-Force") {
		t.Error("a harmless header was removed")
	}
	families, err := e.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "sealift_http_stripped_headers_total" {
			if got := f.GetMetric()[0].GetCounter().GetValue(); got != 5 {
				t.Errorf("counted %v stripped headers, want 5", got)
			}
			return
		}
	}
	t.Error("stripped headers are not counted")
}

func TestNewRefusesABadTable(t *testing.T) {
	h := func(*gin.Context) {}
	raw := func(http.ResponseWriter, *http.Request) {}
	id := func(*http.Request) (web.Caller, error) { return web.Caller{}, nil }
	tests := map[string]web.Config{
		"no permission": {Identify: id, Routes: []web.Route{{Method: "GET", Pattern: "/a", Handler: h}}},
		"no handler":    {Identify: id, Routes: []web.Route{{Method: "GET", Pattern: "/a", Permission: "read"}}},
		"two handlers":  {Identify: id, Routes: []web.Route{{Method: "GET", Pattern: "/a", Permission: "read", Handler: h, Raw: raw}}},
		"no identify":   {Routes: []web.Route{{Method: "GET", Pattern: "/a", Permission: "read", Handler: h}}},
		"twice": {Identify: id, Routes: []web.Route{
			{Method: "GET", Pattern: "/a/:x", Permission: "read", Handler: h},
			{Method: "GET", Pattern: "/a/:y", Permission: "write", Handler: h},
		}},
		"rest in the middle": {Identify: id, Routes: []web.Route{{Method: "GET", Pattern: "/a/*x/b", Permission: "read", Handler: h}}},
		"trailing slash":     {Identify: id, Routes: []web.Route{{Method: "GET", Pattern: "/a/", Permission: "read", Handler: h}}},
	}
	for name, cfg := range tests {
		if _, err := web.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func lineWith(log, part string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}
