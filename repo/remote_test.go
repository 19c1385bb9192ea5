package repo_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/repo"
)

// elsewhere is a supplier's own server.
type elsewhere struct {
	*httptest.Server
	status int
	doc    []byte
	during func() // while it is asked
	asked  []*http.Request
}

func newElsewhere(t *testing.T) *elsewhere {
	t.Helper()
	e := &elsewhere{status: http.StatusOK}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		e.asked = append(e.asked, q)
		if e.during != nil {
			e.during()
		}
		if e.status == http.StatusFound {
			http.Redirect(w, q, "/other", e.status)
			return
		}
		if strings.HasSuffix(q.URL.Path, ".gz") {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(e.doc)
			_ = z.Close()
			return
		}
		w.WriteHeader(e.status)
		_, _ = w.Write(e.doc)
	}))
	t.Cleanup(e.Close)
	return e
}

// A supplier's metadata are fetched from its own server, and again when there is
// something new; its password is stored sealed.
func TestRemoteDelegation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		brakes, there := w.supplier("brakes"), newElsewhere(t)
		w.pull(s).delegate(brakes, false, "brakes/*").mustPush(s)
		wantFault(t, s.RefreshRemote(t.Context(), ns, "brakes", "x"), repo.ErrNoRemote)

		brakes.add(w.named("brakes/1"))
		brakes.payload.Version = 7 // the supplier's own count
		there.doc = brakes.signed()
		headers := map[string]string{"X-Api-Key": "hunter2"}
		if err := s.SetRemote(t.Context(), ns, "brakes", there.URL+"/brakes.json", headers, "Brakes Ltd", "x"); err != nil {
			t.Fatal(err)
		}
		w.sees(s, map[string]bool{"brakes/1": true})
		role, err := s.Role(t.Context(), ns, "brakes")
		if err != nil || role.Version != 7 || role.Remote.URI != there.URL+"/brakes.json" || role.Remote.FriendlyName != "Brakes Ltd" || !role.Remote.FetchedAt.Equal(w.clock.now()) {
			t.Errorf("%+v, %v", role, err)
		}
		var stored []byte
		if err := d.QueryRowContext(t.Context(), "SELECT headers FROM repo_remote").Scan(&stored); err != nil || len(stored) == 0 || bytes.Contains(stored, []byte("hunter2")) {
			t.Errorf("headers are stored as %q, %v", stored, err)
		}

		brakes.payload.Version = 9
		there.doc = brakes.add(w.named("brakes/2")).signed()
		for range 2 {
			if err := w.server().RefreshRemote(t.Context(), ns, "brakes", "x"); err != nil {
				t.Fatal(err)
			}
		}
		w.clock.advance(2 * time.Second) // a replica may be a second behind
		w.sees(s, map[string]bool{"brakes/1": true, "brakes/2": true})
		if q := there.asked[len(there.asked)-1]; q.Header.Get("X-Api-Key") != "hunter2" || q.Header.Get("Authorization") != "" {
			t.Errorf("asked with %v", q.Header)
		}
		// Somebody names another password and name while an answer is awaited.
		moved := newElsewhere(t)
		brakes.payload.Version = 10
		there.doc, moved.doc = brakes.signed(), brakes.signed()
		there.during = func() {
			if err := s.SetRemote(t.Context(), ns, "brakes", moved.URL, map[string]string{"X-Api-Key": "new"}, "", "x"); err != nil {
				t.Error(err)
			}
			if err := s.NameRole(t.Context(), ns, "brakes", "Brakes AG"); err != nil {
				t.Error(err)
			}
		}
		if err := s.RefreshRemote(t.Context(), ns, "brakes", "x"); err != nil {
			t.Fatal(err)
		}
		there.during = nil
		if err := s.RefreshRemote(t.Context(), ns, "brakes", "x"); err != nil || len(moved.asked) != 2 || moved.asked[1].Header.Get("X-Api-Key") != "new" {
			t.Errorf("the new address was asked %d times, %v", len(moved.asked), err)
		}
		if role, err = s.Role(t.Context(), ns, "brakes"); err != nil || role.Remote.FriendlyName != "Brakes AG" {
			t.Errorf("%+v, %v", role.Remote, err)
		}
		brakes.payload.Version = 8
		moved.doc = brakes.signed()
		wantFault(t, s.RefreshRemote(t.Context(), ns, "brakes", "x"), repo.ErrVersionBump)

		// The operator trusts the supplier no longer: its password goes, too.
		r := w.pull(s)
		r.payload.Delegations = nil
		r.mustPush(s)
		var left int
		if err := d.GetContext(t.Context(), &left, "SELECT count(*) FROM repo_remote"); err != nil || left != 0 {
			t.Errorf("%d rows of remotes are left, %v", left, err)
		}
		wantFault(t, s.RefreshRemote(t.Context(), ns, "brakes", "x"), repo.ErrNoRemote)
	})
}

