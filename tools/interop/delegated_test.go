//go:build aktualizr

package interop

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures/fault"
	"sealift/uptane"
)

// uploadBinaries makes an image NAME-1 of each name for its hardware id, in one
// push.
func (s *server) uploadBinaries(t *testing.T, hwids map[string]string) {
	t.Helper()
	zip, home := filepath.Join(s.dir, "sealift-out", "build.zip"), t.TempDir()
	step := func(args ...string) {
		s.run(t, nil, "garage-sign", append(args, "--repo", "tufrepo", "--home-dir", home)...)
	}
	step("init", "--credentials", zip)
	step("targets", "pull")
	file := filepath.Join(home, "image")
	for _, name := range slices.Sorted(maps.Keys(hwids)) {
		write(t, file, "content of "+name)
		step("targets", "upload", "-i", file, "--name", name, "--version", "1")
		step("targets", "add-uploaded", "-i", file, "--name", name, "--version", "1", "--hardwareids", hwids[name])
	}
	step("targets", "sign", "--expire-after", "1Y", "--key-name=targets")
	step("targets", "push")
}

// publish signs the next image targets and brings them to the server; nil means
// with the targets key.
func (l *liar) publish(t *testing.T, signer uptane.Signer, edit func(*metadata.TargetsType)) error {
	t.Helper()
	doc, err := l.nextTargets(t, signer, edit)
	must(t, err)
	_, err = l.services.Repo.PutTargets(t.Context(), ns, doc, l.checksum(t), "people")
	return err
}

func (l *liar) nextTargets(t *testing.T, signer uptane.Signer, edit func(*metadata.TargetsType)) ([]byte, error) {
	t.Helper()
	m, err := fault.Read[metadata.TargetsType](l.documents(t, images, "")["targets.json"], uptane.RoleTargets)
	must(t, err)
	m.Version++
	edit(m)
	if signer == nil {
		signer = l
	}
	return fault.Sign(t.Context(), signer, uptane.Job{Namespace: ns, Repository: images, Role: uptane.RoleTargets}, m)
}

// delegate makes targets delegate a pattern to a role of the supplier's.
func delegate(t *testing.T, to *metadata.TargetsType, role, pattern string, terminating bool) {
	t.Helper()
	d := delegation(t, role, pattern)
	d.Roles[0].Terminating = terminating
	if to.Delegations == nil {
		to.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	maps.Copy(to.Delegations.Keys, d.Keys)
	to.Delegations.Roles = append(to.Delegations.Roles, d.Roles...)
}

// delegated makes metadata of a role and brings them to the server as a supplier
// does.
func (l *liar) delegated(t *testing.T, role string, edit func(*metadata.TargetsType)) {
	t.Helper()
	m := metadata.Targets(time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)).Signed
	edit(&m)
	doc := l.sign(t, images, uptane.Role(role), &m)
	if status, answer := l.ask(t, http.MethodPut, "/api/v1/user_repo/delegations/"+role+".json", doc, "Content-Type", "application/json"); status >= 300 {
		t.Fatalf("metadata of %s: %d %s", role, status, answer)
	}
}

// delegatedImages: what suppliers sign reaches a Primary that has no Secondaries,
// wherever the client looks for it; our server assigns nothing else.
func delegatedImages(t *testing.T) string {
	l := startLiar(t)
	l.uploadBinaries(t, map[string]string{"app": "board", "firmware": "sensor", "radio": "board", "nested": "board", "ended": "board", "d/x/y": "board", "hidden": "board"})
	entry := map[string]*metadata.TargetFiles{}
	must(t, l.publish(t, nil, func(m *metadata.TargetsType) {
		for _, name := range []string{"radio-1", "nested-1", "ended-1", "d/x/y-1", "hidden-1"} {
			entry[name] = m.Targets[name]
			delete(m.Targets, name)
		}
		delegate(t, m, "radio", "radio-*", false)
		delegate(t, m, "outer", "nested-*", false)
		delegate(t, m, "last", "ended-*", true)
		delegate(t, m, "folder", "d/*", false)
		delegate(t, m, "lid", "hidden-*", true)
	}))
	lists := func(name string) func(*metadata.TargetsType) {
		return func(m *metadata.TargetsType) { m.Targets[name] = entry[name] }
	}
	l.delegated(t, "radio", lists("radio-1"))
	l.delegated(t, "outer", func(m *metadata.TargetsType) { delegate(t, m, "inner", "nested-*", false) })
	l.delegated(t, "inner", lists("nested-1"))
	l.delegated(t, "last", lists("ended-1"))
	l.delegated(t, "folder", lists("d/x/y-1"))
	l.delegated(t, "lid", func(m *metadata.TargetsType) { delegate(t, m, "chest", "hidden-*", false) })
	l.delegated(t, "chest", lists("hidden-1"))

	b, id := l.newDevice(t, boardOptions{name: "truck-12", hwid: "board"})
	for _, c := range []struct {
		image string
		asked []string
	}{
		{"radio-1", []string{"radio"}}, {"nested-1", []string{"outer", "inner"}}, {"ended-1", []string{"last"}}, {"d/x/y-1", []string{"folder"}},
	} {
		l.launch(t, id, map[string]string{"board": c.image})
		s := l.once(t, b)
		var asked []string
		for _, r := range s.requests {
			if role, ok := roleIn(r.Path); ok && r.Status == http.StatusOK {
				asked = append(asked, role)
			}
		}
		if !slices.Equal(asked, c.asked) {
			t.Errorf("%s: the client asked for delegations %v, want %v\n%s", c.image, asked, c.asked, s.log)
		}
		l.all(t, id, s.log, map[string]string{"truck-12-primary": c.image})
	}
	l.belowTheEnd(t, b, id, entry["hidden-1"])
	code := l.delegatedToSecondaries(t, entry["radio-1"])
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.recovers(t, b, id, "truck-12-primary", "app-1")
	return "1 level, nested, in a terminating role, d/* for d/x/y-1: installed; below a terminating role: refused; served nevertheless: VERIFICATION_FAILED; with a Secondary: " + code + "; then app-1"
}

