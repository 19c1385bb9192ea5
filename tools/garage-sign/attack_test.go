package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/home"
	"sealift/uptane"
)

// nextRoot is a root one version after the server's newest, edited and signed with
// keys of the offline home.
func (r *repository) nextRoot(edit func(*metadata.RootType), keys ...string) []byte {
	r.t.Helper()
	doc, err := uptane.OpenRoot(uptane.Uptane, r.roots[len(r.roots)-1], nil, time.Time{})
	check(r.t, err)
	next, err := r.offline.NextRoot(doc)
	check(r.t, err)
	if edit != nil {
		edit(next)
	}
	signed, err := r.offline.SealRoot(r.t.Context(), next, keys)
	check(r.t, err)
	return signed.Uptane
}

// takeOver makes the keys of a role in a root those of a thief.
func takeOver(t *testing.T, thief *repository, root *metadata.RootType) {
	for _, role := range []uptane.Role{uptane.RoleRoot, uptane.RoleTargets} {
		key, err := thief.offline.Keys().Public(string(role))
		check(t, err)
		check(t, home.ReplaceKeys(root, role, key))
	}
}

// Whoever holds the server holds no root key: whatever it offers as the next root,
// no command believes it, and none goes on to sign or send anything.
func TestRootsOfAnAttacker(t *testing.T) {
	for name, c := range map[string]struct {
		forge func(r, thief *repository) []byte // offered as version 3
		says  string
	}{
		"signed by the wrong keys": {func(r, thief *repository) []byte {
			thief.roots = append(thief.roots, thief.nextRoot(nil, "root"))
			return thief.nextRoot(nil, "root")
		}, "signature"},
		"signed by the new keys alone": {func(r, thief *repository) []byte {
			thief.roots = r.roots
			return thief.nextRoot(func(next *metadata.RootType) { takeOver(r.t, thief, next) }, "root")
		}, "signature"},
		"signed by a targets key": {func(r, _ *repository) []byte { return r.nextRoot(nil, "targets") }, "signature"},
		"signed by nobody": {func(r, _ *repository) []byte {
			return uptane.Frame(uptane.Uptane, signedOf(r.nextRoot(nil, "root")))
		}, "signature"},
		"a version left out": {func(r, _ *repository) []byte {
			return r.nextRoot(func(next *metadata.RootType) { next.Version++ }, "root")
		}, "version"},
		"an older one": {func(r, _ *repository) []byte { return r.roots[0] }, "version"},
		"the same":     {func(r, _ *repository) []byte { return r.roots[1] }, "version"},
		"another type": {func(r, _ *repository) []byte { return r.targets }, "type"},
		"a page":       {func(*repository, *repository) []byte { return []byte("<html>Please log in</html>") }, "JSON"},
		"a member more": {func(r, _ *repository) []byte {
			return []byte(strings.Replace(string(r.nextRoot(nil, "root")), `"version":3`, `"version":3,"version":4`, 1))
		}, "version"},
		"TUF's flavour": {func(r, _ *repository) []byte {
			return []byte(strings.Replace(string(r.nextRoot(nil, "root")), `"Root"`, `"root"`, 1))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, thief := newRepository(t, true), newRepository(t, true)
			s := builder(t, r)
			s.must(add("x-1", "board"))
			s.must("targets sign -r a -h $D -k targets")
			r.roots = append(r.roots, r.nextRoot(nil, "root"))
			s.must("targets pull -r a -h $D") // follows to version 2
			s.must(add("x-1", "board"))
			s.must("targets sign -r a -h $D -k targets")
			files := []string{"a/roles/root.json", "a/roles/unsigned/targets.json", "a/roles/targets.json", "a/roles/targets.json.checksum"}
			before := make([]string, len(files))
			for i, f := range files {
				before[i] = s.file(f)
			}
			r.roots = append(r.roots, c.forge(r, thief))
			r.targets = thief.targets
			r.before = func(w httpWriter) bool { // the state that is to be replaced is never the right one
				put := strings.HasPrefix(r.asked[len(r.asked)-1], "PUT ")
				if put {
					refuse(w, 412, "role_checksum_mismatch", nil)
				}
				return put
			}
			for _, line := range []string{"targets pull", "targets push", "targets cosign", "delegations pull -n supplier", "root pull",
				"move-offline --old-root-alias root0"} {
				if name == "the same" && line == "root pull" {
					continue // it is the server's newest, and the one that is trusted
				}
				r.asked = nil
				s.fails(1, c.says, line+" -r a -h $D")
				if slices.ContainsFunc(r.asked, func(q string) bool { return strings.HasPrefix(q, "POST") || strings.HasPrefix(q, "DELETE") }) {
					t.Errorf("%s: %v", line, r.asked)
				}
				for i, f := range files {
					if s.file(f) != before[i] {
						t.Errorf("%s has changed %s", line, f)
					}
				}
			}
		})
	}
}

// Nobody fetches a chain that leads nowhere.
func TestRootFarAhead(t *testing.T) {
	r := newRepository(t, false)
	s := builder(t, r)
	trusted := s.file("a/roles/root.json")
	r.roots = append(r.roots, r.nextRoot(func(next *metadata.RootType) { next.Version = 1 << 30 }, "root"))
	r.asked = nil
	s.fails(1, "more than 1024 versions ahead", "root pull -r a -h $D")
	if len(r.asked) != 1 || s.file("a/roles/root.json") != trusted {
		t.Errorf("requests %v", r.asked)
	}
}

