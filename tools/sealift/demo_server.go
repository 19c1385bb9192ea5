package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// How long the demo waits for its own server.
const (
	readyTime = 20 * time.Second
	readyLook = 20 * time.Millisecond
	stopTime  = 10 * time.Second
)

// stage is the throw-away server of a demo and the tools that act on it, all in
// one folder.
type stage struct {
	dir    string
	tools  string // folder of the programs
	env    []string
	tokens bool // private keys are in PKCS#11 tokens
	server *exec.Cmd
	exited chan struct{} // closed when the server has ended
	api    *client
}

// newStage finds the programs and makes the folder.
func newStage() (*stage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the programs: %w", err)
	}
	g := &stage{tools: filepath.Dir(self)}
	for _, tool := range []string{"garage-push", "garage-sign"} {
		if _, err := os.Stat(filepath.Join(g.tools, tool)); err != nil {
			return nil, usage(fmt.Errorf("%s is not beside %s; make build makes both", tool, self))
		}
	}
	if g.dir, err = os.MkdirTemp("", "sealift-demo-"); err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	// Settings of another server of the same user must not leak in.
	g.env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "SEALIFT_") || strings.HasPrefix(v, "GARAGE_SIGN_")
	})
	g.env = append(g.env, "SEALIFT_PASSPHRASE="+rand.Text(), "GARAGE_SIGN_PASSPHRASE="+rand.Text())
	return g, nil
}

func (g *stage) path(parts ...string) string {
	return filepath.Join(append([]string{g.dir}, parts...)...)
}

// run runs one of our programs to its end in the folder and returns what it
// said.
func (g *stage) run(ctx context.Context, tool string, given ...string) (string, error) {
	name := tool
	if tool == "sealift" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		name = self
	} else {
		name = filepath.Join(g.tools, tool)
	}
	c := exec.CommandContext(ctx, name, given...)
	c.Dir, c.Env = g.dir, g.env
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("running %s %s: %w\n%s", tool, strings.Join(given, " "), err, out)
	}
	return string(out), nil
}

// start makes a server and starts it on free ports. Detached, it survives the
// demo and its terminal.
func (g *stage) start(ctx context.Context, detached bool) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	given := []string{"init", "--dev", "--listen-gateway", "127.0.0.1:" + ports[0], "--listen-api", "127.0.0.1:" + ports[1], "--listen-metrics", ""}
	if g.tokens {
		if err := g.makeTokens(ctx); err != nil {
			return err
		}
		given = append(given, "--offline-token", "pkcs11:token="+deskToken, "--online-token", "pkcs11:token="+serverToken)
	}
	if _, err := g.run(ctx, "sealift", given...); err != nil {
		return err
	}
	return g.launch(ctx, detached)
}

// launch starts the server that start made.
func (g *stage) launch(ctx context.Context, detached bool) error {
	log, err := os.OpenFile(g.path("server.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	g.server = exec.Command(self, "serve")
	g.server.Dir, g.server.Env, g.server.Stdout, g.server.Stderr = g.dir, g.env, log, log
	g.server.SysProcAttr = &syscall.SysProcAttr{Setsid: detached}
	if err := g.server.Start(); err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	g.exited = make(chan struct{})
	go func() {
		_ = g.server.Wait()
		close(g.exited)
	}()
	if g.api, err = openOperator(g.path("sealift-out", "operator.json")); err != nil {
		return err
	}
	return g.ready(ctx)
}

// openOperator opens a client without flags.
func openOperator(path string) (*client, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the operator's file: %w", err)
	}
	var o operator
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, fmt.Errorf("reading the operator's file: %w", err)
	}
	return newClient(o)
}

// ready waits until the server answers.
func (g *stage) ready(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, readyTime)
	defer stop()
	for {
		_, err := g.api.send(ctx, http.MethodGet, "/health", nil, nil)
		if err == nil {
			return nil
		}
		select {
		case <-g.exited:
			said, _ := os.ReadFile(g.path("server.log"))
			return fmt.Errorf("the server ended:\n%s", said)
		case <-ctx.Done():
			return fmt.Errorf("the server did not come up: %w", errors.Join(err, ctx.Err()))
		case <-time.After(readyLook):
		}
	}
}

// end stops the server that start started, and nothing else, and removes the
// folder.
func (g *stage) end() error {
	if g.server != nil && g.server.Process != nil {
		if g.api != nil {
			g.api.http.CloseIdleConnections() // a server that ends waits some seconds for them
		}
		_ = g.server.Process.Signal(syscall.SIGTERM)
		select {
		case <-g.exited:
		case <-time.After(stopTime):
			_ = g.server.Process.Kill()
			<-g.exited
		}
	}
	if err := os.RemoveAll(g.dir); err != nil {
		return fmt.Errorf("removing the demo's folder: %w", err)
	}
	return nil
}

// freePorts finds ports nobody listens on. Another program may take one before
// the server does; the demo then fails and says so.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		defer l.Close() // all are held until all are found
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		ports = append(ports, port)
	}
	return ports, nil
}
