package tools_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"sealift/internal/db/dbtest"
)

// Where the S3 server of the tests is: its endpoint, and the folder in which
// each sub-folder is a bucket. The gate sets both.
const (
	s3Endpoint = "SEALIFT_TEST_S3_URL"
	s3Folder   = "SEALIFT_TEST_S3_DIR"
)

// The same sessions on PostgreSQL and S3, with two servers behind a round
// robin: serve starts both, and every connection meets the other one.
func TestScriptsOnReplicas(t *testing.T) {
	if os.Getenv(dbtest.EnvURL) == "" || os.Getenv(s3Endpoint) == "" {
		t.Skipf("%s and %s are not set", dbtest.EnvURL, s3Endpoint)
	}
	bin := build(t)
	pair := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(pair, "sealift")); err != nil {
		t.Fatal(err)
	}
	ports := &ports{next: 30000 + os.Getpid()%180*12}
	run(t, func(env *testscript.Env) error {
		if err := setUp(env, bin, ports); err != nil {
			return err
		}
		env.Setenv("PATH", pair+string(os.PathListSeparator)+env.Getenv("PATH"))
		env.Setenv(realServer, filepath.Join(bin, "sealift"))
		env.Setenv("SEALIFT_DATABASE_URL", dbtest.PostgresURL(t))
		bucket, err := newBucket()
		env.Setenv("SEALIFT_BLOBS_URL", bucket)
		env.Setenv("AWS_ACCESS_KEY_ID", "sealift")
		env.Setenv("AWS_SECRET_ACCESS_KEY", "sealift-secret")
		return err
	}, "replicas")
}

// newBucket makes a bucket of a script's own.
func newBucket() (string, error) {
	dir, err := os.MkdirTemp(os.Getenv(s3Folder), "bucket")
	if err != nil {
		return "", fmt.Errorf("making a bucket: %w", err)
	}
	query := url.Values{"region": {"us-east-1"}, "use_path_style": {"true"}, "endpoint": {os.Getenv(s3Endpoint)}}
	return "s3://" + filepath.Base(dir) + "?" + query.Encode(), nil
}

// realServer names the variable that makes the test binary be sealift: it
// holds the path of the real one.
const realServer = "REPLICA_OF"

func TestMain(m *testing.M) {
	if real := os.Getenv(realServer); real != "" && filepath.Base(os.Args[0]) == "sealift" {
		os.Exit(beSealift(real, os.Args[1:]))
	}
	os.Exit(inFolder(m.Run))
}

// beSealift runs two servers for one that is asked for, and hands every other
// command on as it is.
func beSealift(real string, args []string) int {
	if len(args) == 0 || args[0] != "serve" {
		err := syscall.Exec(real, append([]string{real}, args...), os.Environ())
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := servePair(ctx, real, args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode()
		}
		return 1
	}
	return 0
}

// servePair runs both servers and spreads the connections of both listeners.
func servePair(ctx context.Context, real string, args []string) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var gateways, apis []string
	var running sync.WaitGroup
	defer running.Wait()
	for range 2 {
		c := exec.CommandContext(ctx, real, args...)
		c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
		c.Env = append(os.Environ(), "SEALIFT_LISTEN_GATEWAY=127.0.0.1:0", "SEALIFT_LISTEN_API=127.0.0.1:0")
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause // the other one ended before this one began
		}
		if err != nil {
			return err
		}
		addresses := readListeners(out)
		gateways, apis = append(gateways, addresses["gateway"]), append(apis, addresses["api"])
		running.Go(func() {
			_, _ = io.Copy(io.Discard, out)
			if err := c.Wait(); err != nil {
				stop(err)
			}
		})
	}
	for address, servers := range map[string][]string{os.Getenv("SEALIFT_LISTEN_GATEWAY"): gateways, os.Getenv("SEALIFT_LISTEN_API"): apis} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { _ = l.Close() })
		go spread(l, servers)
	}
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// readListeners reads the table that serve prints, up to the line "ready".
func readListeners(out io.Reader) map[string]string {
	found := map[string]string{}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		fmt.Println(lines.Text())
		if name, rest, ok := strings.Cut(lines.Text(), " "); ok {
			address, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			if u, err := url.Parse(address); err == nil {
				found[name] = u.Host
			}
		}
	}
	return found
}

// spread hands connections to the servers in turn.
func spread(l net.Listener, servers []string) {
	var turn atomic.Uint64
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer from.Close()
			to, err := net.Dial("tcp", servers[turn.Add(1)%uint64(len(servers))])
			if err != nil {
				return
			}
			defer to.Close()
			go func() {
				_, _ = io.Copy(to, from)
				_ = to.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(from, to)
		}()
	}
}
