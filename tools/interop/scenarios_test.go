//go:build aktualizr

package interop

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The numbers are those of the device test plan.
func TestScenarios(t *testing.T) {
	// These take minutes, beside the others: limits of the client, a hundred keys.
	scenario(t, "18", "100 Secondaries in one assignment", hundredSecondaries)
	scenario(t, "9", "freeze: metadata that never comes", hangingMetadata)
	scenario(t, "9b", "slow retrieval: an image at 2 KB/s", slowImage)
	scenario(t, "1", "provision with shared credentials", provisionShared)
	scenario(t, "1a", "name taken, then the operator resets the device", nameTaken)
	scenario(t, "1a2", "name taken, the client draws another each time", randomNames)
	scenario(t, "1b", "credentials made by aktualizr-cert-provider, own CA", madeCredentials)
	scenario(t, "1c", "encodings of the credentials", p12Variants)
	scenario(t, "2", "ECU set grows and shrinks", reRegister)
	scenario(t, "3", "OSTree update of the Primary, with reboot", updateOSTree)
	scenario(t, "4", "binary update of a Secondary, then of both", updateSecondaries)
	scenario(t, "5", "both roots rotated while off: 1 step, 3 steps", rotatedWhileOff)
	scenario(t, "5a", "rotations, then a new Secondary", newSecondary)
	scenario(t, "5b", "a root of the new key only; a gap", brokenRotation)
	scenario(t, "6", "expired metadata, each role in turn", expired)
	scenario(t, "7", "replay: older Director targets, older timestamp", replayed)
	scenario(t, "7a", "replay: snapshot and targets, newer timestamp", replayedTogether)
	scenario(t, "8", "mix and match: the repositories disagree", mixed)
	scenario(t, "9c", "freeze: a new root is withheld", withheldRoot)
	scenario(t, "10", "interrupted downloads", brokenDownloads)
	scenario(t, "11", "images on other servers, redirects", customURI)
	scenario(t, "12", "delegated images", delegatedImages)
	scenario(t, "13", "oversize: roots, targets, credentials", oversize)
	scenario(t, "14", "events: 500, 400, lost answer, 404, 413", eventTroubles)
	scenario(t, "15", "manifest: lost answer, 500", manifestTroubles)
	scenario(t, "16", "same Director version, other content", sameVersion)
	scenario(t, "17", "names that are not ASCII", foreignLetters)
	scenario(t, "19", "kinds of keys, two of two", keyKinds)
	scenario(t, "20", "pinned roots: no trust on first use", pinnedRoots)
	scenario(t, "21", "what the client of before 2020.6 asks", olderClient)
	scenario(t, "gp", "the C++ garage-push with a token", realGaragePush)
	scenario(t, "gc", "the C++ garage-check with a token", realGarageCheck)
}

// expect fails unless text occurs in the requests since mark.
func expect(t *testing.T, s *server, mark int, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if s.log.saw(mark, text) == 0 {
			t.Errorf("the device did not ask %q; it asked\n%v", text, s.log.requests(mark))
		}
	}
}

func provisionShared(t *testing.T) string {
	s := startServer(t)
	b := newBoard(t, s, boardOptions{hwid: "board", mode: "SharedCred"})
	mark := s.log.mark()
	b.once(t)
	expect(t, s, mark, "POST /devices 200", "POST /director/ecus 20", "PUT /director/manifest 200", "GET /director/1.root.json 200",
		"GET /director/2.root.json 404", "GET /director/targets.json 200", "PUT /core/installed 20", "PUT /system_info/network 20", "POST /system_info/config 20")
	if names := zipNames(t, filepath.Join(b.dir, "device.zip")); slices.Contains(names, "autoprov_credentials.p12") {
		t.Error("the client kept its shared certificate: it did not take the new one for good")
	}
	_, name := s.device(t, "")
	mark = s.log.mark()
	out := b.once(t)
	var idle []string
	for _, r := range s.log.requests(mark) {
		idle = append(idle, r.String())
	}
	want := []string{"PUT /director/manifest 200", "GET /director/2.root.json 404", "GET /director/targets.json 200"}
	if !slices.Equal(idle, want) {
		t.Errorf("an idle cycle is %q, want %q\n%s", idle, want, out)
	}
	return fmt.Sprintf("%s; idle cycle of %d requests", name, len(idle))
}

