package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sealift/access"
	"sealift/api"
	"sealift/internal/credentials"
	"sealift/internal/db/dbtest"
	"sealift/internal/diskblob"
	"sealift/treehub"
	"sealift/treehub/ostree"
)

// site is a running server with one token, and a repository to push.
type site struct {
	t           testing.TB
	hub         *treehub.TreeHub
	server      *httptest.Server
	credentials string // a file with OAuth2 client credentials
	repo        string
	commit      ostree.Checksum
	targets     string // what the server answers for targets.json; empty: 404
	proposed    string // what waits for signatures; empty: nothing

	mu   sync.Mutex
	seen []string // method and path below /api/v3/
}

const ref = "board/main"

func newSite(t testing.TB, secure bool) *site {
	t.Helper()
	s := &site{t: t}
	store := dbtest.SQLite(t)
	bucket, err := diskblob.Open(filepath.Join(t.TempDir(), "blobs"))
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(err)
	t.Cleanup(func() { bucket.Close() })
	log := slog.New(slog.DiscardHandler)
	s.hub, err = treehub.New(t.Context(), treehub.Config{DB: store, Bucket: bucket, Log: log})
	check(err)
	tokens, err := access.New(t.Context(), access.Config{DB: store, Log: log})
	check(err)
	check(tokens.CreateNamespace(t.Context(), "default"))
	secret, token, err := tokens.CreateToken(t.Context(), "default", "ci", []access.Scope{access.PushTreehub}, time.Hour)
	check(err)
	handler, err := api.New(api.Config{TreeHub: s.hub, Access: tokens, Log: log})
	check(err)
	watched := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/user_repo/targets.json" {
			if s.targets == "" {
				w.WriteHeader(404)
			}
			_, _ = io.WriteString(w, s.targets)
			return
		}
		if r.URL.Path == "/api/v1/user_repo/proposals/targets" && s.proposed != "" {
			_, _ = io.WriteString(w, `{"id":"x","uptane":`+s.proposed+`}`)
			return
		}
		if path, ok := strings.CutPrefix(r.URL.Path, "/api/v3/"); ok {
			s.mu.Lock()
			s.seen = append(s.seen, r.Method+" "+path)
			s.mu.Unlock()
		}
		handler.ServeHTTP(w, r)
	})
	if s.server = httptest.NewUnstartedServer(watched); secure {
		s.server.EnableHTTP2 = true
		s.server.StartTLS()
	} else {
		s.server.Start()
	}
	t.Cleanup(s.server.Close)
	hub, err := json.Marshal(credentials.NewTreeHub(s.server.URL+"/api/v3/", &credentials.OAuth2{
		Server: s.server.URL + "/oauth2/token", ClientID: token.ID, ClientSecret: secret}))
	check(err)
	members := []credentials.File{{Name: "treehub.json", Content: hub}, {Name: "tufrepo.url", Content: []byte(s.server.URL)}}
	if secure {
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
		members = append(members, credentials.File{Name: "server_ca.pem", Content: ca})
	}
	s.credentials = filepath.Join(t.TempDir(), "build.zip")
	check(credentials.WriteFile(s.credentials, members))
	s.repo = filepath.Join(t.TempDir(), "repo")
	s.commit = s.write(50)
	return s
}

