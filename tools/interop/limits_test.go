//go:build aktualizr

package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures/fault"
	"sealift/uptane"
)

// foreignLetters: a name that is not ASCII never gets as far as a device.
func foreignLetters(t *testing.T) string {
	l := startLiar(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-17", hwid: "board"})
	l.uploadBinary(t, "app", "1", "board", "application one")
	zip, home := filepath.Join(l.dir, "sealift-out", "build.zip"), t.TempDir()
	file := filepath.Join(home, "image")
	write(t, file, "application one")
	repo := []string{"--repo", "tufrepo", "--home-dir", home}
	l.run(t, nil, "garage-sign", append([]string{"init", "--credentials", zip}, repo...)...)
	l.run(t, nil, "garage-sign", append([]string{"targets", "pull"}, repo...)...)
	var said []string
	for _, step := range [][]string{
		{"targets", "upload", "-i", file, "--name", "aplikacja-żółta", "--version", "1"},
		{"targets", "add", "--name", "aplikacja-żółta", "--version", "1", "--length", "15", "--sha256", sha256Hex("application one"), "--hardwareids", "board"},
	} {
		out := l.fails(t, "garage-sign", append(step, repo...)...)
		if !strings.Contains(out, "ASCII") {
			t.Errorf("garage-sign %s says %q", step[1], out)
		}
		said = append(said, "garage-sign targets "+step[1])
	}
	for _, c := range []struct {
		what, method, path string
		body               []byte
	}{
		{"upload", http.MethodPost, "/api/v1/user_repo/multipart/initiate/aplikacja-%C5%BC", nil},
		{"push", http.MethodPut, "/api/v1/user_repo/targets", l.foreignTargets(t)},
	} {
		status, answer := l.ask(t, c.method, c.path, c.body, "x-ats-role-checksum", l.checksum(t), "Content-Type", "application/json", "Content-Length", strconv.Itoa(len(c.body)))
		var fault struct{ Code string }
		if _ = json.Unmarshal(answer, &fault); status < 400 || status >= 500 || fault.Code == "" {
			t.Errorf("%s: %d %s", c.what, status, answer)
		}
		said = append(said, fmt.Sprintf("%s: %d %s", c.what, status, fault.Code))
	}
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.recovers(t, b, id, "truck-17-primary", "app-1")
	return "refused by " + strings.Join(said, "; ") + "; then app-1"
}

// fails runs one of our own programs and wants it to fail.
func (s *server) fails(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := s.command(t.Context(), nil, name, args...).CombinedOutput()
	if err == nil {
		t.Errorf("%s %s did not fail:\n%s", name, strings.Join(args, " "), out)
	}
	return string(out)
}

// foreignTargets are targets with a name in Polish, otherwise good, signed with
// the offline key: no program of ours makes them.
func (l *liar) foreignTargets(t *testing.T) []byte {
	t.Helper()
	envelope, err := uptane.ParseEnvelope(uptane.Uptane, l.documents(t, images, "")["targets.json"])
	must(t, err)
	signed := strings.Replace(string(envelope.Signed), `"app-1":{`, `"app-\u017c":{`, 1)
	m, err := fault.Read[metadata.TargetsType](l.documents(t, images, "")["targets.json"], uptane.RoleTargets)
	must(t, err)
	signed = strings.Replace(signed, fmt.Sprintf(`"version":%d}`, m.Version), fmt.Sprintf(`"version":%d}`, m.Version+1), 1)
	sigs, err := l.Sign(t.Context(), uptane.Job{Namespace: ns, Repository: images, Role: uptane.RoleTargets}, []byte(signed))
	must(t, err)
	return uptane.Frame(uptane.Uptane, []byte(signed), sigs...)
}

func (l *liar) checksum(t *testing.T) string {
	t.Helper()
	return sha256Hex(string(l.documents(t, images, "")["targets.json"]))
}

// hundredSecondaries: one assignment for 100 Secondaries, and one that no client
// could read.
func hundredSecondaries(t *testing.T) string {
	l := startLiar(t)
	kind := func(i int) string { return fmt.Sprintf("sensor-%03d-%s", i, strings.Repeat("k", 185)) }
	b := newBoard(t, l.server, boardOptions{name: "truck-18", hwid: "board"})
	b.patience = 8 * time.Minute
	b.secondaryKind = kind
	b.writeSecondaries(t, 100)
	b.once(t)
	id, _ := l.device(t, "truck-18")
	var kinds []string
	all, each := map[string]string{}, map[string]string{}
	for i := range 100 {
		kinds = append(kinds, kind(i+1))
		all[kind(i+1)] = "firmware-1"
		each[kind(i+1)] = fmt.Sprintf("%s-%d", strings.Repeat("n", 240), i+1)
	}
	l.uploadBinary(t, "firmware", "1", strings.Join(kinds, ","), "firmware one")
	l.launch(t, id, all)
	size := len(l.documents(t, directors, id)["targets.json"])
	s := l.once(t, b)
	have := l.installed(t, id)
	for ecu, image := range have {
		if strings.Contains(ecu, "sensor") && image != "firmware-1" {
			t.Errorf("%s runs %q", ecu, image)
		}
	}
	if size >= 64<<10 || len(have) != 101 {
		t.Errorf("targets of %d bytes, %d ECUs\n%.4000s", size, len(have), s.log)
	}
	l.signMany(t, kinds)
	fit, wide := l.asManyAsFit(t, b, id, each)
	l.uploadBinary(t, "app", "1", "board", "application one")
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.recovers(t, b, id, "truck-18-primary", "app-1")
	return fmt.Sprintf("100 Secondaries: %d bytes, all installed; 100 long names: %d fit into %d bytes and are read, the others refused with targets_too_large; then app-1", size, fit, wide)
}

// asManyAsFit assigns what no client could read: as many ECUs as fit get their
// image, the others a reason.
func (l *liar) asManyAsFit(t *testing.T, b *board, id string, targets map[string]string) (fit, size int) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"name": "too much", "targets": targets, "devices": []string{id}})
	must(t, err)
	status, answer := l.ask(t, http.MethodPost, "/api/v1/updates", body)
	var out struct {
		NotAffected map[string]map[string]struct{ Code string }
	}
	must(t, json.Unmarshal(answer, &out))
	for ecu, why := range out.NotAffected[id] {
		if why.Code != "targets_too_large" {
			t.Errorf("%s is refused: %q", ecu, why.Code)
		}
	}
	fit, size = len(l.assigned(t, id).Targets), len(l.documents(t, directors, id)["targets.json"])
	if refused := len(out.NotAffected[id]); status != http.StatusCreated || refused == 0 || fit+refused != len(targets) || size > 64<<10 {
		t.Errorf("%d: %d targets of %d bytes, %d refused: %s", status, fit, size, refused, answer)
	}
	s := l.observe(t, b, "check")
	s.says(t, fmt.Sprintf("%d new updates found in both Director and Image repo metadata", fit))
	must(t, l.cancelAll(t, id))
	return fit, size
}

// signMany lists an image with a long name for each hardware id.
func (l *liar) signMany(t *testing.T, kinds []string) {
	t.Helper()
	zip, home := filepath.Join(l.dir, "sealift-out", "build.zip"), t.TempDir()
	step := func(args ...string) {
		l.run(t, nil, "garage-sign", append(args, "--repo", "tufrepo", "--home-dir", home)...)
	}
	step("init", "--credentials", zip)
	step("targets", "pull")
	for i, kind := range kinds {
		step("targets", "add", "--name", strings.Repeat("n", 240), "--version", strconv.Itoa(i+1), "--length", "15", "--sha256", sha256Hex(kind), "--hardwareids", kind, "--url", "https://downloads.example.com/"+strconv.Itoa(i))
	}
	step("targets", "sign", "--expire-after", "1Y", "--key-name=targets")
	step("targets", "push")
}
