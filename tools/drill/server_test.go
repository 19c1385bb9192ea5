package drill_test

import (
	"bufio"
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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience is how long something that must come about may take.
const patience = 60 * time.Second

// binFolder names the variable with the folder of the program.
const binFolder = "SEALIFT_TEST_DRILL_BIN"

// program is the path of the server, signer that of the tool of who signs; built
// once for all drills.
var (
	program = sync.OnceValues(func() (string, error) { return build("sealift") })
	signer  = sync.OnceValues(func() (string, error) { return build("garage-sign") })
)

func build(tool string) (string, error) {
	path := filepath.Join(os.Getenv(binFolder), tool)
	c := exec.Command("go", "build", "-ldflags", "-s -w", "-o", path, "../"+tool)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", tool, err, out)
	}
	return path, nil
}

func TestMain(m *testing.M) {
	os.Exit(inFolder(m.Run))
}

// inFolder runs with a folder for the program.
func inFolder(run func() int) int {
	dir, err := os.MkdirTemp("", "sealift-drill-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv(binFolder, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

// server is a server of the built program in a folder of its own, on ports that
// stay the same however often it is started.
type server struct {
	t            *testing.T
	dir          string
	env          []string
	gateway, api string
	token        string
	trust        *x509.CertPool
	process      *exec.Cmd
	ended        chan error
	life         atomic.Pointer[life]
	tally        *tally
}

// life is one run of the server's process.
type life struct {
	context.Context
	end context.CancelFunc
}

// alive returns a context that also ends with the server's present life, for
// those who would else wait long before they try again.
func (s *server) alive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.life.Load(), cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// newServer makes one; env adds to its settings.
func newServer(t *testing.T, dir string, env ...string) *server {
	t.Helper()
	s := &server{t: t, dir: dir, tally: &tally{}}
	for _, v := range os.Environ() { // settings of another server must not leak in
		if !strings.HasPrefix(v, "SEALIFT_") || strings.HasPrefix(v, "SEALIFT_TEST_") {
			s.env = append(s.env, v)
		}
	}
	s.env = append(s.env, "SEALIFT_LISTEN_METRICS=", "SEALIFT_PASSPHRASE=of the offline folder",
		"GARAGE_SIGN_PASSPHRASE=of the builds", "SEALIFT_LOG_LEVEL=error")
	s.env = append(s.env, env...)
	s.listen()
	s.run("init", "--dev")
	var operator struct{ Token, CA string }
	raw, err := os.ReadFile(filepath.Join(dir, "sealift-out", "operator.json"))
	if err == nil {
		err = json.Unmarshal(raw, &operator)
	}
	must(t, err)
	s.token, s.trust = operator.Token, x509.NewCertPool()
	s.trust.AppendCertsFromPEM([]byte(operator.CA))
	t.Cleanup(s.end)
	return s
}

// replica is another server of the same data, on ports of its own.
func (s *server) replica() *server {
	s.t.Helper()
	r := &server{t: s.t, dir: s.dir, env: slices.Clone(s.env), token: s.token, trust: s.trust, tally: &tally{}}
	r.listen()
	s.t.Cleanup(r.end)
	return r
}

// listen chooses the ports.
func (s *server) listen() {
	s.t.Helper()
	gateway, api := freePort(s.t), freePort(s.t)
	s.gateway, s.api = "https://localhost:"+gateway, "https://localhost:"+api
	s.env = append(s.env, "SEALIFT_LISTEN_GATEWAY=127.0.0.1:"+gateway, "SEALIFT_LISTEN_API=127.0.0.1:"+api)
}

// end ends a server that a test has left running.
func (s *server) end() {
	if s.process != nil {
		s.kill()
	}
}

// witness returns one who sees what the server acknowledges to somebody.
func (s *server) witness(k kind) *witness { return &witness{kind: k, tally: s.tally} }

func (s *server) command(args ...string) *exec.Cmd {
	s.t.Helper()
	path, err := program()
	must(s.t, err)
	c := exec.Command(path, args...)
	c.Dir, c.Env = s.dir, s.env
	return c
}

// run runs a command to its end; it must succeed.
func (s *server) run(args ...string) string {
	s.t.Helper()
	out, err := s.command(args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("sealift %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// start starts the server and returns when it is ready.
func (s *server) start() {
	s.t.Helper()
	c := s.command("serve")
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.StdoutPipe()
	must(s.t, err)
	must(s.t, c.Start())
	s.process, s.ended = c, make(chan error, 1)
	l := &life{}
	l.Context, l.end = context.WithCancel(context.Background())
	s.life.Store(l)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "ready" {
			ended := s.ended
			go func() {
				_, _ = io.Copy(io.Discard, out)
				ended <- c.Wait()
			}()
			return
		}
	}
	s.t.Fatalf("the server ended before it was ready: %v\n%s", c.Wait(), said.String())
}

// kill ends the server as a power cut would.
func (s *server) kill() {
	s.t.Helper()
	must(s.t, s.process.Process.Kill())
	<-s.ended
	s.life.Load().end()
	s.process = nil
}

// fsck demands that all that is stored verifies, and returns what it is.
func (s *server) fsck() string {
	s.t.Helper()
	said := s.run("fsck")
	if !strings.Contains(said, "\nclean\n") {
		s.t.Errorf("fsck says\n%s", said)
	}
	return said
}

// stop ends the server as an operator does.
func (s *server) stop() {
	s.t.Helper()
	must(s.t, s.process.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-s.ended:
		must(s.t, err)
	case <-time.After(patience):
		s.t.Fatal("the server does not stop")
	}
	s.process = nil
}

// client returns a client of the api that remembers what was acknowledged.
func (s *server) client(w *witness) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.trust}, MaxIdleConnsPerHost: 8}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: w.around(bearer{s.token, transport}), Timeout: patience}
}

// bearer shows a token.
type bearer struct {
	token string
	http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.RoundTripper.RoundTrip(r)
}

// ask makes one request of the api and decodes the answer into v, unless nil.
func (s *server) ask(ctx context.Context, c *http.Client, method, path string, body, v any) error {
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.api+path, reader)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return &refusal{method + " " + path, res.StatusCode, res.Header.Get("x-sealift-error"), string(raw)}
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(raw, v)
}

// refusal is an answer that says no.
type refusal struct {
	request string
	status  int
	id      string // of the error
	body    string
}

func (r *refusal) Error() string { return fmt.Sprintf("%s: %d %s", r.request, r.status, r.body) }

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	return port
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rest waits a little between two rounds of work; false when ctx has ended.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
