package tools_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sealift/treehub/ostree"
)

// Waiting is bounded: what has not come about after patience never will.
const (
	patience = 60 * time.Second
	look     = 50 * time.Millisecond
)

// failer is the key under which a script keeps its test.
type failer struct{}

// needs PROGRAM... skips the script where a program is missing; with CI set that
// is a failure.
func needs(ts *testscript.TestScript, neg bool, args []string) {
	for _, program := range args {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			ts.Fatalf("%s is not installed; make deps installs it", program)
		}
		ts.Value(failer{}).(testscript.T).Skip(program + " is not installed; make deps installs it")
	}
}

// ready waits until the api of the script's server answers.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ts.ReadFile("sealift-out/server_ca.pem")))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	var last error
	if !eventually(func() bool {
		res, err := client.Get(ts.Getenv("API") + "/health")
		if last = err; err != nil {
			return false
		}
		return res.Body.Close() == nil && res.StatusCode == http.StatusOK
	}) {
		ts.Fatalf("the server did not answer: %v", last)
	}
}

// handshake VERSION URL speaks TLS up to that version; it must be refused where
// the command is negated.
func handshake(ts *testscript.TestScript, neg bool, args []string) {
	versions := map[string]uint16{"1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	if len(args) != 2 || versions[args[0]] == 0 {
		ts.Fatalf("usage: handshake VERSION URL")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ts.ReadFile("sealift-out/server_ca.pem")))
	c, err := tls.Dial("tcp", strings.TrimPrefix(args[1], "https://"), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: versions[args[0]]})
	if err == nil {
		_ = c.Close()
	}
	var alert tls.AlertError
	if neg && !(errors.As(err, &alert) || err != nil && strings.Contains(err.Error(), "protocol version")) || !neg && err != nil {
		ts.Fatalf("TLS %s: %v", args[0], err)
	}
}

// begun is the key under which a script keeps when it began.
type begun struct{}

// within DURATION fails a script that has taken longer so far.
func within(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: within DURATION")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	if took := time.Since(ts.Value(begun{}).(time.Time)); took > limit {
		ts.Fatalf("it took %s, more than %s", took, limit)
	}
}

// exits CODE COMMAND... runs a command that must end with that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("running %s: %v", args[1], err)
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// retry [-stdout PATTERN] COMMAND... repeats a command until it succeeds and
// prints what matches.
func retry(ts *testscript.TestScript, neg bool, args []string) {
	pattern := regexp.MustCompile("")
	if len(args) > 2 && args[0] == "-stdout" {
		pattern, args = regexp.MustCompile("(?m)"+args[1]), args[2:]
	}
	if !eventually(func() bool {
		return ts.Exec(args[0], args[1:]...) == nil && pattern.MatchString(ts.ReadFile("stdout"))
	}) {
		ts.Fatalf("not within %s", patience)
	}
}

// eventually asks again and again, for as long as patience lasts.
func eventually(done func() bool) bool {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if done() {
			return true
		}
	}
	return false
}

// read VARIABLE FILE [PATTERN] puts the content of a file, or of stdout, into a
// variable; with PATTERN what its first group matches.
func read(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: read VARIABLE FILE [PATTERN]")
	}
	text := ts.ReadFile(args[1])
	if len(args) == 3 {
		found := regexp.MustCompile("(?m)" + args[2]).FindStringSubmatch(text)
		if len(found) != 2 {
			ts.Fatalf("no match for %s in %s", args[2], args[1])
		}
		text = found[1]
	}
	ts.Setenv(args[0], strings.TrimSpace(text))
}

// commit-tree FOLDER REPOSITORY REF [PARENT] commits a folder with our own
// writer and prints the commit.
func commitTree(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: commit-tree FOLDER REPOSITORY REF [PARENT]")
	}
	dir, err := ostree.InitDir(ts.MkAbs(args[1]))
	ts.Check(err)
	options := ostree.CommitOptions{Ref: args[2], Subject: "by our own writer"}
	if len(args) > 3 {
		options.Parent, err = ostree.ParseChecksum(args[3])
		ts.Check(err)
	}
	commit, err := dir.Commit(context.Background(), os.DirFS(ts.MkAbs(args[0])), options)
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), commit)
}
