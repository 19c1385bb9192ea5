//go:build aktualizr

package interop

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures"
	"sealift/fixtures/fault"
	refusal "sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// limits of the client, in bytes.
const (
	smallLimit = 64 << 10 // root, Director targets, credentials
	largeLimit = 8 << 20  // image targets
)

// padded gives a signed part so many bytes more.
func padded(fields map[string]any, n int) map[string]any {
	out := map[string]any{"custom": map[string]any{"padding": strings.Repeat("x", n)}}
	for name, value := range fields {
		if name != "custom" {
			out[name] = value
		}
	}
	return out
}

// code is what a caller is told of an error that our server answers with.
func code(t *testing.T, err error) string {
	t.Helper()
	f := refusal.Of(err)
	if f == nil {
		t.Errorf("our server takes it, or breaks: %v", err)
		return ""
	}
	return f.Code()
}

// oversize: what is larger than the client reads cannot be published; the client
// itself gives it up.
func oversize(t *testing.T) string {
	l := startLiar(t)
	l.uploadBinaries(t, map[string]string{"app": "board", "lib": "board"})
	founders, said := l.founders(), []string{}
	for _, repository := range []uptane.Repository{directors, images} {
		b, id := l.newDevice(t, boardOptions{name: "truck-13-root-" + string(repository), hwid: "board"})
		l.launch(t, id, map[string]string{"board": "app-1"})
		large := l.nextRoot(t, repository, func(m *metadata.RootType) { m.UnrecognizedFields = padded(m.UnrecognizedFields, smallLimit) }, founders[repository])
		err := l.services.Vault.PutRoot(t.Context(), ns, repository, large)
		if repository == images {
			err = l.services.Repo.PutRoot(t.Context(), ns, large)
		}
		at := map[uptane.Repository]string{images: "/repo/2.root.json", directors: "/director/2.root.json"}[repository]
		l.Tell(fault.Serve(at, large))
		s := l.once(t, b) // to it that is a root that is not there
		if s.asked(at) != 3 || l.installed(t, id)[b.name+"-primary"] != "app-1" {
			t.Errorf("%s of %d bytes: %v\n%s", at, len(large), s.requests, s.log)
		}
		why := acceptance.RefusalOf(err)
		if why == nil || why.Rule != acceptance.RuleSize {
			t.Errorf("our server takes a %s root of %d bytes, or refuses it for something else: %v", repository, len(large), err)
			why = &acceptance.Refusal{}
		}
		said = append(said, fmt.Sprintf("%s root: gate says %s; 3 attempts, passed over", repository, why.Rule))
		l.launch(t, id, map[string]string{"board": "lib-1"})
		l.recovers(t, b, id, b.name+"-primary", "lib-1")
	}

	b, id := l.newDevice(t, boardOptions{name: "truck-13", hwid: "board"})
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.Tell(l.forgeDirector(t, id, func(m *metadata.TargetsType) { m.UnrecognizedFields["padding"] = strings.Repeat("x", smallLimit) }))
	s := l.once(t, b)
	s.refusedMetadata(t, "Director metadata update failed")
	if s.asked("/director/targets.json") != 3 {
		t.Errorf("Director targets: %v", s.requests)
	}
	l.recovers(t, b, id, "truck-13-primary", "app-1")

	pad := func(m *metadata.TargetsType) { m.UnrecognizedFields = padded(m.UnrecognizedFields, largeLimit) }
	doc, err := l.nextTargets(t, nil, pad)
	must(t, err)
	status, answer := l.ask(t, http.MethodPut, "/api/v1/user_repo/targets", doc, "x-ats-role-checksum", l.checksum(t), "Content-Type", "application/json")
	if status < 400 || status >= 500 {
		t.Errorf("our server takes image targets of %d bytes: %d %s", len(doc), status, answer)
	}
	b, id = l.newDevice(t, boardOptions{name: "truck-13-images", hwid: "board"}) // what is forged is older than what the other has seen
	l.launch(t, id, map[string]string{"board": "lib-1"})
	l.Tell(l.forge(t, fault.Forgery{Targets: pad}).Lies("/repo/")...)
	s = l.once(t, b)
	s.refusedMetadata(t, "Failed to update Image repo metadata")
	if s.asked("/repo/targets.json") != 3 {
		t.Errorf("image targets: %v", s.requests)
	}
	l.recovers(t, b, id, "truck-13-images-primary", "lib-1")
	l.largeCredentials(t)
	return strings.Join(append(said, fmt.Sprintf("Director targets (see 18) and image targets (push: %d): 3 attempts, no report", status), "p12: 3 attempts, each time; each recovers"), "; ")
}

// largeCredentials: an answer to the first request of all that is too long.
func (l *liar) largeCredentials(t *testing.T) {
	t.Helper()
	l.Tell(fault.Lie{Method: http.MethodPost, Path: "/devices", Answer: func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
		answer := httptest.NewRecorder()
		honest.ServeHTTP(answer, r)
		w.WriteHeader(answer.Code)
		_, _ = w.Write(append(answer.Body.Bytes(), make([]byte, smallLimit)...))
	}})
	b := newBoard(t, l.server, boardOptions{name: "truck-13-new", hwid: "board"})
	s := l.once(t, b)
	if n := s.asked("/devices"); n == 0 || n%3 != 0 || s.asked("/director/") > 0 {
		t.Errorf("credentials of more than 64 KiB: %v\n%s", s.requests, s.log)
	}
	l.Honest()
	b.once(t)
	id, _ := l.device(t, "truck-13-new")
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.recovers(t, b, id, "truck-13-new-primary", "app-1")
}

