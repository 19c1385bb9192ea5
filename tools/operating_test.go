package tools_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sealift/internal/db/dbtest"
)

// TestOperating does what docs/operating.md says, with the blocks of that page
// and other addresses and folders: makes a server on PostgreSQL and S3, serves
// with two, and lets a device install updates through each proxy while servers
// come and go.
func TestOperating(t *testing.T) {
	if os.Getenv(dbtest.EnvURL) == "" || os.Getenv(s3Endpoint) == "" {
		t.Skipf("%s and %s are not set", dbtest.EnvURL, s3Endpoint)
	}
	bin, page := build(t), readPage(t)
	ports := &ports{next: 27000 + os.Getpid()%100*20}
	for _, proxy := range []string{"nginx", "haproxy"} {
		t.Run(proxy, func(t *testing.T) {
			if _, err := exec.LookPath(proxy); err != nil {
				if os.Getenv("CI") != "" {
					t.Fatalf("%s is not installed; make deps installs it", proxy)
				}
				t.Skipf("%s is not installed; make deps installs it", proxy)
			}
			s := newSite(t, page, bin, ports, true)
			s.shell("init")
			a, b := s.replica(0), s.replica(1)
			s.proxy(proxy)
			s.await("is well", func() bool { _, err := s.try("health"); return err == nil })
			s.update("1")
			_ = a.Process.Kill() // as a machine that fails
			_ = a.Wait()
			s.update("2")
			a = s.replica(0)
			s.stop(b) // as at an upgrade
			s.update("3")
			s.shell("roots")
			s.update("4")
			s.checkMetrics()
			s.refusesPROXY()
			s.stop(a)
		})
	}
}

// TestOperatingBackup backs a server up and restores it as docs/operating.md says,
// under a device that has seen more.
func TestOperatingBackup(t *testing.T) {
	ports := &ports{next: 29000 + os.Getpid()%50*20}
	s := newSite(t, readPage(t), build(t), ports, false)
	s.replicas[0][0], s.replicas[0][1] = s.gateway, s.api // no proxy
	s.shell("init")
	server := s.replica(0)
	s.update("1")
	s.shell("backup")
	s.update("2")
	s.shell("learn")
	s.stop(server)
	s.shell("restore")
	s.stop(s.replica(0))
	server = s.replica(0)
	s.update("3")
	s.stop(server)
}

// checkMetrics holds the metrics that the page names against those that are
// served.
func (s *site) checkMetrics() {
	s.Helper()
	res, err := http.Get("http://127.0.0.1:" + s.replicas[0][2] + "/metrics")
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	served, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	named := regexp.MustCompile("`((?:sealift|go|process)_[a-z_]+)`").FindAllStringSubmatch(s.text, -1)
	if len(named) < 5 {
		s.Fatalf("the page names %d metrics", len(named))
	}
	for _, m := range named {
		if !bytes.Contains(served, []byte("# TYPE "+m[1]+" ")) {
			s.Errorf("the page names the metric %s, which is not served", m[1])
		}
	}
}

// refusesPROXY: what a proxy sends in front of a connection is not believed, and
// the log says what to do.
func (s *site) refusesPROXY() {
	s.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.replicas[0][0])
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "PROXY TCP4 192.0.2.1 192.0.2.2 1 8443\r\n"); err != nil {
		s.Fatal(err)
	}
	ca, err := os.ReadFile(s.path("var/lib/sealift/out/server_ca.pem"))
	if err != nil {
		s.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "localhost"}).Handshake(); err == nil {
		s.Error("a connection behind a PROXY header was taken")
	}
	s.await("says so", func() bool { return strings.Contains(s.log(), "PROXY protocol") })
}

// TestOperatingUnit: systemd takes the unit of docs/operating.md.
func TestOperatingUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil && os.Getenv("CI") == "" {
		t.Skip("systemd-analyze is not installed; make deps installs it")
	}
	unit := filepath.Join(t.TempDir(), "sealift.service")
	text := strings.ReplaceAll(readPage(t).blocks["sealift.service"], "/usr/local/bin/sealift", "/bin/true")
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", unit).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("sealift.service:")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestOperatingLogLines: the lines that docs/operating.md tells to watch for are
// written somewhere.
func TestOperatingLogLines(t *testing.T) {
	_, section, _ := strings.Cut(readPage(t).text, "| message begins |")
	section, _, _ = strings.Cut(section, "\n\n")
	lines := regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(section, -1)
	if len(lines) < 5 {
		t.Fatalf("the page names %d lines", len(lines))
	}
	var source strings.Builder
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		source.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range lines {
		if !strings.Contains(source.String(), `"`+m[1]) {
			t.Errorf("nothing logs %q", m[1])
		}
	}
}