func (s *site) write(files int) ostree.Checksum {
	s.t.Helper()
	dir, err := ostree.InitDir(s.repo)
	if err != nil {
		s.t.Fatal(err)
	}
	root := s.t.TempDir()
	for i := range files {
		name := filepath.Join(root, fmt.Sprintf("d%d", i%9), fmt.Sprintf("f%d", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(name, fmt.Append(nil, "file ", i), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	commit, err := dir.Commit(s.t.Context(), os.DirFS(root), ostree.CommitOptions{Ref: ref, Subject: "s"})
	if err != nil {
		s.t.Fatal(err)
	}
	return commit
}

// run calls a program and demands an exit code; it returns what was printed.
func (s *site) run(want int, program string, args ...string) string {
	s.t.Helper()
	var out bytes.Buffer
	if code := run(s.t.Context(), program, args, newScreen(&out, false)); code != want {
		s.t.Fatalf("%s %s: exit %d, want %d\n%s", program, strings.Join(args, " "), code, want, out.String())
	}
	return out.String()
}

func (s *site) push(want int, more ...string) string {
	s.t.Helper()
	return s.run(want, "garage-push", append([]string{"-C", s.repo, "-r", ref, "-j", s.credentials}, more...)...)
}

// requests counts since the last call by method and first part of the path.
func (s *site) requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int{}
	for _, r := range s.seen {
		n[strings.Split(r, "/")[0]]++
	}
	s.seen = nil
	return n
}

func contains(t testing.TB, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

// TestPush is a build job's day: dry run, push, push again.
func TestPush(t *testing.T) {
	s := newSite(t, false)
	contains(t, s.push(0, "--dry-run", "-w"), "Dry run. No objects uploaded.", "62 of 62 objects are missing")
	if n := s.requests(); n["POST refs"] != 0 || n["POST objects"] > n["HEAD objects"]+20 {
		t.Errorf("a dry run sent %v", n)
	}
	if _, err := s.hub.Ref(t.Context(), "default", ref); err == nil {
		t.Fatal("a dry run set the ref")
	}

	contains(t, s.push(0), "Upload to Treehub complete after 62 HEAD requests and 62 PUT requests.")
	if got, err := s.hub.Ref(t.Context(), "default", ref); err != nil || got != s.commit {
		t.Errorf("ref = %s, %v", got, err)
	}
	if c, err := s.hub.Commit(t.Context(), "default", s.commit); err != nil || !c.Complete || !strings.HasPrefix(c.PushedBy, "token:") {
		t.Errorf("commit = %+v, %v", c, err)
	}

	s.requests()
	contains(t, s.push(0), "complete after 1 HEAD requests and 0 PUT requests.")
	if n := s.requests(); len(n) != 2 || n["HEAD objects"] != 1 || n["POST refs"] != 1 {
		t.Errorf("pushing again: %v", n)
	}
	contains(t, s.push(0, "--walk-tree"), "complete after 62 HEAD requests and 0 PUT requests.")

	// A commit instead of a ref: nothing is pointed to it.
	s.requests()
	second := s.write(51)
	s.run(0, "garage-push", "--repo="+s.repo, "--ref="+second.String(), "--credentials="+s.credentials, "--loglevel", "0", "--cacert=")
	if n := s.requests(); n["POST refs"] != 0 || n["POST objects"] == 0 {
		t.Errorf("pushing a commit: %v", n)
	}
	// The ref moves without regard to parents, as it always did.
	s.push(0)
	if got, err := s.hub.Ref(t.Context(), "default", ref); err != nil || got != second {
		t.Errorf("ref = %s, %v", got, err)
	}
}

// TestPushOfDebiansRepository pushes what the ostree command has written.
func TestPushOfDebiansRepository(t *testing.T) {
	if _, err := exec.LookPath("ostree"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("the ostree command is missing: install the package ostree")
		}
		t.Skip("the ostree command is missing")
	}
	s := newSite(t, false)
	tree := t.TempDir()
	for i := range 30 {
		if err := os.WriteFile(filepath.Join(tree, fmt.Sprint("f", i)), fmt.Append(nil, i), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.repo = filepath.Join(t.TempDir(), "debian")
	for _, args := range [][]string{{"init", "--mode=archive"},
		{"commit", "--branch=" + ref, "--subject=x", "--add-metadata-string=version=7", "--add-detached-metadata-string=signed=yes", tree}} {
		if out, err := exec.CommandContext(t.Context(), "ostree", append([]string{"--repo=" + s.repo}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	contains(t, s.push(0), "34 PUT requests") // files, dirtree, dirmeta, commit, commitmeta
	contains(t, s.push(0), "1 HEAD requests and 0 PUT requests")
	if refs, _, err := s.hub.Refs(t.Context(), "default", 0, 9); err != nil || len(refs) != 1 || refs[0].Name != ref {
		t.Errorf("refs %+v, %v", refs, err)
	}
}

// TestPushFails: each failure exits 1 with a text to act on.
func TestPushFails(t *testing.T) {
	s := newSite(t, false)
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := strings.Repeat("0", 64)
	for want, args := range map[string][]string{
		"Unable to read " + junk + " as archive or json file":                     {"-C", s.repo, "-r", ref, "-j", junk},
		"Unable to read /none as archive or json file":                            {"-C", s.repo, "-r", ref, "-j", "/none"},
		"Ref or commit refhash nowhere was not found in repository " + s.repo:     {"-C", s.repo, "-r", "nowhere", "-j", s.credentials},
		"Ref or commit refhash " + bad + " was not found in repository " + s.repo: {"-C", s.repo, "-r", bad, "-j", s.credentials},
		"Ref or commit refhash ../../config was not found":                        {"-C", s.repo, "-r", "../../config", "-j", s.credentials},
		"--cacert path /none does not exist":                                      {"-C", s.repo, "-r", ref, "-j", s.credentials, "--cacert", "/none"},
		"opening ostree repository":                                               {"-C", t.TempDir(), "-r", ref, "-j", s.credentials},
		"the option '--ref' is required but missing":                              {"-C", s.repo, "-j", s.credentials},
		"--jobs must be greater than 0":                                           {"-C", s.repo, "-r", ref, "-j", s.credentials, "--jobs", "0"},
		"--loglevel must be between 0 and 5":                                      {"-C", s.repo, "-r", ref, "-j", s.credentials, "--loglevel=6"},
		"unknown flag: --bogus":                                                   {"--bogus"},
		"unexpected argument \"extra\"":                                           {"-C", s.repo, "-r", ref, "-j", s.credentials, "extra"},
		"option '--ve' is ambiguous and matches '--version', and '--verbose'":     {"--ve"},
		"reading repo manifest " + junk:                                           {"-C", s.repo, "-r", ref, "-j", s.credentials, "--repo-manifest", junk},
	} {
		contains(t, s.run(1, "garage-push", args...), want)
	}
	if n := s.requests(); len(n) != 0 {
		t.Errorf("sent %v", n)
	}
	contains(t, s.run(2, "garage-deploy"), "not available")
}

// TestPushRefusesBrokenObjects: found before it is sent, and by the server
// when checks are off.
func TestPushRefusesBrokenObjects(t *testing.T) {
	s := newSite(t, false)
	files, err := filepath.Glob(filepath.Join(s.repo, "objects", "*", "*.filez"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(files[0], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], append(data, 0), 0o644); err != nil {
		t.Fatal(err)
	}
	contains(t, s.push(1), "filez_trailing_data")
	contains(t, s.push(1, "--disable-integrity-checks"), "answered 400", "filez_trailing_data")
	if err := s.hub.RequireComplete(t.Context(), "default", s.commit); err == nil {
		t.Error("the commit counts as complete")
	}
	if err := os.WriteFile(files[0], data, 0o644); err != nil {
		t.Fatal(err)
	}
	s.push(0) // goes on where it ended
}

// TestServerCA: the CA in the archive is trusted beside --cacert, which a Yocto
// build points to a public bundle.
func TestServerCA(t *testing.T) {
	s := newSite(t, true)
	other := httptest.NewTLSServer(nil)
	defer other.Close()
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Certificate().Raw})
	if err := os.WriteFile(bundle, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	s.push(0)
	s.push(0, "--cacert", bundle)
}

func TestRepoManifest(t *testing.T) {
	s := newSite(t, false)
	path := filepath.Join(t.TempDir(), "manifest.xml")
	if err := os.WriteFile(path, []byte(`<manifest><project path="meta" revision="1"/></manifest>`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.push(0, "--repo-manifest", path)
	got, err := s.hub.Manifest(t.Context(), "default", s.commit)
	if want := `{"manifest":{"project":{"@path":"meta","@revision":"1"}}}`; err != nil || string(got) != want {
		t.Errorf("manifest = %s, %v", got, err)
	}
}

// TestInterrupted: a push that is cut off says so.
func TestInterrupted(t *testing.T) {
	s := newSite(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if code := run(ctx, "garage-push", []string{"-C", s.repo, "-r", ref, "-j", s.credentials}, newScreen(&out, false)); code != 1 {
		t.Errorf("exit %d", code)
	}
	contains(t, out.String(), "interrupted")
}

// TestPushMendsAnIncompleteCommit: another client sent the commit and its root
// folder, and nothing below. A push, which trusts a commit or folder that is
// there, ends with the whole tree.
func TestPushMendsAnIncompleteCommit(t *testing.T) {
	s := newSite(t, false)
	dir, err := ostree.OpenDir(s.repo)
	if err != nil {
		t.Fatal(err)
	}
	next := ostree.ObjectName{Checksum: s.commit, Type: ostree.TypeCommit}
	for next.Type != "" {
		r, size, err := dir.Object(t.Context(), next)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		res, err := ostree.VerifyReader(next, size, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.hub.Put(t.Context(), "default", treehub.Upload{Name: next, Size: size}, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		if next = (ostree.ObjectName{}); res.Commit != nil {
			next = ostree.ObjectName{Checksum: res.Commit.Root, Type: ostree.TypeDirTree}
		}
	}
	contains(t, s.push(0), "complete after 62 HEAD requests and 62 PUT requests.")
	if err := s.hub.RequireComplete(t.Context(), "default", s.commit); err != nil {
		t.Error(err)
	}
}
