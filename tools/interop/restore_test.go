//go:build aktualizr

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRestore(t *testing.T) {
	scenario(t, "restore", "restore: an old backup under newer devices", restoreBackup)
}

// serve runs the built server until the function it returns is called; with
// kill nothing is finished.
func (s *server) serve(t *testing.T, settings []string) (stop func(kill bool)) {
	t.Helper()
	c := exec.Command(filepath.Join(ours, "sealift"), "serve")
	c.Dir, c.Env, c.Stderr = s.dir, s.env(settings), s.log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := false
	stop = func(kill bool) {
		if done {
			return
		}
		done = true
		signal := os.Signal(os.Interrupt)
		if kill {
			signal = os.Kill
		}
		_ = c.Process.Signal(signal)
		_ = c.Wait()
		s.client.CloseIdleConnections()
	}
	t.Cleanup(func() { stop(false) })
	s.awaitHealth(t)
	return stop
}

// rotate gives a repository new root keys.
func (s *server) rotate(t *testing.T, repository, from, to string) {
	t.Helper()
	env := []string{"GARAGE_SIGN_PASSPHRASE=" + offlinePassphrase}
	for _, args := range [][]string{
		{"root", "pull"}, {"key", "generate", "--name", to}, {"root", "key", "add", "--key-name", to},
		{"root", "key", "remove", "--key-name", from}, {"root", "sign", "--key-name", to, "--old-root-alias", from}, {"root", "push"},
	} {
		s.run(t, env, "garage-sign", append(args, "--home-dir", "sealift-offline", "--repo", repository)...)
	}
}

// restoreBackup: a backup is restored under a device that has seen newer roots,
// images and versions far ahead of the clock, and one that came afterwards.
func restoreBackup(t *testing.T) string {
	s, settings := initServer(t)
	stop := s.serve(t, settings)
	old := newBoard(t, s, boardOptions{name: "truck-r1", hwid: "board", pin: true})
	old.once(t)
	id, _ := s.device(t, "truck-r1")
	install := func(version string, boards ...*board) string {
		t.Helper()
		s.uploadBinary(t, "app", version, "board", "application "+version)
		log := ""
		for _, b := range boards {
			device, _ := s.device(t, b.name)
			s.launch(t, device, map[string]string{"board": "app-" + version})
			log += b.once(t) + b.once(t)
			if got := s.installed(t, device)[b.name+"-primary"]; got != "app-"+version {
				t.Errorf("%s reports %q, not app-%s\n%s", b.name, got, version, log)
			}
		}
		return log
	}
	install("1", old)
	s.run(t, settings, "sealift", "backup", "backup")

	// What the backup does not know.
	s.rotate(t, "image", "root", "root2")
	s.rotate(t, "director", "root", "root2")
	for _, version := range []string{"2", "3", "4"} {
		install(version, old)
	}
	s.run(t, nil, "garage-sign", "targets", "pull", "--home-dir", "sealift-offline", "--repo", "image")
	late := newBoard(t, s, boardOptions{name: "truck-r2", hwid: "board", pin: true})
	late.once(t)
	stop(true)
	if err := os.Rename(filepath.Join(s.dir, "sealift-data"), filepath.Join(s.dir, "lost")); err != nil {
		t.Fatal(err)
	}

	// The mere files, served: this test can fail.
	copyTree(t, filepath.Join(s.dir, "backup"), filepath.Join(s.dir, "sealift-data"))
	if err := os.Remove(filepath.Join(s.dir, "sealift-data", "backup.json")); err != nil {
		t.Fatal(err)
	}
	stop = s.serve(t, settings)
	if log := old.once(t); !rolledBack(log) {
		t.Errorf("the device takes what is older than what it has:\n%s", log)
	}
	stop(false)
	if err := os.RemoveAll(filepath.Join(s.dir, "sealift-data")); err != nil {
		t.Fatal(err)
	}

	// Without the offline folder: nothing, rather than what is old.
	s.run(t, settings, "sealift", "restore", "backup")
	stop = s.serve(t, settings)
	mark := s.log.mark()
	if log := old.once(t); rolledBack(log) {
		t.Errorf("the device has seen something go back:\n%s", log)
	}
	expect(t, s, mark, "PUT /director/manifest 200", "GET /director/3.root.json 503")
	withheld := s.log.saw(mark, "GET /director/")
	if n := s.log.saw(mark, "GET /director/targets.json 200") + s.log.saw(mark, "GET /repo/targets.json 200"); n > 0 {
		t.Errorf("%d documents were served by a repository that is behind", n)
	}
	shown := s.run(t, settings, "sealift", "recovery", "show")
	for _, want := range []string{"director repository serves nothing to devices: root 1 is here, 2 exists, as device truck-r1 shows",
		"image repository serves nothing to devices: targets 2 is here, 3 exists"} {
		if !strings.Contains(shown, want) {
			t.Errorf("recovery show does not say %q:\n%s", want, shown)
		}
	}
	stop(false)

	// With it: everything goes on above what was seen.
	s.run(t, settings, "sealift", "restore", "--in-place", "--backup-time", "2026-01-02T03:04:05Z", "--offline", "sealift-offline")
	stop = s.serve(t, settings)
	mark = s.log.mark()
	if log := old.once(t); rolledBack(log) {
		t.Errorf("the device has seen something go back:\n%s", log)
	}
	expect(t, s, mark, "GET /director/targets.json 200")
	if log := install("5", old); rolledBack(log) {
		t.Errorf("the device has seen something go back:\n%s", log)
	}

	// The one that came later is let in, and registers once more.
	mark = s.log.mark()
	late.once(t)
	if s.log.saw(mark, "PUT /director/manifest 401") == 0 {
		t.Errorf("a certificate that the server does not know: %v", s.log.requests(mark))
	}
	s.run(t, settings, "sealift", "device", "adopt", "truck-r2")
	late.once(t)
	if shown := s.run(t, settings, "sealift", "recovery", "show"); !strings.Contains(shown, "truck-r2") {
		t.Errorf("recovery show does not name truck-r2:\n%s", shown)
	}
	if out, err := exec.Command("sqlite3", filepath.Join(late.dir, "storage", "sql.db"), "DELETE FROM ecus;").CombinedOutput(); err != nil {
		t.Fatalf("sqlite3: %v\n%s", err, out)
	}
	mark = s.log.mark()
	late.once(t)
	expect(t, s, mark, "POST /director/ecus 201", "PUT /director/manifest 200")
	if log := install("6", old, late); rolledBack(log) {
		t.Errorf("a device has seen something go back:\n%s", log)
	}
	if shown := s.run(t, settings, "sealift", "recovery", "show"); strings.Contains(shown, "serves nothing") || strings.Contains(shown, "truck-r2") {
		t.Errorf("at the end:\n%s", shown)
	}
	if got := s.installed(t, id)["truck-r1-primary"]; got != "app-6" {
		t.Errorf("truck-r1 reports %q", got)
	}
	return fmt.Sprintf("control refused; %d requests got 503; then app-5, app-6; adopted, registered again", withheld)
}

// rolledBack tells whether a client's log complains about a version that went
// back.
func rolledBack(log string) bool {
	return slices.ContainsFunc([]string{"Rollback", "rollback", "Version in Director", "lower than"}, func(text string) bool { return strings.Contains(log, text) })
}
