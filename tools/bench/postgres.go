package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
)

var errNoPostgres = errors.New("PostgreSQL is not installed; on Debian, make deps installs it")

// postgres is a throw-away PostgreSQL on a socket in a folder, with fsync on as
// it is by default.
type postgres struct{ dir, bin string }

func startPostgres(ctx context.Context) (*postgres, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return nil, errNoPostgres
	}
	slices.Sort(found)
	p := &postgres{bin: filepath.Dir(found[len(found)-1])}
	if p.dir, err = os.MkdirTemp("", "sealift-bench-pg-"); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 { // it refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2, os.Chown(p.dir, uid, gid)); err != nil {
			return nil, err
		}
	}
	err = p.run(ctx, "initdb", "-D", p.data(), "-U", "sealift", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions")
	if err == nil {
		err = p.run(ctx, "pg_ctl", "-D", p.data(), "-w", "-t", "60", "-l", filepath.Join(p.dir, "log"),
			"-o", "-c listen_addresses= -c unix_socket_directories="+p.dir, "start")
	}
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

func (p *postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *postgres) url() string {
	return fmt.Sprintf("host=%s user=sealift dbname=postgres sslmode=disable", p.dir)
}

func (p *postgres) run(ctx context.Context, program string, args ...string) error {
	args = append([]string{filepath.Join(p.bin, program)}, args...)
	if os.Getuid() == 0 {
		args = append([]string{"runuser", "-u", "postgres", "--"}, args...)
	}
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir = p.dir
	log, err := os.OpenFile(filepath.Join(p.dir, "commands"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log // a pipe would stay open with the server
	if err := c.Run(); err != nil {
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("running %s: %w\n%s", program, err, said)
	}
	return nil
}

func (p *postgres) stop() error {
	err := p.run(context.Background(), "pg_ctl", "-D", p.data(), "-m", "fast", "-w", "-t", "60", "stop")
	return errors.Join(err, os.RemoveAll(p.dir))
}