// A root without an end is not read to its end.
func TestEndlessRoot(t *testing.T) {
	r := newRepository(t, false)
	s := builder(t, r)
	var sent atomic.Int64
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		line := []byte(strings.Repeat(" ", 64<<10))
		for range 1000 {
			n, err := w.Write(line)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(endless.Close)
	s.write("a/config.json", strings.Replace(s.file("a/config.json"), r.url, endless.URL, 1))
	for _, line := range []string{"targets pull", "root pull"} {
		s.fails(3, "larger than 262144 bytes", line+" -r a -h $D")
	}
	endless.Close()
	if n := sent.Load(); n > 20<<20 {
		t.Errorf("%d bytes were sent", n)
	}
}

// What a server says reaches the terminal as text.
func TestServerThatPaints(t *testing.T) {
	r := newRepository(t, false)
	s := builder(t, r)
	r.targets = []byte("\x1b[2Jyour targets")
	s.fails(3, "not acceptable JSON", "get-targets -r a -h $D")
	r.before = func(w httpWriter) bool {
		w.Header().Set("x-ats-role-checksum", "\x1b[2J")
		refuse(w, 400, "\x1b[2J", []string{"one\x1b]0;two\a", "three\u009b"})
		return true
	}
	for _, line := range []string{"get-targets", "targets pull", "root pull", "targets clean-ostree-storage"} {
		if s.run(line+" -r a -h $D") == 0 || strings.ContainsAny(s.stdout+s.stderr, "\x1b\a\u009b") {
			t.Errorf("%s: %q %q", line, s.stdout, s.stderr)
		}
	}
}

// A push is judged by the newest root, not by the one that the home had.
func TestPushUnderANewerRoot(t *testing.T) {
	r := newRepository(t, false)
	s := builder(t, r)
	_, err := r.offline.Keys().Generate("second", home.Ed25519, 0, false)
	check(t, err)
	second, err := r.offline.Keys().Public("second")
	check(t, err)
	two := r.nextRoot(func(next *metadata.RootType) {
		check(t, uptane.AddKey(next, uptane.RoleTargets, second))
		next.Roles["targets"].Threshold = 2
	}, "root")
	s.must(add("x-1", "board"))
	s.must("targets sign -r a -h $D -k targets")
	r.roots = append(r.roots, two)
	// This server keeps no proposals; that they are tried says that the new root counts.
	s.fails(1, "keeps no targets that wait", "targets push -r a -h $D")
	if !strings.Contains(s.stdout, "Followed the server to root version 2\n1 of 2 keys have signed") {
		t.Errorf("said %s", s.stdout)
	}
	// The other way round: two must have signed, the newest root asks for one.
	r.roots = append(r.roots, r.nextRoot(func(next *metadata.RootType) { next.Roles["targets"].Threshold = 1 }, "root"))
	s.must("targets push -r a -h $D")
	if d := r.published().Signed; d.Version != 2 {
		t.Errorf("version %d", d.Version)
	}
}

// Files of keys come to be in one step, readable by nobody else, and nothing takes
// their place.
func TestKeyFilesAreNeverReplaced(t *testing.T) {
	r := newRepository(t, false)
	s := builder(t, r)
	for _, line := range []string{"key generate -r a -h $D -n mine", "user-keys gen -h $D -k mine"} {
		s.must(line)
		s.fails(3, "already", line)
	}
	sec, pub := s.file("a/keys/mine.sec"), s.file("a/keys/mine.pub")
	s.fails(3, "already", "user-keys importpub -r a -h $D -k mine -i $D/user-keys/mine.pub")
	check(t, os.Remove(filepath.Join(s.dir, "a/keys/mine.pub"))) // half a pair is a key, too
	s.fails(3, "already", "key generate -r a -h $D -n mine")
	if s.file("a/keys/mine.sec") != sec {
		t.Error("a private key was replaced")
	}
	s.write("a/keys/mine.pub", pub)
	check(t, os.Remove(filepath.Join(s.dir, "a/keys/mine.sec")))
	s.fails(3, "already", "key generate -r a -h $D -n mine")
	for _, dir := range []string{"a/keys", "user-keys"} {
		entries, err := os.ReadDir(filepath.Join(s.dir, dir))
		check(t, err)
		for _, e := range entries {
			info, err := e.Info()
			check(t, err)
			if info.Mode().Perm() != 0o600 || strings.HasPrefix(e.Name(), ".") {
				t.Errorf("%s/%s has mode %v", dir, e.Name(), info.Mode())
			}
		}
	}
	check(t, os.Chmod(filepath.Join(s.dir, "user-keys/mine.sec"), 0o644))
	s.write("x.json", "{}")
	s.must("sign-json -k $D/user-keys/mine.sec -i $D/x.json")
	if !strings.Contains(s.stderr, "chmod 600") {
		t.Errorf("nothing is said of a key that others may read: %s", s.stderr)
	}
}
