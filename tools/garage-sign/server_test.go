package main

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/home"
	"sealift/uptane"
)

// repository is an image repository as the contract describes it: it verifies
// what is pushed and answers with the codes clients know.
type repository struct {
	t          *testing.T
	mu         sync.Mutex
	url        string
	roots      [][]byte // version 1 first
	targets    []byte
	tuf        bool              // offers the staging route
	staged     map[string][]byte // twins on their way, by role, version and who came last
	twins      map[string][]byte // twins published
	parts      map[string][]byte
	files      map[string][]byte
	partMax    int64
	whole      bool                             // knows no multipart
	before     func(w http.ResponseWriter) bool // true: has answered
	after      func(w http.ResponseWriter) bool // after a push was taken
	asked      []string                         // method and path of every request
	secret     string                           // what Authorization must be, "" for anything
	offline    *home.Home
	refuseRoot bool
	private    map[string][]byte // private keys by id, at servers that have some
	delegated  map[string][]byte
}

// newRepository starts a server whose offline keys lie in repo.offline.
func newRepository(t *testing.T, tuf bool) *repository {
	t.Helper()
	r := &repository{t: t, tuf: tuf, staged: map[string][]byte{}, twins: map[string][]byte{}, parts: map[string][]byte{}, files: map[string][]byte{}, partMax: 100}
	mux := http.NewServeMux()
	base := "/api/v1/user_repo/"
	mux.HandleFunc("GET "+base+"{name}", r.get)
	mux.HandleFunc("PUT "+base+"targets", r.putTargets)
	mux.HandleFunc("POST "+base+"root", r.postRoot)
	mux.HandleFunc("PUT "+base+"tuf/{role}", r.stage)
	mux.HandleFunc("POST "+base+"multipart/initiate/{file...}", r.initiate)
	mux.HandleFunc("GET "+base+"multipart/url/{file...}", r.partURL)
	mux.HandleFunc("PUT "+base+"multipart/part/{part}", r.putPart)
	mux.HandleFunc("PUT "+base+"multipart/complete/{file...}", r.complete)
	mux.HandleFunc("PUT "+base+"uploads/{file...}", func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Location", "/elsewhere/"+q.PathValue("file"))
		w.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("POST /oauth2/token", func(w http.ResponseWriter, q *http.Request) {
		if id, secret, _ := q.BasicAuth(); id == "builder" && secret == "s3cret" {
			io.WriteString(w, `{"access_token":"T"}`)
		}
	})
	mux.HandleFunc("PUT /elsewhere/{file...}", func(w http.ResponseWriter, q *http.Request) {
		r.files[q.PathValue("file")] = readBody(q)
	})
	r.upstream(mux, base)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked = append(r.asked, q.Method+" "+strings.TrimPrefix(q.URL.Path, base))
		if r.secret != "" && q.URL.Path != "/oauth2/token" && q.Header.Get("Authorization") != r.secret {
			refuse(w, 401, "unauthorized", nil)
			return
		}
		if r.before != nil && r.before(w) {
			return
		}
		mux.ServeHTTP(w, q)
	}))
	t.Cleanup(s.Close)
	r.url = s.URL
	r.begin()
	return r
}

// begin makes the first root and the first targets, as an operator would.
func (r *repository) begin() {
	r.t.Helper()
	h, err := home.Create(filepath.Join(r.t.TempDir(), "image"), home.Config{Reposerver: r.url, ServerType: home.RepoServer}, home.Options{Now: func() time.Time { return today }})
	check(r.t, err)
	keys := map[uptane.Role][]uptane.Key{}
	for _, role := range []uptane.Role{"root", "targets", "snapshot", "timestamp"} {
		key, err := h.Keys().Generate(string(role), home.Ed25519, 0, false)
		check(r.t, err)
		keys[role] = []uptane.Key{key}
	}
	check(r.t, h.InitRoot(home.RootSpec{Expires: today.Add(home.RootLife), Keys: keys}))
	root, err := h.SignRoot(r.t.Context(), home.Signing{Keys: []string{"root"}})
	check(r.t, err)
	check(r.t, h.InitTargets(0, today.Add(home.TargetsLife)))
	targets, err := h.SignTargets(r.t.Context(), home.Signing{Keys: []string{"targets"}})
	check(r.t, err)
	r.roots, r.targets, r.offline = [][]byte{root.Uptane}, targets.Uptane, h
}

