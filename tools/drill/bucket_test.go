package drill_test

import (
	"bytes"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The names of the S3 server's account.
const (
	s3Key    = "sealift"
	s3Secret = "sealift-secret"
)

// bucket is an S3 server of a test's own with one bucket, which may stop.
type bucket struct {
	t         *testing.T
	dir, port string
	process   *exec.Cmd
}

// newBucket makes one and starts it. The gate has built the server.
func newBucket(t *testing.T) *bucket {
	t.Helper()
	b := &bucket{t: t, dir: t.TempDir(), port: freePort(t)}
	must(t, os.Mkdir(filepath.Join(b.dir, "bucket"), 0o700))
	b.start()
	t.Cleanup(func() {
		if b.process != nil {
			b.stop()
		}
	})
	return b
}

// env is what a server must be told to use it.
func (b *bucket) env() []string {
	query := url.Values{"region": {"us-east-1"}, "use_path_style": {"true"}, "endpoint": {"http://127.0.0.1:" + b.port}}
	return []string{"SEALIFT_BLOBS_URL=s3://bucket?" + query.Encode(), "AWS_ACCESS_KEY_ID=" + s3Key, "AWS_SECRET_ACCESS_KEY=" + s3Secret}
}

func (b *bucket) start() {
	b.t.Helper()
	program := filepath.Join("..", "..", "bin", "versitygw")
	if _, err := os.Stat(program); err != nil {
		missing(b.t, "bin/versitygw is not built; go -C .ci/tools build -o ../../bin/versitygw github.com/versity/versitygw/cmd/versitygw")
	}
	c := exec.Command(program, "--port", "127.0.0.1:"+b.port, "--quiet", "posix", b.dir)
	c.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s3Key, "ROOT_SECRET_KEY="+s3Secret)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	must(b.t, c.Start())
	b.process = c
	for until := time.Now().Add(patience); ; {
		conn, err := net.Dial("tcp", "127.0.0.1:"+b.port)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(until) || !rest(b.t.Context(), 20*time.Millisecond) {
			b.stop()
			b.t.Fatalf("the S3 server does not listen: %v\n%s", err, said.String())
		}
	}
}

// stop ends it as a crash would.
func (b *bucket) stop() {
	b.t.Helper()
	must(b.t, b.process.Process.Kill())
	_ = b.process.Wait() // says that it was killed
	b.process = nil
}
