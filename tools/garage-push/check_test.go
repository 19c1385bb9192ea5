package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealift/treehub/ostree"
)

func (s *site) check(want int, more ...string) string {
	s.t.Helper()
	return s.run(want, "garage-check", append([]string{"-r", s.commit.String(), "-j", s.credentials}, more...)...)
}

func targets(hash string, expires time.Time) string {
	return fmt.Sprintf(`{"signatures":[],"signed":{"expires":%q,"targets":{"board-7":{"hashes":{"sha256":%q},"length":0}}}}`,
		expires.UTC().Format(time.RFC3339), hash)
}

func TestCheck(t *testing.T) {
	s := newSite(t, false)
	later := time.Now().Add(time.Hour)
	contains(t, s.check(1), "OSTree commit "+s.commit.String()+" is missing in treehub")
	contains(t, s.check(1, "-w"), "unknown type")
	s.push(0)
	contains(t, s.check(1), "targets.json answered 404")
	s.targets = targets(strings.Repeat("a", 64), later)
	contains(t, s.check(1), "is missing in targets.json")
	s.proposed = targets(strings.Repeat("b", 64), later)
	contains(t, s.check(1), "is missing in targets.json")
	s.proposed = targets(s.commit.String(), later)
	contains(t, s.check(0), "is proposed as board-7; devices get it once the targets are signed")
	s.targets = targets(s.commit.String(), time.Now().Add(-time.Hour))
	contains(t, s.check(1), "targets.json expired on")
	s.targets = `{"signed":[]}`
	contains(t, s.check(1), "targets.json")
	s.targets = targets(s.commit.String(), later)
	contains(t, s.check(0), "is found in targets.json as board-7")
	contains(t, s.run(1, "garage-check", "-r", "main", "-j", s.credentials), "no refhash")
}

