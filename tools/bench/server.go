package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"sealift/internal/db"
	"sealift/keys"
	"sealift/keys/pki"
)

// server is a throw-away server of the built binary.
type server struct {
	dir                   string
	gateway, api, metrics string        // addresses
	database              string        // URL, empty for SQLite in dir
	pinned                bool          // to one core
	fleet                 pki.Authority // of devices that bench makes
	process               *exec.Cmd
	ready                 time.Duration // from exec to the line "ready"
}

func binary(name string) string {
	path, _ := filepath.Abs(filepath.Join("bin", name))
	return path
}

// newServer initialises a server in a temporary folder, on the database of that
// URL.
func newServer(ctx context.Context, database string) (*server, error) {
	dir, err := os.MkdirTemp("", "sealift-bench-")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, database: database}
	for _, address := range []*string{&s.gateway, &s.api, &s.metrics} {
		if *address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	if out, err := s.command(ctx, "sealift", "init", "--dev").CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("init: %w\n%s", err, out), os.RemoveAll(dir))
	}
	if err := s.enterFleet(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("entering the CA of the fleet: %w", err), os.RemoveAll(dir))
	}
	return s, nil
}

// databaseURL is that of the server's own database.
func (s *server) databaseURL() string {
	if s.database != "" {
		return s.database
	}
	return "sqlite:" + filepath.Join(s.dir, "sealift-data", "sealift.db")
}

// enterFleet lets in the devices of a CA that is ours, before the server runs:
// thousands of devices are made sooner than they would be asked for.
func (s *server) enterFleet(ctx context.Context) error {
	d, err := db.Open(ctx, s.databaseURL())
	if err != nil {
		return err
	}
	defer d.Close()
	kek, err := keys.OpenFileKEK(filepath.Join(s.dir, "sealift-data.master-key"), nil)
	if err != nil {
		return err
	}
	vault, err := keys.New(ctx, keys.Config{DB: d, KEK: kek})
	if err != nil {
		return err
	}
	if s.fleet, err = pki.NewDeviceRoot(time.Now(), "bench fleet"); err != nil {
		return err
	}
	return vault.AddIssuer(ctx, "default", s.fleet.Cert)
}

// command is one of our programs in the server's folder.
func (s *server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, binary(program), args...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), "SEALIFT_PASSPHRASE=bench offline", "GARAGE_SIGN_PASSPHRASE=bench build",
		"SEALIFT_LISTEN_GATEWAY="+s.gateway, "SEALIFT_LISTEN_API="+s.api, "SEALIFT_LISTEN_METRICS="+s.metrics, "SEALIFT_LOG_LEVEL=warn")
	if s.database != "" {
		c.Env = append(c.Env, "SEALIFT_DATABASE_URL="+s.database)
	}
	return c
}

// start runs serve and waits until it says it is ready.
func (s *server) start(ctx context.Context) error {
	s.process = s.command(ctx, "sealift", "serve")
	if s.pinned {
		pin(s.process)
	}
	s.process.Stderr = os.Stderr // warnings and worse
	out, err := s.process.StdoutPipe()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := s.process.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "ready" {
			s.ready = time.Since(begin)
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return nil
		}
	}
	return errors.Join(errors.New("serve ended before it was ready"), s.process.Wait())
}

func (s *server) stop() error {
	if err := s.process.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return s.process.Wait()
}

// end stops the server if it runs and removes its folder.
func (s *server) end() {
	if s.process != nil && s.process.ProcessState == nil {
		_ = s.stop()
	}
	_ = os.RemoveAll(s.dir)
}
