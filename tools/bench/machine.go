package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine is where figures were measured.
type machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	Go         string  `json:"go"`
	Nginx      string  `json:"nginx,omitempty"`
	LoadBefore float64 `json:"load_before"` // of the last minute
	LoadAfter  float64 `json:"load_after"`
	At         string  `json:"at"`
}

func thisMachine(ctx context.Context) machine {
	m := machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version(), LoadBefore: loadAverage(), At: time.Now().UTC().Format(time.RFC3339)}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(model)
			break
		}
	}
	if nginx, err := findNginx(); err == nil {
		out, _ := exec.CommandContext(ctx, nginx, "-v").CombinedOutput()
		_, m.Nginx, _ = strings.Cut(strings.TrimSpace(string(out)), "nginx/")
	}
	return m
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s; load of the last minute before %.1f, after %.1f\n", m.CPU, m.Cores, m.Go, m.LoadBefore, m.LoadAfter)
}

func loadAverage() float64 {
	raw, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(raw), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}

// pin keeps a program on the first core, so that what it does in a second is
// what one core does.
func pin(c *exec.Cmd) {
	if taskset, err := exec.LookPath("taskset"); err == nil && runtime.NumCPU() > 1 {
		c.Path, c.Args = taskset, append([]string{"taskset", "-c", "0"}, c.Args...)
	}
}

// pinSelf keeps the load on one core too, which is not that of the servers,
// until the function it returns is called. On a machine of one core nothing is
// pinned.
func pinSelf(ctx context.Context) (release func()) {
	taskset, err := exec.LookPath("taskset")
	if err != nil || runtime.NumCPU() < 2 {
		return func() {}
	}
	set := func(cores string) {
		_ = exec.CommandContext(ctx, taskset, "-a", "-c", "-p", cores, strconv.Itoa(os.Getpid())).Run() // slower, not wrong, without
	}
	set("1")
	before := runtime.GOMAXPROCS(1)
	return func() {
		ctx = context.WithoutCancel(ctx)
		set(fmt.Sprintf("0-%d", runtime.NumCPU()-1))
		runtime.GOMAXPROCS(before)
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

// ownCPU is what the load itself has used so far, in seconds.
func ownCPU() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
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