// A remote server that takes its time holds nobody up for long: neither before it
// answers nor in the middle of it.
func TestRemoteThatDawdles(t *testing.T) {
	w, _ := newWorld(t, dbtest.SQLite(t))
	w.patience = 50 * time.Millisecond
	s := w.server()
	w.pull(s).delegate(w.supplier("brakes"), false, "brakes/*").mustPush(s)
	there := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/begin" {
			_, _ = w.Write([]byte("{"))
			_ = http.NewResponseController(w).Flush()
		}
		<-q.Context().Done() // the client has gone
	}))
	t.Cleanup(there.Close)
	for path, words := range map[string]string{"/": "took too long", "/begin": "broke off"} {
		wantFault(t, s.SetRemote(t.Context(), ns, "brakes", there.URL+path, nil, "", "x"), repo.ErrRemoteFetch, words)
	}
}

// What a remote server answers may be anything, and what a caller names may be
// anywhere.
func TestRemoteThatLies(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	brakes, there := w.supplier("brakes"), newElsewhere(t)
	w.pull(s).delegate(brakes, false, "brakes/*").mustPush(s)
	set := func(uri string, headers map[string]string) error {
		return s.SetRemote(t.Context(), ns, "brakes", uri, headers, "", "x")
	}
	for _, c := range []struct {
		name   string
		status int
		doc    []byte
		path   string
		want   *fault.Fault
	}{
		{"no such file", 404, nil, "/x", repo.ErrRemoteFetch},
		{"a redirect", http.StatusFound, nil, "/x", repo.ErrRemoteFetch},
		{"a page", 200, []byte("<html>"), "/x", repo.ErrRemoteParse},
		{"too much", 200, make([]byte, repo.MaxTargets+1), "/x", repo.ErrRemoteFetch},
		{"a bomb", 200, make([]byte, 10*repo.MaxTargets), "/x.gz", repo.ErrRemoteFetch},
		{"another's signature", 200, w.supplier("brakes").signedAs(1), "/x", repo.ErrDelegationKeys},
	} {
		there.status, there.doc = c.status, c.doc
		if err := set(there.URL+c.path, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	there.status, there.doc = 200, brakes.signedAs(1)
	asked := len(there.asked)
	for _, uri := range []string{"", "file:///etc/passwd", "gopher://x/", "http://", "https://user:password@example.com/", "http:///x"} {
		wantFault(t, set(uri, nil), repo.ErrInvalid)
	}
	for name, value := range map[string]string{"Host": "x", "a b": "x", "X": "a\r\nY: b", "Transfer-Encoding": "chunked", "": "x"} {
		wantFault(t, set(there.URL, map[string]string{name: value}), repo.ErrInvalid)
	}
	if len(there.asked) != asked {
		t.Error("asked all the same")
	}
	w.guard = true
	guarded := w.server()
	for _, uri := range []string{there.URL, "http://localhost:1/", "http://127.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest/meta-data",
		"http://10.0.0.1/", "http://192.168.1.1/", "http://172.16.0.1/", "http://100.64.0.1/", "http://0.0.0.0/", "http://[fd00::1]/", "http://[fe80::1]/", "http://[64:ff9b::7f00:1]/",
		"http://[64:ff9b::7f00:1%25lo]/", "http://[2002:7f00:1::%25lo]/"} {
		err := guarded.SetRemote(t.Context(), ns, "brakes", uri, nil, "", "x")
		wantFault(t, err, repo.ErrRemoteFetch)
		unreachable := !strings.Contains(uri, "%25") // a name that nothing resolves here
		if f := fault.Of(err); f != nil && !strings.Contains(f.Cause(), "not a public one") && !(unreachable && strings.Contains(f.Cause(), "cannot be reached")) {
			t.Errorf("%s: %s", uri, f.Cause())
		}
	}
	if _, err := guarded.FetchImage(t.Context(), ns, "fw-1", there.URL, "x"); !errors.Is(err, repo.ErrRemoteFetch) {
		t.Errorf("an image from inside: %v", err)
	}
	if len(there.asked) != asked {
		t.Error("a guarded server has asked")
	}
}