func nameTaken(t *testing.T) string {
	s := startServer(t)
	first := newBoard(t, s, boardOptions{name: "truck-1", hwid: "board"})
	first.once(t)
	// The same board, flashed anew: its name is fixed, its keys are gone.
	again := newBoard(t, s, boardOptions{name: "truck-1", hwid: "board"})
	mark := s.log.mark()
	defer again.daemon(t)()
	eventually(t, "two refusals", func() bool { return s.log.saw(mark, "POST /devices 409") >= 2 })
	refused := s.log.saw(mark, "POST /devices 409")
	s.run(t, nil, "sealift", "device", "reset", "truck-1")
	eventually(t, "the manifest of the new life", func() bool { return s.log.saw(mark, "PUT /director/manifest 200") >= 1 })
	expect(t, s, mark, "POST /devices 200", "POST /director/ecus 20")
	return fmt.Sprintf("%d refusals, then back under its name", refused)
}

func reRegister(t *testing.T) string {
	s := startServer(t)
	b := newBoard(t, s, boardOptions{name: "truck-2", hwid: "board", secondaries: 1})
	b.once(t)
	id, _ := s.device(t, "truck-2")
	counts := []int{len(s.installed(t, id))}
	for _, n := range []int{2, 1} {
		b.writeSecondaries(t, n)
		mark := s.log.mark()
		b.once(t)
		expect(t, s, mark, "POST /director/ecus 200", "PUT /director/manifest 200")
		counts = append(counts, len(s.installed(t, id)))
	}
	if !slices.Equal(counts, []int{2, 3, 2}) {
		t.Errorf("the server knew %v ECUs, want 2, 3, 2", counts)
	}
	return fmt.Sprintf("%v ECUs", counts)
}

func updateOSTree(t *testing.T) string {
	s := startServer(t)
	repo := filepath.Join(t.TempDir(), "repo")
	commitTree(t, repo, "factory", "as flashed")
	b := newBoard(t, s, boardOptions{name: "truck-3", hwid: "board", ostree: true})
	b.makeSysroot(t, repo, "factory")
	b.once(t)
	id, _ := s.device(t, "truck-3")
	commit := commitTree(t, repo, "release", strings.Repeat("new content\n", 1000))
	s.run(t, nil, "garage-push", "--repo", repo, "--ref", "release", "--credentials", filepath.Join(s.dir, "sealift-out", "build.zip"))
	s.sign(t, "add", "--name", "os", "--version", commit, "--format", "OSTREE", "--length", "0", "--sha256", commit, "--hardwareids", "board")
	update := s.launch(t, id, map[string]string{"board": "os-" + commit})
	mark := s.log.mark()
	log := b.once(t)
	objects := s.log.saw(mark, "GET /treehub/objects/")
	if objects == 0 {
		t.Fatalf("nothing was pulled:\n%s", log)
	}
	b.reboot(t)
	b.once(t)
	if got := s.installed(t, id)["truck-3-primary"]; got != "os-"+commit {
		t.Errorf("the Primary reports %q after the reboot", got)
	}
	if got := s.assignments(t, update)["truck-3-primary"]; !strings.EqualFold(got, "installed") {
		t.Errorf("the assignment is %q", got)
	}
	events := s.events(t, id)
	for _, e := range []string{"EcuDownloadStarted", "EcuDownloadCompleted", "EcuInstallationStarted", "EcuInstallationApplied", "EcuInstallationCompleted"} {
		if events[e] != 1 {
			t.Errorf("%d events %s; all: %v", events[e], e, events)
		}
	}
	return fmt.Sprintf("commit %.8s, %d object requests", commit, objects)
}

