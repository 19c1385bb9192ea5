package tools_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

// tufClients are the commands gotuf and tufjs of scripts, two clients of TUF 1.0
// that know nothing of each other or of us:
//
//	gotuf|tufjs [-token TOKEN] [-cert FILE] PATTERN DIR URL TARGET...
//
// DIR/metadata/root.json is the root that is trusted, and the client's memory is
// beside it. Targets are written to DIR/targets. Roles and their versions are
// printed, on one line, and must match PATTERN: as of two servers one may be a
// second late, the client is run until they do.
type tufClients struct {
	t       *testing.T
	install sync.Once
	tufjs   string // where tuf-js is
	failed  error
}

// tufCall is what both commands are asked.
type tufCall struct {
	token, cert string // cert has the key, too
	want        *regexp.Regexp
	dir, url    string
	targets     []string
}

// until runs a client, which returns what it prints.
func (c tufCall) until(ts *testscript.TestScript, client func() (string, error)) {
	var said string
	var last error
	if !eventually(func() bool {
		said, last = client()
		return last == nil && c.want.MatchString(said)
	}) {
		ts.Fatalf("it said %s, %v", said, last)
	}
	fmt.Fprintln(ts.Stdout(), said)
}

func readTUFCall(ts *testscript.TestScript, args []string) tufCall {
	var c tufCall
	for len(args) > 2 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-token":
			c.token = args[1]
		case "-cert":
			c.cert = ts.MkAbs(args[1])
		default:
			ts.Fatalf("no such option: %s", args[0])
		}
		args = args[2:]
	}
	if len(args) < 3 {
		ts.Fatalf("usage: [-token TOKEN] [-cert FILE] PATTERN DIR URL TARGET...")
	}
	c.want, c.dir, c.url, c.targets = regexp.MustCompile(args[0]), ts.MkAbs(args[1]), args[2], args[3:]
	return c
}

func (*tufClients) gotuf(ts *testscript.TestScript, neg bool, args []string) {
	c := readTUFCall(ts, args)
	c.until(ts, func() (string, error) { return c.goTUF(ts) })
}

// goTUF uses go-tuf's updater as its users do.
func (c tufCall) goTUF(ts *testscript.TestScript) (string, error) {
	root, err := os.ReadFile(filepath.Join(c.dir, "metadata", "root.json"))
	if err != nil {
		return "", err
	}
	cfg, err := config.New(c.url+"/metadata", root)
	if err != nil {
		return "", err
	}
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = filepath.Join(c.dir, "metadata"), filepath.Join(c.dir, "targets")
	cfg.RemoteTargetsURL = c.url + "/targets"
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ts.ReadFile("sealift-out/server_ca.pem")))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.cert)
		if err != nil {
			return "", err
		}
		transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	if err := cfg.SetDefaultFetcherHTTPClient(&http.Client{Transport: bearer{c.token, transport}}); err != nil {
		return "", err
	}
	u, err := updater.New(cfg)
	if err != nil {
		return "", err
	}
	if err := u.Refresh(); err != nil {
		return "", err
	}
	for _, name := range c.targets {
		target, err := u.GetTargetInfo(name)
		if err != nil {
			return "", err
		}
		if _, _, err := u.DownloadTarget(target, filepath.Join(cfg.LocalTargetsDir, filepath.Base(name)), ""); err != nil {
			return "", err
		}
	}
	set := u.GetTrustedMetadataSet()
	return fmt.Sprintf("root %d, targets %d", set.Root.Signed.Version, set.Targets["targets"].Signed.Version), nil
}

// bearer adds a token to each request, if there is one.
type bearer struct {
	token string
	http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.RoundTripper.RoundTrip(r)
}

func (k *tufClients) js(ts *testscript.TestScript, neg bool, args []string) {
	c := readTUFCall(ts, args)
	k.install.Do(func() { k.failed = k.npm() })
	if k.failed != nil && os.Getenv("CI") == "" {
		ts.Value(failer{}).(testscript.T).Skip(k.failed)
	}
	ts.Check(k.failed)
	c.until(ts, func() (string, error) {
		run := exec.CommandContext(k.t.Context(), "node", append([]string{"client.mjs", c.dir, c.url}, c.targets...)...)
		run.Dir = k.tufjs
		run.Env = append(os.Environ(), "SERVER_CA="+ts.MkAbs("sealift-out/server_ca.pem"), "TOKEN="+c.token, "CLIENT_CERT="+c.cert, "CLIENT_KEY="+c.cert)
		out, err := run.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	})
}

// npm installs tuf-js as it is locked, in a folder that the test deletes.
func (k *tufClients) npm() error {
	k.tufjs = k.t.TempDir()
	if err := os.CopyFS(k.tufjs, os.DirFS("../fixtures/tufjs")); err != nil {
		return err
	}
	c := exec.CommandContext(k.t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	c.Dir = k.tufjs
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("installing tuf-js: %w\n%s", err, out)
	}
	return nil
}
