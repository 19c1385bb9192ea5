//go:build aktualizr

package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// offlinePassphrase seals the offline keys.
const offlinePassphrase = "interop offline"

// Folders of the built programs: ours and the real clients'.
var ours, real string

func TestMain(m *testing.M) {
	real = os.Getenv("AKTUALIZR_BIN")
	if real == "" {
		fmt.Fprintln(os.Stderr, "set AKTUALIZR_BIN to the folder with aktualizr, garage-push and garage-check")
		os.Exit(2)
	}
	var err error
	if ours, err = filepath.Abs("../../bin"); err != nil {
		panic(err)
	}
	code := m.Run()
	printTable()
	os.Exit(code)
}

// server is a throw-away server of our own binaries.
type server struct {
	dir, gateway, api string
	client            *http.Client
	token             string
	log               *logBook
}

// startServer runs init and serve in a folder of its own and stops the server
// at the end of the test.
func startServer(t *testing.T) *server {
	t.Helper()
	s, env := initServer(t)
	serve := exec.Command(filepath.Join(ours, "sealift"), "serve")
	serve.Dir, serve.Env, serve.Stderr = s.dir, s.env(env), s.log
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = serve.Process.Signal(os.Interrupt)
		_ = serve.Wait()
	})
	s.awaitHealth(t)
	return s
}

// initServer runs init in a folder of its own and returns the settings for serve.
func initServer(t *testing.T) (s *server, settings []string) {
	t.Helper()
	s = &server{dir: t.TempDir(), log: &logBook{}}
	gateway, api := freePort(t), freePort(t)
	s.gateway, s.api = "https://localhost:"+gateway, "https://localhost:"+api
	settings = []string{
		"SEALIFT_LISTEN_GATEWAY=127.0.0.1:" + gateway, "SEALIFT_LISTEN_API=127.0.0.1:" + api, "SEALIFT_LISTEN_METRICS=",
		"SEALIFT_LOG_FORMAT=json", "SEALIFT_LOG_LEVEL=debug",
	}
	s.run(t, settings, "sealift", "init", "--dev")
	var operator struct{ Token, CA string }
	raw, err := os.ReadFile(filepath.Join(s.dir, "sealift-out", "operator.json"))
	if err == nil {
		err = json.Unmarshal(raw, &operator)
	}
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(operator.CA))
	s.token = operator.Token
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: 30 * time.Second}
	return s, settings
}

func (s *server) awaitHealth(t *testing.T) {
	t.Helper()
	eventually(t, "the server answers", func() bool {
		resp, err := s.client.Get(s.api + "/health")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (s *server) env(more []string) []string {
	return append(append(os.Environ(), "PATH="+ours+":"+os.Getenv("PATH"), "SEALIFT_PASSPHRASE="+offlinePassphrase, "GARAGE_SIGN_PASSPHRASE=interop build"), more...)
}

// command is one of our own programs in the server's folder.
func (s *server) command(ctx context.Context, env []string, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(ours, name), args...)
	c.Dir, c.Env = s.dir, s.env(env)
	return c
}

// run runs one of our own programs to its end and returns what it printed.
func (s *server) run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := s.command(ctx, env, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ask sends a request to the api as the operator and returns the answer.
func (s *server) ask(t *testing.T, method, path string, body []byte, header ...string) (status int, answer []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.api+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// get reads a JSON answer of the api into v.
func (s *server) get(t *testing.T, path string, v any) {
	t.Helper()
	status, body := s.ask(t, http.MethodGet, path, nil)
	if status != http.StatusOK {
		t.Fatalf("GET %s: %d\n%s", path, status, body)
	}
	if err := json.Unmarshal(body, v); err != nil {
		t.Fatalf("GET %s: %v\n%s", path, err, body)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// patience is how long something may take on a busy machine: the client tries
// its events again only every ten seconds.
const patience = 4 * time.Minute

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for !check() {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// request is what the server's log says of one request of a device.
type request struct {
	Msg    string `json:"msg"`
	Edge   string `json:"edge"`
	Method string `json:"method"`
	Path   string `json:"path"`
	Status int    `json:"status"`
	Caller string `json:"caller"`
}

func (r request) String() string { return fmt.Sprintf("%s %s %d", r.Method, r.Path, r.Status) }

// logBook gathers the server's log.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// mark is the place to which the log has come.
func (l *logBook) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Len()
}

// requests lists what devices asked for since mark.
func (l *logBook) requests(mark int) []request {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []request
	for line := range bytes.Lines(l.buf.Bytes()[mark:]) {
		var r request
		if json.Unmarshal(line, &r) == nil && r.Edge == "gateway" && r.Method != "" {
			list = append(list, r)
		}
	}
	return list
}

// saw counts the requests since mark that begin with text, such as
// "PUT /director/manifest 200".
func (l *logBook) saw(mark int, text string) int {
	n := 0
	for _, r := range l.requests(mark) {
		if strings.HasPrefix(r.String(), text) {
			n++
		}
	}
	return n
}
