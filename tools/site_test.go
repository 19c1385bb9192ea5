package tools_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sealift/internal/db/dbtest"
)

// page is docs/operating.md; its blocks by name.
type page struct {
	text   string
	blocks map[string]string
}

func readPage(t *testing.T) page {
	t.Helper()
	raw, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	p := page{string(raw), map[string]string{}}
	for _, m := range regexp.MustCompile("(?ms)^```(?:[a-z]+ )?(\\S+)\n(.*?)^```$").FindAllStringSubmatch(p.text, -1) {
		p.blocks[m[1]] = m[2]
	}
	return p
}

// site is an installation in a folder, with ports of its own.
type site struct {
	*testing.T
	page
	bin, dir     string
	gateway, api string
	replicas     [2][3]string // ports: gateway, api, metrics
	env          []string
}

// newSite is a site before init: on PostgreSQL and S3, or on SQLite and a folder.
func newSite(t *testing.T, p page, bin string, ports *ports, shared bool) *site {
	t.Helper()
	s := &site{T: t, page: p, bin: bin, dir: t.TempDir()}
	for _, port := range []*string{&s.gateway, &s.api, &s.replicas[0][0], &s.replicas[0][1], &s.replicas[0][2], &s.replicas[1][0], &s.replicas[1][1], &s.replicas[1][2]} {
		var err error
		if *port, err = ports.take(); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"var/lib/sealift", "etc/sealift", "backup"} {
		if err := os.MkdirAll(filepath.Join(s.dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if shared {
		s.shared()
	}
	s.env = append(os.Environ(), append(s.env, "PATH="+bin+":"+os.Getenv("PATH"), "SEALIFT_DEV=true", "HOME="+s.dir, "LC_ALL=C.UTF-8",
		"SEALIFT_PASSPHRASE=of the offline folder", "GARAGE_SIGN_PASSPHRASE=of the builds", "SEALIFT_OPERATOR="+s.path("var/lib/sealift/out/operator.json"))...)
	return s
}

// shared writes the file with the addresses of what servers share.
func (s *site) shared() {
	s.Helper()
	bucket, err := newBucket()
	if err != nil {
		s.Fatal(err)
	}
	values := map[string]string{"SEALIFT_DATABASE_URL": dbtest.PostgresURL(s.T), "SEALIFT_BLOBS_URL": bucket, "AWS_ACCESS_KEY_ID": "sealift", "AWS_SECRET_ACCESS_KEY": "sealift-secret"}
	var file strings.Builder
	for _, m := range regexp.MustCompile(`(?m)^([A-Z_]+)=`).FindAllStringSubmatch(s.blocks["env"], -1) {
		file.WriteString(m[1] + "='" + values[m[1]] + "'\n")
		s.env = append(s.env, m[1]+"="+values[m[1]])
	}
	s.write("etc/sealift/env", file.String())
}

func (s *site) path(of string) string { return filepath.Join(s.dir, of) }

func (s *site) write(name, text string) {
	s.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}

// here is a block of the page with the addresses and folders of the site.
func (s *site) here(block string) string {
	s.Helper()
	text, ok := s.blocks[block]
	if !ok {
		s.Fatalf("docs/operating.md has no block called %s", block)
	}
	return strings.NewReplacer(
		"10.0.0.11:8443", "127.0.0.1:"+s.replicas[0][0], "10.0.0.12:8443", "127.0.0.1:"+s.replicas[1][0],
		"10.0.0.11:9443", "127.0.0.1:"+s.replicas[0][1], "10.0.0.12:9443", "127.0.0.1:"+s.replicas[1][1],
		"listen 8443", "listen 127.0.0.1:"+s.gateway, "listen 9443", "listen 127.0.0.1:"+s.api,
		"bind :8443", "bind 127.0.0.1:"+s.gateway, "bind :9443", "bind 127.0.0.1:"+s.api,
		"ota.example.com:8443", "localhost:"+s.gateway, "ota.example.com:9443", "localhost:"+s.api, "ota.example.com", "localhost",
		"/etc/haproxy/server_ca.pem", s.path("var/lib/sealift/out/server_ca.pem"),
		"/var/lib/sealift", s.path("var/lib/sealift"), "/etc/sealift", s.path("etc/sealift"),
		"/backup/", s.path("backup")+"/", "/media/sealift-offline", s.path("var/lib/sealift/offline"),
		"/usr/local/bin/sealift", filepath.Join(s.bin, "sealift"), "runuser -u sealift -- ", "",
	).Replace(text)
}

func (s *site) command(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(s.Context(), name, args...)
	c.Dir, c.Env = s.dir, s.env
	return c
}

func (s *site) try(block string) (string, error) {
	out, err := s.command("bash", "-euc", s.here(block)).CombinedOutput()
	return string(out), err
}

func (s *site) shell(block string) {
	s.Helper()
	if out, err := s.try(block); err != nil {
		s.Fatalf("%s: %v\n%s", block, err, out)
	}
}

// replica starts one of both servers by the command of the unit. The second has
// what the page says of the first: its settings.
func (s *site) replica(n int) *exec.Cmd {
	s.Helper()
	data := s.path("var/lib/sealift/data")
	if n == 1 {
		settings, err := os.ReadFile(filepath.Join(data, "config.yaml"))
		if err != nil {
			s.Fatal(err)
		}
		if err := os.MkdirAll(s.path("second/data"), 0o700); err != nil {
			s.Fatal(err)
		}
		s.write("second/data/config.yaml", string(settings))
	}
	start := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(s.here("sealift.service"))
	if start == nil {
		s.Fatal("the unit starts nothing")
	}
	line := strings.Fields(start[1])
	if n == 1 {
		line = strings.Fields(strings.ReplaceAll(start[1], data, s.path("second/data")))
	}
	c := s.command(line[0], line[1:]...)
	gateway, api := s.replicas[n][0], s.replicas[n][1]
	c.Env = append(c.Env, "SEALIFT_LISTEN_GATEWAY=127.0.0.1:"+gateway, "SEALIFT_LISTEN_API=127.0.0.1:"+api, "SEALIFT_LISTEN_METRICS=127.0.0.1:"+s.replicas[n][2])
	log, err := os.OpenFile(s.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.Fatal(err)
	}
	defer log.Close()
	c.Stderr = log
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Wait() })
	s.await("answers", func() bool { return dials(gateway) })
	return c
}

// log is what both servers have said.
func (s *site) log() string {
	text, err := os.ReadFile(s.path("log"))
	if err != nil {
		s.Fatal(err)
	}
	return string(text)
}

func dials(port string) bool {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

func (s *site) await(what string, done func() bool) {
	s.Helper()
	if !eventually(done) {
		s.Fatalf("the server never %s\n%s", what, s.log())
	}
}

// stop lets a server finish what is under way.
func (s *site) stop(c *exec.Cmd) {
	s.Helper()
	if err := c.Process.Signal(os.Interrupt); err != nil {
		s.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		s.Errorf("the server ended with %v", err)
	}
}

// proxy runs a proxy with what the page says, as a part of the configuration
// that Debian has.
func (s *site) proxy(name string) {
	s.Helper()
	var c *exec.Cmd
	switch name {
	case "nginx":
		s.write("nginx.conf", "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off; pid nginx.pid; error_log stderr; events {}\n"+s.here("nginx"))
		c = s.command("nginx", "-p", s.dir, "-e", "stderr", "-c", s.path("nginx.conf"))
	case "haproxy":
		s.write("haproxy.cfg", s.here("haproxy"))
		c = s.command("haproxy", "-db", "-f", s.path("haproxy.cfg"))
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = c.Wait()
		if s.Failed() {
			s.Logf("%s says:\n%s", name, &out)
		}
	})
	s.await("is reached", func() bool { return dials(s.gateway) })
}

// update signs a version with a build's token and has a device install it,
// through the proxy.
func (s *site) update(version string) {
	s.Helper()
	s.write("app", "version "+version)
	for _, line := range []string{
		"sealift target add --credentials var/lib/sealift/out/build.zip --name app --version " + version + " --hardware-id board app",
		"sealift demo device --once --credentials var/lib/sealift/out/device.zip --name truck-1 --hardware-id board",
		"sealift update create --device truck-1 --target app-" + version,
		"sealift demo device --once --credentials var/lib/sealift/out/device.zip --name truck-1 --hardware-id board",
		"sealift device show truck-1 | grep 'runs app-" + version + "'",
	} {
		if out, err := s.command("bash", "-euo", "pipefail", "-c", line).CombinedOutput(); err != nil {
			s.Fatalf("%s: %v\n%s\n%s", line, err, out, s.log())
		}
	}
}