func updateSecondaries(t *testing.T) string {
	s := startServer(t)
	b := newBoard(t, s, boardOptions{name: "truck-4", hwid: "board", secondaries: 1})
	b.once(t)
	id, _ := s.device(t, "truck-4")
	s.uploadBinary(t, "firmware", "1", "sensor", "firmware one")
	first := s.launch(t, id, map[string]string{"sensor": "firmware-1"})
	b.once(t)
	s.uploadBinary(t, "firmware", "2", "sensor", "firmware two")
	s.uploadBinary(t, "app", "1", "board", "application one")
	second := s.launch(t, id, map[string]string{"sensor": "firmware-2", "board": "app-1"})
	log := b.once(t)
	b.once(t)
	want := map[string]string{"truck-4-primary": "app-1", "truck-4-sensor-1": "firmware-2"}
	for ecu, image := range s.installed(t, id) {
		if image != want[ecu] {
			t.Errorf("%s reports %q, want %q\n%s", ecu, image, want[ecu], log)
		}
	}
	for _, update := range []string{first, second} {
		for ecu, status := range s.assignments(t, update) {
			if !strings.EqualFold(status, "installed") {
				t.Errorf("update %s on %s: %q", update, ecu, status)
			}
		}
	}
	return "RSA Secondary; 1, then 2 ECUs in one assignment"
}

func pinnedRoots(t *testing.T) string {
	s := startServer(t)
	b := newBoard(t, s, boardOptions{name: "truck-20", hwid: "board", pin: true})
	mark := s.log.mark()
	b.once(t)
	id, _ := s.device(t, "truck-20")
	s.uploadBinary(t, "app", "1", "board", "application one")
	s.launch(t, id, map[string]string{"board": "app-1"})
	b.once(t)
	if n := s.log.saw(mark, "GET /director/1.root.json") + s.log.saw(mark, "GET /repo/1.root.json"); n != 0 {
		t.Errorf("a pinned device asked for 1.root.json %d times", n)
	}
	if got := s.installed(t, id)["truck-20-primary"]; got != "app-1" {
		t.Errorf("the Primary reports %q", got)
	}
	return "no 1.root.json asked, app-1 installed"
}

func realGaragePush(t *testing.T) string {
	s := startServer(t)
	repo := filepath.Join(t.TempDir(), "repo")
	commit := commitTree(t, repo, "main", "x")
	zip, ca := filepath.Join(s.dir, "sealift-out", "build.zip"), filepath.Join(s.dir, "sealift-out", "server_ca.pem")
	start := time.Now()
	out, err := s.realTool(t, "garage-push", "--repo", repo, "--ref", "main", "--credentials", zip, "--cacert", ca)
	if err != nil || !strings.Contains(out, "Upload to Treehub complete") {
		t.Fatalf("garage-push: %v\n%s", err, out)
	}
	took := time.Since(start)
	again, err := s.realTool(t, "garage-push", "--repo", repo, "--ref", "main", "--credentials", zip, "--cacert", ca)
	if err != nil || !strings.Contains(again, "after 1 HEAD requests and 0 PUT requests") {
		t.Errorf("pushing again: %v\n%s", err, again)
	}
	return fmt.Sprintf("commit %.8s in %v, again with one HEAD", commit, took.Round(time.Millisecond))
}

func realGarageCheck(t *testing.T) string {
	s := startServer(t)
	repo := filepath.Join(t.TempDir(), "repo")
	commit := commitTree(t, repo, "main", "x")
	zip, ca := filepath.Join(s.dir, "sealift-out", "build.zip"), filepath.Join(s.dir, "sealift-out", "server_ca.pem")
	check := func(more ...string) (string, error) {
		return s.realTool(t, "garage-check", append([]string{"--ref", commit, "--credentials", zip, "--cacert", ca}, more...)...)
	}
	if out, err := check(); err == nil {
		t.Errorf("garage-check passed before anything was pushed\n%s", out)
	}
	s.run(t, nil, "garage-push", "--repo", repo, "--ref", "main", "--credentials", zip)
	if out, err := check(); err == nil {
		t.Errorf("garage-check passed before anything was signed\n%s", out)
	}
	s.sign(t, "add", "--name", "os", "--version", "1", "--format", "OSTREE", "--length", "0", "--sha256", commit, "--hardwareids", "board")
	if out, err := check(); err != nil {
		t.Errorf("garage-check: %v\n%s", err, out)
	}
	if out, err := check("--walk-tree"); err != nil {
		t.Errorf("garage-check --walk-tree: %v\n%s", err, out)
	}
	return "refused before push and before signing, passes after, also --walk-tree"
}