func (r *repository) get(w http.ResponseWriter, q *http.Request) {
	role, version, err := uptane.ParseFilename(q.PathValue("name"))
	switch {
	case err == nil && role == uptane.RoleRoot && version == 0:
		w.Write(r.roots[len(r.roots)-1])
	case err == nil && role == uptane.RoleRoot && version <= len(r.roots):
		w.Write(r.roots[version-1])
	case err == nil && role == uptane.RoleTargets && version == 0:
		w.Header().Set("x-ats-role-checksum", home.ChecksumOf(r.targets))
		w.Write(r.targets)
	default:
		refuse(w, 404, "root_role_not_found", nil)
	}
}

func (r *repository) root() *metadata.RootType {
	d, err := uptane.OpenRoot(uptane.Uptane, r.roots[len(r.roots)-1], nil, time.Time{})
	check(r.t, err)
	return &d.Payload
}

func (r *repository) putTargets(w http.ResponseWriter, q *http.Request) {
	sum := q.Header.Get("x-ats-role-checksum")
	switch {
	case !uptane.KeyID(sum).Valid():
		refuse(w, 428, "role_checksum_not_provided", nil)
		return
	case sum != home.ChecksumOf(r.targets):
		refuse(w, 412, "role_checksum_mismatch", nil)
		return
	}
	ring, err := uptane.RingOf(uptane.Uptane, r.root(), uptane.RoleTargets)
	check(r.t, err)
	next, err := uptane.Open[metadata.TargetsType](uptane.Uptane, readBody(q), uptane.RoleTargets, ring, time.Time{})
	if err != nil {
		refuse(w, 400, "invalid_offline_targets", []string{err.Error()})
		return
	}
	old, err := uptane.Open[metadata.TargetsType](uptane.Uptane, r.targets, uptane.RoleTargets, ring, time.Time{})
	if err == nil && next.Payload.Version != old.Payload.Version+1 {
		refuse(w, 409, "invalid_version_bump", nil)
		return
	}
	if !r.publish(w, "targets", next.Signed) {
		return
	}
	r.targets = next.Raw
	if r.after != nil && r.after(w) {
		return
	}
	w.Header().Set("x-ats-role-checksum", home.ChecksumOf(r.targets))
	w.WriteHeader(204)
}

// publish takes the staged twin, which must say the same, where TUF is on.
func (r *repository) publish(w http.ResponseWriter, role string, signed []byte) bool {
	if !r.tuf {
		return true
	}
	twin, ok := r.staged[said(role, signed)]
	if !ok {
		refuse(w, 412, "tuf_twin_missing", nil)
		return false
	}
	if err := uptane.Twins(uptane.Role(role), signed, signedOf(twin)); err != nil {
		refuse(w, 400, "tuf_twin_differs", []string{err.Error()})
		return false
	}
	r.twins[role] = twin
	return true
}

// said is what a twin and its document have in common, so that several may wait.
func said(role string, signed []byte) string {
	var p struct {
		Version int64
		Targets map[string]struct{ Length int64 }
	}
	_ = json.Unmarshal(signed, &p)
	return fmt.Sprint(role, p.Version, slices.Sorted(maps.Keys(p.Targets)))
}

func signedOf(doc []byte) []byte {
	var d struct{ Signed json.RawMessage }
	_ = json.Unmarshal(doc, &d)
	return d.Signed
}

