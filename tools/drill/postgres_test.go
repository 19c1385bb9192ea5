package drill_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// postgres is a PostgreSQL of a test's own, which may stop.
type postgres struct {
	t        *testing.T
	dir, bin string
}

// newPostgres makes one and starts it. What is committed is on its way to the
// disk; that it gets there is not needed where only processes end.
func newPostgres(t *testing.T) *postgres {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	must(t, err)
	if len(found) == 0 {
		missing(t, "PostgreSQL is not installed")
	}
	slices.Sort(found)
	p := &postgres{t: t, bin: filepath.Dir(found[len(found)-1])}
	// Not a folder of the test's: the path of a socket must be short.
	p.dir, err = os.MkdirTemp("", "sealift-drill-pg-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(p.dir)) })
	if os.Getuid() == 0 { // it refuses to run as root
		u, err := user.Lookup("postgres")
		must(t, err)
		uid, err := strconv.Atoi(u.Uid)
		must(t, err)
		must(t, os.Chown(p.dir, uid, -1))
	}
	p.run("initdb", "-D", p.data(), "-U", "sealift", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *postgres) url() string {
	return fmt.Sprintf("host=%s user=sealift dbname=postgres sslmode=disable", p.dir)
}

func (p *postgres) start() {
	p.t.Helper()
	p.run("pg_ctl", "-D", p.data(), "-w", "-t", "60", "-l", filepath.Join(p.dir, "log"),
		"-o", "-c listen_addresses= -c fsync=off -c unix_socket_directories="+p.dir, "start")
}

// stop ends it as a crash would: connections break off.
func (p *postgres) stop() {
	p.t.Helper()
	p.run("pg_ctl", "-D", p.data(), "-m", "immediate", "-w", "-t", "60", "stop")
}

func (p *postgres) run(program string, args ...string) {
	p.t.Helper()
	args = append([]string{filepath.Join(p.bin, program)}, args...)
	if os.Getuid() == 0 {
		args = append([]string{"runuser", "-u", "postgres", "--"}, args...)
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "commands"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	must(p.t, err)
	defer log.Close()
	c := exec.Command(args[0], args[1:]...)
	c.Dir = p.dir
	c.Stdout, c.Stderr = log, log // a pipe would stay open with the server
	if err := c.Run(); err != nil {
		said, _ := os.ReadFile(log.Name())
		p.t.Fatalf("running %s: %v\n%s", program, err, said)
	}
}

// missing ends a test for which something is not there: the gate has everything.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}