// roleIn is the delegated role whose metadata a path is for.
func roleIn(path string) (role string, ok bool) {
	match, _ := filepath.Match("/repo/delegations/*.json", path)
	if !match {
		return "", false
	}
	return path[len("/repo/delegations/") : len(path)-len(".json")], true
}

// belowTheEnd: what only roles below a terminating one list is found by other
// clients, not by this one.
func (l *liar) belowTheEnd(t *testing.T, b *board, id string, hidden *metadata.TargetFiles) {
	t.Helper()
	if status, answer := l.tryAssign(t, id, map[string]string{"board": "hidden-1"}); status != http.StatusBadRequest || !strings.Contains(string(answer.Cause), "chest is below lid") {
		t.Errorf("our server assigns what this client does not find: %d %s", status, answer.Cause)
	}
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.Tell(l.forgeDirector(t, id, func(m *metadata.TargetsType) { replace(m, "app-1", "hidden-1", hidden) }))
	s := l.once(t, b)
	s.says(t, "No matching target in Image repo Targets metadata")
	s.failedUpdate(t, "VERIFICATION_FAILED")
	l.Honest()
}

// replace puts another image into the Director's targets, for the same ECUs.
func replace(m *metadata.TargetsType, name, by string, image *metadata.TargetFiles) {
	with := *m.Targets[name]
	with.Hashes, with.Length = image.Hashes, image.Length
	delete(m.Targets, name)
	m.Targets[by] = &with
}

type assigned struct {
	Cause       json.RawMessage
	Affected    []string
	NotAffected map[string]map[string]struct{ Code string }
}

// tryAssign assigns images, which may be refused.
func (l *liar) tryAssign(t *testing.T, device string, targets map[string]string) (status int, answer assigned) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"name": t.Name(), "targets": targets, "devices": []string{device}})
	must(t, err)
	status, raw := l.ask(t, http.MethodPost, "/api/v1/updates", body)
	must(t, json.Unmarshal(raw, &answer))
	return status, answer
}

// delegatedToSecondaries: a device with a Secondary would give the whole update
// up, so our server does not assign it.
func (l *liar) delegatedToSecondaries(t *testing.T, radio *metadata.TargetFiles) string {
	t.Helper()
	b, id := l.newDevice(t, boardOptions{name: "truck-12s", hwid: "board", secondaries: 1})
	_, answer := l.tryAssign(t, id, map[string]string{"board": "radio-1"})
	codes := map[string]bool{}
	for _, why := range answer.NotAffected[id] {
		codes[why.Code] = true
	}
	if len(answer.Affected) > 0 || !codes["target_delegated"] {
		t.Errorf("our server assigns a delegated image to a device with a Secondary: %+v", answer)
	}
	both := map[string]string{"board": "app-1", "sensor": "firmware-1"}
	l.launch(t, id, both)
	l.assigned(t, id) // a version that the device never sees: what is forged takes its number
	must(t, l.cancelAll(t, id))
	l.launch(t, id, both)
	l.Tell(l.forgeDirector(t, id, func(m *metadata.TargetsType) { replace(m, "app-1", "radio-1", radio) }))
	s := l.once(t, b)
	s.failedUpdate(t, "sensor:VERIFICATION_FAILED")
	for ecu, image := range l.installed(t, id) {
		if image == "radio-1" || image == "firmware-1" {
			t.Errorf("%s runs %s\n%s", ecu, image, s.log)
		}
	}
	l.launch(t, id, both)
	l.recovers(t, b, id, "truck-12s-primary", "app-1")
	return fmt.Sprint("target_delegated; served nevertheless: ", s.reports[0].Result.Code, ", nothing installed")
}