// privateKey makes a key of a kind.
func privateKey(t *testing.T, kind, name string) person {
	t.Helper()
	bits := map[string]int{"rsa2048": 2048, "rsa4096": 4096}[kind]
	if bits == 0 {
		return person{fixtures.Ed25519(name)}
	}
	k, err := rsa.GenerateKey(rand.Reader, bits)
	must(t, err)
	return person{crypto.Signer(k)}
}

// rekey gives every role of a repository keys of a kind. Of root, and of what is
// signed offline else, two keys must sign.
func (l *liar) rekey(t *testing.T, repository uptane.Repository, kind string, by uptane.Signer) (roots, targets everybody) {
	t.Helper()
	two := func(role string) (all everybody, public []uptane.Key) {
		for _, n := range []string{"first", "second"} {
			p := privateKey(t, kind, fmt.Sprint(repository, role, kind, n))
			all, public = append(all, p), append(public, p.public(t))
		}
		return all, public
	}
	roots, rootKeys := two("root")
	targets, targetsKeys := two("targets")
	online := []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp}
	if repository == directors {
		online = append(online, uptane.RoleTargets)
	}
	doc := l.nextRoot(t, repository, func(m *metadata.RootType) {
		hand(t, m, uptane.RoleRoot, 2, rootKeys...)
		if repository == images {
			hand(t, m, uptane.RoleTargets, 2, targetsKeys...)
		}
		for _, role := range online {
			k, err := l.services.Vault.GenerateOnline(t.Context(), ns, repository, role, kind)
			must(t, err)
			hand(t, m, role, 1, k)
		}
	}, by, roots)
	l.putRoot(t, repository, doc)
	return roots, targets
}

// keyKinds: keys of each kind that there may be, of all roles and of the devices,
// and of two keys both.
func keyKinds(t *testing.T) string {
	l := startLiar(t)
	kinds := []string{"rsa2048", "rsa4096", "ed25519"}
	hwids := map[string]string{"app": "board"}
	for _, kind := range kinds {
		hwids[kind] = "board"
	}
	l.uploadBinaries(t, hwids)
	signers := l.founders()
	var fleet []*board
	var sizes []string
	for i, kind := range kinds {
		var targets everybody
		for _, repository := range []uptane.Repository{images, directors} {
			roots, offline := l.rekey(t, repository, kind, signers[repository])
			if signers[repository] = roots; repository == images {
				targets = offline
			}
		}
		if err := l.publish(t, targets[:1], func(*metadata.TargetsType) {}); code(t, err) == "" {
			t.Errorf("one signature of two publishes targets: %v", err)
		}
		must(t, l.publish(t, targets, func(*metadata.TargetsType) {}))
		b, _ := l.newDevice(t, boardOptions{name: "truck-19-" + kind, hwid: "board", keyType: strings.ToUpper(kind)})
		fleet = append(fleet, b)
		for _, b := range fleet {
			id, _ := l.device(t, b.name)
			l.launch(t, id, map[string]string{"board": kind + "-1"})
			s := l.once(t, b)
			l.all(t, id, s.log, map[string]string{b.name + "-primary": kind + "-1"})
		}
		sizes = append(sizes, l.hasKeys(t, b, kind, i))
	}
	for _, b := range fleet {
		id, _ := l.device(t, b.name)
		l.launch(t, id, map[string]string{"board": "app-1"})
		l.recovers(t, b, id, b.name+"-primary", "app-1")
	}
	return fmt.Sprintf("all roles and the device %s; root and image targets 2 of 2; older devices follow each change; then app-1", strings.Join(sizes, ", then "))
}

// hasKeys fails unless what a device took is signed with keys of a kind, and its
// own key is one.
func (l *liar) hasKeys(t *testing.T, b *board, kind string, before int) string {
	t.Helper()
	for _, below := range []string{"/director/", "/repo/"} {
		have := l.Recorded(b.name, below)
		m, err := fault.Read[metadata.RootType](have[fmt.Sprintf("%d.root.json", before+2)], uptane.RoleRoot)
		must(t, err)
		for name := range m.Roles {
			ring, err := uptane.RingOf(uptane.Uptane, m, uptane.Role(name))
			must(t, err)
			other := func(k uptane.Key) bool {
				return !strings.EqualFold(strings.ReplaceAll(k.Algorithm(), "-", ""), kind)
			}
			if online := name == "snapshot" || name == "timestamp"; slices.ContainsFunc(ring.Keys, other) || !online && below == "/repo/" && ring.Threshold != 2 {
				t.Errorf("%s of %s: %d of %v", name, below, ring.Threshold, ring.Keys)
			}
		}
	}
	registered := l.ear.take("/director/ecus")
	if len(registered) == 0 {
		t.Fatal("nobody registered")
	}
	marker := map[bool]string{true: `"keytype":"ED25519"`, false: `"keytype":"RSA"`}[kind == "ed25519"]
	if !strings.Contains(string(registered[len(registered)-1]), marker) {
		t.Errorf("the device registered %s", registered[len(registered)-1])
	}
	return kind
}
