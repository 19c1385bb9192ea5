package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	starts   = 5
	idleTime = 5 * time.Second // before memory is read
)

// server is a throw-away server of the built binary.
type server struct {
	dir, metrics string
	process      *exec.Cmd
	ready        time.Duration // from exec to the line "ready"
}

func binary(name string) string { return filepath.Join("bin", name) }

// newServer initialises a server in a temporary folder.
func newServer(ctx context.Context) (*server, error) {
	dir, err := os.MkdirTemp("", "sealift-bench-")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	if out, err := s.command(ctx, "init", "--dev").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("init: %w\n%s", err, out)
	}
	return s, nil
}

func (s *server) command(ctx context.Context, args ...string) *exec.Cmd {
	path, _ := filepath.Abs(binary("sealift"))
	c := exec.CommandContext(ctx, path, args...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), "SEALIFT_PASSPHRASE=bench offline", "GARAGE_SIGN_PASSPHRASE=bench build",
		"SEALIFT_LISTEN_GATEWAY=127.0.0.1:0", "SEALIFT_LISTEN_API=127.0.0.1:0", "SEALIFT_LISTEN_METRICS="+s.metrics, "SEALIFT_LOG_LEVEL=warn")
	return c
}

// start runs serve and waits until it says it is ready.
func (s *server) start(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	s.metrics = "127.0.0.1:" + port
	s.process = s.command(ctx, "serve")
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
	return errors.New("serve ended before it was ready")
}

func (s *server) stop() error {
	if err := s.process.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return s.process.Wait()
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// coldStart measures from exec to ready, and the memory of a server that has
// nothing to do.
func coldStart(ctx context.Context) ([]figure, error) {
	s, err := newServer(ctx)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(s.dir)
	var times []float64
	var memory float64
	for range starts {
		if err := s.start(ctx); err != nil {
			return nil, err
		}
		times = append(times, s.ready.Seconds())
		if len(times) == starts {
			time.Sleep(idleTime)
			if memory, err = residentMB(s.process.Process.Pid); err != nil {
				return nil, err
			}
			if err := s.profileIfMissed(memory); err != nil {
				return nil, err
			}
		}
		if err := s.stop(); err != nil {
			return nil, err
		}
	}
	slices.Sort(times)
	return []figure{
		{Name: "cold_start_to_ready", Value: times[len(times)/2], Unit: "s", Op: "<", Goal: 1, Samples: starts, Note: "median; files may be in the page cache"},
		{Name: "idle_resident_memory", Value: memory, Unit: "MB", Op: "<", Goal: 100, Samples: 1},
	}, nil
}

// residentMB is the resident memory of a process (Linux).
func residentMB(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("no VmRSS in the status of the process")
}

// profileIfMissed keeps a heap profile where the memory goal is missed.
func (s *server) profileIfMissed(memory float64) error {
	if memory < 100 {
		return nil
	}
	resp, err := http.Get("http://" + s.metrics + "/debug/pprof/heap")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := os.MkdirAll("bench-profile", 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join("bench-profile", "idle-heap.pprof"))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}

// demo measures the whole story.
func demo(ctx context.Context) ([]figure, error) {
	begin := time.Now()
	out, err := exec.CommandContext(ctx, binary("sealift"), "demo").CombinedOutput()
	took := time.Since(begin).Seconds()
	if err != nil {
		return nil, fmt.Errorf("demo: %w\n%s", err, out)
	}
	return []figure{{Name: "demo_wall_time", Value: took, Unit: "s", Op: "<", Goal: 60, Samples: 1, Note: "after the build"}}, nil
}
