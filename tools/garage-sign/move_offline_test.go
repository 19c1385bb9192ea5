package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// officer is a shell with a home that has a new root and a new targets key.
func officer(t *testing.T, r *repository) *shell {
	t.Helper()
	s := newShell(t)
	s.credentials(r, map[string]string{"targets.sec": "", "targets.pub": ""})
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("key generate -r a -h $D -n root1")
	s.must("key generate -r a -h $D -n targets1 -t rsa --keysize 2048")
	r.asked = nil
	return s
}

const moveOffline = "move-offline -r a -h $D --old-root-alias root0 --new-root root1 --new-targets targets1"

// A server of the older kind has all keys: they are taken from it, and nothing
// is lost whenever it stops.
func TestMoveOffline(t *testing.T) {
	r := newRepository(t, true)
	r.giveKeys()
	s := officer(t, r)
	s.must(moveOffline)
	id := r.root().Roles["root"].KeyIDs
	var asked []string
	for _, q := range r.asked {
		if i := strings.Index(q, "private_keys/"); i >= 0 {
			q = q[:i] + "private_keys/ID"
		}
		asked = append(asked, q)
	}
	if got := strings.Join(asked, ", "); got != "GET 2.root.json, GET root.json, GET targets.json, GET root/private_keys/ID, PUT tuf/root, POST root, DELETE root/private_keys/ID" {
		t.Errorf("requests: %s", got)
	}
	if len(r.roots) != 2 || len(r.private) != 0 || len(id) != 1 {
		t.Errorf("%d roots, %d private keys left, root keys %v", len(r.roots), len(r.private), id)
	}
	if r.twins["root"] == nil || !strings.Contains(s.stdout, "targets sign --key-name targets1") {
		t.Errorf("twin %d bytes, output %s", len(r.twins["root"]), s.stdout)
	}
	s.fails(1, "cannot be trusted", "targets pull -r a -h $D") // until the new key has signed
	s.must("targets sign -r a -h $D --key-name targets1")
	s.must("targets push -r a -h $D")
	s.must("targets pull -r a -h $D")
	s.must("export-credentials -r a -h $D -k targets1 -o $D/new.zip")
	s.must("init -r b -h $D -c $D/new.zip")
	s.must("targets pull -r b -h $D")
	// The saved key is the old root key; from now on the new one is enough.
	s.must("root pull -r a -h $D")
	s.must("root sign -r a -h $D -k root1")
	s.must("root push -r a -h $D")
}

// Whatever goes wrong on the way, the key is at the server or here.
func TestMoveOfflineKeepsTheKey(t *testing.T) {
	r := newRepository(t, false)
	r.giveKeys()
	s := officer(t, r)
	r.refuseRoot = true
	s.fails(1, "not today", moveOffline)
	if len(r.private) != 2 || slices.ContainsFunc(r.asked, func(q string) bool { return strings.HasPrefix(q, "DELETE") }) {
		t.Errorf("the server has %d keys after a refused root; %v", len(r.private), r.asked)
	}
	r.refuseRoot = false
	// Somebody pushes meanwhile: the new key has to sign that.
	other := builder(t, r)
	other.must(add("x-1", "board"))
	other.must("targets sign -r a -h $D -k targets")
	other.must("targets push -r a -h $D")
	s.must(add("y-1", "board"))
	s.fails(1, "have changed since they were pulled", moveOffline)
	s.must("targets delete -r a -h $D --filename y-1")
	s.must(moveOffline) // the saved copy is used
	s.must("targets sign -r a -h $D -k targets1")
	s.must("targets push -r a -h $D")
	if _, ok := r.published().Signed.Targets["x-1"]; !ok {
		t.Error("what was pushed meanwhile is lost")
	}
	if len(r.roots) != 2 {
		t.Errorf("%d roots", len(r.roots))
	}

	// A key that is not the root's is not stored, and nothing is deleted.
	r = newRepository(t, false)
	r.giveKeys()
	s = officer(t, r)
	root := r.root().Roles["root"].KeyIDs[0]
	r.private[root] = r.private[r.root().Roles["targets"].KeyIDs[0]]
	s.fails(3, "different keys", moveOffline)
	if _, err := os.Stat(filepath.Join(s.dir, "a/keys/root0.sec")); err == nil || r.private[root] == nil {
		t.Error("a foreign key was stored, or the server's deleted")
	}
}

// A server like ours never had the key: that is said, and where the old key is
// at hand the new root is published all the same.
func TestMoveOfflineWhereNothingIsOnline(t *testing.T) {
	r := newRepository(t, true)
	s := officer(t, r)
	s.fails(1, "it is offline already", moveOffline)
	pub, sec, err := r.offline.Keys().Export("root")
	check(t, err)
	s.write("a/keys/mine.pub", string(pub))
	s.write("a/keys/mine.sec", string(sec))
	s.must(moveOffline)
	if len(r.roots) != 2 || !strings.Contains(s.stdout, "is here already, as mine") {
		t.Errorf("%d roots, %s", len(r.roots), s.stdout)
	}
	s.fails(1, "must name the root key", strings.Replace(moveOffline, "root0", "targets1", 1))
}

// The root of a Director that keeps its targets key online.
func TestMoveOfflineOfADirector(t *testing.T) {
	r := newRepository(t, true)
	r.giveKeys()
	to := httpProxy(r.url)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		path := strings.Replace(q.URL.Path, "/api/v1/director/admin/repo/private_keys/", "/api/v1/user_repo/root/private_keys/", 1)
		q.URL.Path = strings.Replace(path, "/api/v1/director/admin/repo/", "/api/v1/user_repo/", 1)
		to.ServeHTTP(w, q)
	}))
	t.Cleanup(front.Close)
	s := newShell(t)
	s.credentials(r, map[string]string{"api_gateway.url": front.URL})
	s.must("init -r a -h $D -t director -c $D/credentials.zip")
	s.must("root pull -r a -h $D")
	s.must("key generate -r a -h $D -n root1")
	r.tuf = false // a Director has no TUF view
	r.asked = nil
	const move = "move-offline -r a -h $D --old-root-alias root0 --new-root root1"
	s.fails(1, "the Director signs its targets itself", move+" --new-targets x")
	targets := r.root().Roles["targets"].KeyIDs[0]
	key := r.private[targets]
	delete(r.private, targets)
	s.fails(1, "must be online", move)
	r.private[targets] = key
	s.must(move)
	if len(r.roots) != 2 || r.root().Roles["targets"].KeyIDs[0] != targets || r.private[targets] == nil {
		t.Errorf("%d roots, targets keys %v", len(r.roots), r.root().Roles["targets"].KeyIDs)
	}
	if slices.ContainsFunc(r.asked, func(q string) bool { return strings.Contains(q, "tuf/") || strings.Contains(q, "targets.json") }) {
		t.Errorf("requests %v", r.asked)
	}
}
