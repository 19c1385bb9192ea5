package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// server is a throw-away server of the built binary.
type server struct {
	dir                   string
	gateway, api, metrics string // addresses
	database              string // URL, empty for SQLite in dir
	pinned                bool   // to one core
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
	return s, nil
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

// pin keeps a program on the first core, so that what it does in a second is
// what one core does. The load has the others.
func pin(c *exec.Cmd) {
	if taskset, err := exec.LookPath("taskset"); err == nil && runtime.NumCPU() > 1 {
		c.Path, c.Args = taskset, append([]string{"taskset", "-c", "0"}, c.Args...)
	}
}

// pinSelf keeps the load off the core of the servers.
func pinSelf(ctx context.Context) {
	if taskset, err := exec.LookPath("taskset"); err == nil && runtime.NumCPU() > 1 {
		cores := fmt.Sprintf("1-%d", runtime.NumCPU()-1)
		_ = exec.CommandContext(ctx, taskset, "-a", "-c", "-p", cores, strconv.Itoa(os.Getpid())).Run() // slower, not wrong, without
	}
}

// freeAddress is one that nobody listens on and that no connection of the load
// will have at its other end.
func freeAddress() (string, error) {
	const low, high = 20_000, 32_000 // below what Linux takes for connections
	var failed error
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", low+rand.N(high-low)))
		if err != nil {
			failed = err
			continue
		}
		return l.Addr().String(), l.Close()
	}
	return "", failed
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

// ticks is how many of them a second of CPU time has in /proc; it is the same on
// every Linux that Go runs on.
const ticks = 100

// cpuSeconds is what a process and its children that live have used so far.
func cpuSeconds(pid int) (float64, error) {
	own, _, err := procStat(strconv.Itoa(pid))
	if err != nil {
		return 0, err
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, other := range all {
		if used, parent, err := procStat(filepath.Base(other)); err == nil && parent == pid { // else it has just ended
			own += used
		}
	}
	return own, nil
}

func procStat(pid string) (used float64, parent int, err error) {
	raw, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(raw), ") ") // a name may contain anything
	fields := strings.Fields(rest)
	const ppid, utime, stime = 1, 11, 12
	if len(fields) <= stime {
		return 0, 0, fmt.Errorf("reading /proc/%s/stat: %d fields", pid, len(fields))
	}
	user, err1 := strconv.ParseFloat(fields[utime], 64)
	system, err2 := strconv.ParseFloat(fields[stime], 64)
	parent, err3 := strconv.Atoi(fields[ppid])
	return (user + system) / ticks, parent, errors.Join(err1, err2, err3)
}