func (r *repository) postRoot(w http.ResponseWriter, q *http.Request) {
	next, err := uptane.OpenRoot(uptane.Uptane, readBody(q), r.root(), time.Time{})
	if err == nil && r.refuseRoot {
		err = errors.New("not today")
	}
	if err != nil {
		body, _ := json.Marshal(map[string]any{"code": "invalid_root_role", "description": "not valid", "errorId": "1",
			"cause": map[string]any{"code": "invalid_root_role", "description": "x", "cause": []string{"reason: " + err.Error(), "second reason"}}})
		w.WriteHeader(502)
		w.Write(body)
		return
	}
	if r.publish(w, "root", next.Signed) {
		r.roots = append(r.roots, next.Raw)
		for id := range r.private {
			if next.Payload.Keys[id] == nil {
				delete(r.private, id)
			}
		}
	}
}

func (r *repository) stage(w http.ResponseWriter, q *http.Request) {
	if !r.tuf {
		refuse(w, 404, "missing_entity", nil)
		return
	}
	doc := readBody(q)
	if q.PathValue("role") == "targets" {
		ring, err := uptane.RingOf(uptane.Uptane, r.root(), uptane.RoleTargets)
		check(r.t, err)
		if _, err := uptane.Open[metadata.TargetsType](uptane.TUF, doc, uptane.RoleTargets, ring, time.Time{}); err != nil {
			refuse(w, 400, "invalid_entity", []string{err.Error()})
			return
		}
	}
	r.staged[said(q.PathValue("role"), signedOf(doc))] = doc
	w.WriteHeader(204)
}

func (r *repository) initiate(w http.ResponseWriter, q *http.Request) {
	if r.whole {
		refuse(w, 501, "not_implemented", nil)
		return
	}
	if r.files[q.PathValue("file")] != nil && q.FormValue("force") != "true" {
		refuse(w, 409, "conflicting_entity", nil)
		return
	}
	fmt.Fprintf(w, `{"uploadId":"up/1","partSize":%d}`, r.partMax)
}

func (r *repository) partURL(w http.ResponseWriter, q *http.Request) {
	n, _ := strconv.ParseInt(q.FormValue("contentLength"), 10, 64)
	sum, err := base64.StdEncoding.DecodeString(q.FormValue("md5"))
	if n > r.partMax || err != nil || len(sum) != md5.Size || q.FormValue("uploadId") != "up/1" {
		refuse(w, 413, "payload_too_large", nil)
		return
	}
	fmt.Fprintf(w, `{"uri":"%s/api/v1/user_repo/multipart/part/%s?token=x"}`, r.url, q.FormValue("part"))
}

func (r *repository) putPart(w http.ResponseWriter, q *http.Request) {
	body := readBody(q)
	sum := md5.Sum(body)
	if q.Header.Get("Content-MD5") != base64.StdEncoding.EncodeToString(sum[:]) || q.ContentLength != int64(len(body)) {
		refuse(w, 400, "bad_digest", nil)
		return
	}
	tag := `"` + hex.EncodeToString(sum[:]) + `"`
	r.parts[tag] = body
	w.Header().Set("ETag", tag)
}

func (r *repository) complete(w http.ResponseWriter, q *http.Request) {
	var done struct {
		UploadID  string
		PartETags []struct {
			Part int
			ETag string
		}
	}
	if err := json.Unmarshal(readBody(q), &done); err != nil || done.UploadID != "up/1" {
		refuse(w, 400, "invalid_entity", nil)
		return
	}
	file := []byte{}
	for i, p := range done.PartETags {
		if p.Part != len(done.PartETags)-i {
			refuse(w, 400, "not_descending", nil)
			return
		}
		file = append(append([]byte{}, r.parts[p.ETag]...), file...)
	}
	r.files[q.PathValue("file")] = file
}

func refuse(w http.ResponseWriter, status int, code string, cause []string) {
	body, _ := json.Marshal(map[string]any{"code": code, "description": "the server says " + code, "cause": cause, "errorId": "1"})
	w.WriteHeader(status)
	w.Write(body)
}

func readBody(q *http.Request) []byte {
	body, _ := io.ReadAll(q.Body)
	return body
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// httpProxy passes everything on to the server at url.
func httpProxy(base string) http.Handler {
	u, err := url.Parse(base)
	if err != nil {
		panic(err)
	}
	return httputil.NewSingleHostReverseProxy(u)
}