// TestCheckWalksTheTree fetches everything into a folder that is a repository
// then.
func TestCheckWalksTheTree(t *testing.T) {
	s := newSite(t, false)
	s.push(0)
	s.targets = targets(s.commit.String(), time.Now().Add(time.Hour))
	folder := filepath.Join(t.TempDir(), "tree")
	contains(t, s.check(0, "--walk-tree", "--tree-dir", folder), "All 62 objects below "+s.commit.String())
	copied, err := ostree.OpenDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := ostree.InitDir(filepath.Join(t.TempDir(), "again"))
	if err != nil {
		t.Fatal(err)
	}
	if stats, err := ostree.Copy(t.Context(), copied, sub, s.commit, ostree.CopyOptions{}); err != nil || stats.Uploaded != 62 {
		t.Errorf("%+v, %v", stats, err)
	}
	// What is no commit can be looked at with -w; targets do not matter then.
	files, err := filepath.Glob(filepath.Join(folder, "objects", "*", "*.filez"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	file := filepath.Base(filepath.Dir(files[0])) + strings.TrimSuffix(filepath.Base(files[0]), ".filez")
	contains(t, s.run(0, "garage-check", "-r", file, "-j", s.credentials, "-w"), "is no commit")
	s.run(1, "garage-check", "-r", file, "-j", s.credentials)
}

func TestManifestJSON(t *testing.T) {
	const doc = `<?xml version="1.0"?><!-- c -->
<manifest>
  <remote name="o" fetch="https://x"/>
  <project name="a" path="meta-updater" revision="1"><linkfile src="s" dest="d"/></project>
  <project name="b"> note &amp; text </project>
</manifest>`
	const want = `{"manifest":{"project":[{"@name":"a","@path":"meta-updater","@revision":"1","linkfile":{"@dest":"d","@src":"s"}},` +
		`{"#text":"note \u0026 text","@name":"b"}],"remote":{"@fetch":"https://x","@name":"o"}}}`
	got, err := manifestJSON(strings.NewReader(doc))
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	deep := strings.Repeat("<a>", 10) + strings.Repeat("</a>", 10)
	if _, err := manifestJSON(strings.NewReader(deep)); err != nil {
		t.Errorf("ten elements deep: %v", err)
	}
	for name, bad := range map[string]string{"nothing": "", "text": "hello", "cut short": "<a><b></b>", "crossed": "<a><b></a></b>",
		"too deep": strings.Repeat("<a>", 11) + strings.Repeat("</a>", 11), "large": "<a>" + strings.Repeat("x", maxManifest) + "</a>"} {
		if got, err := manifestJSON(strings.NewReader(bad)); err == nil {
			t.Errorf("%s gives %.80s", name, got)
		}
	}
}

func FuzzManifestJSON(f *testing.F) {
	f.Add("<manifest><project path='a'/></manifest>")
	f.Fuzz(func(t *testing.T, text string) {
		if doc, err := manifestJSON(strings.NewReader(text)); err == nil && !bytes.HasPrefix(doc, []byte("{")) {
			t.Errorf("%q gives %s", text, doc)
		}
	})
}

// TestFlagForms: every way of writing an option means the same.
func TestFlagForms(t *testing.T) {
	for _, line := range []string{
		"--repo R --ref F --credentials C --jobs 7 --dry-run --walk-tree",
		"--repo=R --ref=F --credentials=C --jobs=7 --dry-run --walk-tree",
		"-C R -r F -j C --jobs 7 -n -w",
		"-CR -rF -jC --jo 7 -nw",
		"--cred C --re F --rep R --dry --walk --job=7",
		"--repo R --repo-m M --ref F --cr C --jobs 7 -wn",
	} {
		var out bytes.Buffer
		o, err := parsePush(strings.Fields(line), newScreen(&out, false))
		if strings.Contains(line, "--re ") || strings.Contains(line, "--rep ") {
			if err == nil || !strings.Contains(err.Error(), "ambiguous") {
				t.Errorf("%s: %v, want ambiguous", line, err)
			}
			continue
		}
		if err != nil || o.repo != "R" || o.ref != "F" || o.credentials != "C" || o.jobs != 7 || !o.dryRun || !o.walkTree {
			t.Errorf("%s: %+v, %v", line, o, err)
		}
	}
	// A value that looks like an option is a value.
	o, err := parsePush([]string{"--repo", "--ref", "-r", "--dry", "--credentials", "C"}, newScreen(new(bytes.Buffer), false))
	if err != nil || o.repo != "--ref" || o.ref != "--dry" || o.dryRun {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestHelpAndVersion(t *testing.T) {
	s := &site{t: t}
	for _, program := range []string{"garage-push", "garage-check"} {
		contains(t, s.run(0, program, "--help"), program+" command line options:", "--credentials", "-w, --walk-tree")
		contains(t, s.run(0, program, "--version"), "Current "+program+" version is: "+version)
	}
	contains(t, s.run(0, "garage-deploy", "--help"), "not available yet")
}

// TestScreen: on a terminal progress is one line that goes away; elsewhere
// there is none, and no control characters reach either.
func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, true)
	s.show(false, "half %s", "\x1b[2J")
	s.say(levelInfo, "bad \x1b]0;title\x07 text")
	s.say(levelDebug, "hidden")
	s.show(true, "")
	if want := "half ?[2J\r\x1b[Kbad ?]0;title? text\n"; out.String() != want {
		t.Errorf("terminal: %q, want %q", out.String(), want)
	}
	out.Reset()
	s = newScreen(&out, false)
	s.show(false, "half")
	s.setLevel(levelWarning)
	s.say(levelInfo, "quiet")
	s.say(levelError, "loud")
	if out.String() != "loud\n" {
		t.Errorf("file: %q", out.String())
	}
	for n, want := range map[int64]string{999: "999 B", 1000: "1.0 kB", 27_900_000: "27.9 MB", 5_000_000_000_000_000: "5000.0 TB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}
