package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealift/uptane"
)

var today = time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)

const commit = "aa0e6b9d2f1d7d1d2f7a3f4c5b6a798081929394a5b6c7d8e9fa0b1c2d3e4f50"

// shell types commands in a working folder of its own.
type shell struct {
	t      *testing.T
	dir    string
	env    map[string]string
	now    time.Time
	waited []time.Duration
	real   bool     // time passes while it waits, ten times as fast
	typed  []string // answers on a terminal, the next first; nil where there is none
	asked  []string // questions on it
	stdout string
	stderr string
}

func newShell(t *testing.T) *shell {
	return &shell{t: t, dir: t.TempDir(), env: map[string]string{}, now: today}
}

// run types a line; $D stands for the working folder. It returns the exit code.
func (s *shell) run(line string) int {
	s.t.Helper()
	args := []string{"garage-sign"}
	for _, word := range strings.Fields(line) {
		args = append(args, strings.ReplaceAll(word, "$D", s.dir))
	}
	var out, errs bytes.Buffer
	w := world{stdout: &out, stderr: &errs, getenv: func(k string) string { return s.env[k] }, now: func() time.Time { return s.now },
		wait: func(_ context.Context, d time.Duration) error { s.waited = append(s.waited, d); return nil }}
	if s.typed != nil {
		w.prompt = func(question string) ([]byte, error) {
			s.asked = append(s.asked, question)
			if len(s.typed) == 0 {
				return nil, io.EOF
			}
			answer := s.typed[0]
			s.typed = s.typed[1:]
			return []byte(answer), nil
		}
	}
	if s.real {
		w.wait = func(ctx context.Context, d time.Duration) error { return wait(ctx, d/10) }
	}
	code := run(s.t.Context(), args, w)
	s.stdout, s.stderr = out.String(), errs.String()
	return code
}

// must types a line that has to succeed.
func (s *shell) must(line string) {
	s.t.Helper()
	if code := s.run(line); code != 0 {
		s.t.Fatalf("%s: exit %d\n%s%s", line, code, s.stdout, s.stderr)
	}
}

// fails types a line that has to fail with that code and mention want.
func (s *shell) fails(code int, want, line string) {
	s.t.Helper()
	if got := s.run(line); got != code || !strings.Contains(s.stderr, want) {
		s.t.Errorf("%s: exit %d, want %d and %q:\n%s%s", line, got, code, want, s.stdout, s.stderr)
	}
}

func (s *shell) file(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	check(s.t, err)
	return string(data)
}

func (s *shell) write(name, content string) {
	s.t.Helper()
	check(s.t, os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600))
}

// credentials writes an archive for r, as a server hands it to a build job.
func (s *shell) credentials(r *repository, extra map[string]string) {
	s.t.Helper()
	pub, sec, err := r.offline.Keys().Export("targets")
	check(s.t, err)
	members := map[string]string{
		"treehub.json": `{"no_auth":true,"ostree":{"server":"` + r.url + `/api/v3/"}}`,
		"tufrepo.url":  r.url + "/\n", // the slash must not be doubled
		"root.json":    string(r.roots[0]), "targets.pub": string(pub), "targets.sec": string(sec),
	}
	for name, content := range extra {
		members[name] = content
	}
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for name, content := range members {
		if content == "" {
			continue
		}
		w, err := z.Create(name)
		check(s.t, err)
		_, err = w.Write([]byte(content))
		check(s.t, err)
	}
	check(s.t, z.Close())
	s.write("credentials.zip", buf.String())
}

type targetsDoc struct {
	Signed struct {
		Version int64
		Expires string
		Targets map[string]struct {
			Length int64
			Hashes map[string]string
			Custom map[string]any
		}
	}
}

func (r *repository) published() targetsDoc {
	var d targetsDoc
	check(r.t, json.Unmarshal(r.targets, &d))
	return d
}

const yoctoAdd = "targets add --repo tufrepo --home-dir $D/gs --name qemux86-64 --format OSTREE --version V --length 0 --sha256 " + commit + " --hardwareids qemux86-64"

// The exact calls of an OSTree image build.
func TestBuildSequence(t *testing.T) {
	for _, tuf := range []bool{false, true} {
		r := newRepository(t, tuf)
		s := newShell(t)
		s.credentials(r, nil)
		s.must("init --repo tufrepo --home-dir $D/gs --credentials $D/credentials.zip")
		s.must("targets pull --repo tufrepo --home-dir $D/gs")
		s.must(strings.Replace(yoctoAdd, "V", commit, 1))
		// A build may edit the unsigned file with whatever tool it has.
		path := "gs/tufrepo/roles/unsigned/targets.json"
		s.write(path, strings.Replace(s.file(path), `"cliUploaded" : false`, `"note":"from the build","cliUploaded": false`, 1))
		s.must("targets sign --repo tufrepo --home-dir $D/gs --expire-after 1M --key-name=targets")
		s.must("targets push --repo tufrepo --home-dir $D/gs")

		d := r.published().Signed
		target, ok := d.Targets["qemux86-64-"+commit]
		if d.Version != 2 || d.Expires != "2030-02-28T12:00:00Z" || !ok {
			t.Fatalf("published %+v", d)
		}
		if target.Hashes["sha256"] != commit || target.Length != 0 {
			t.Errorf("target %+v", target)
		}
		want := map[string]any{"name": "qemux86-64", "version": commit, "targetFormat": "OSTREE", "uri": nil, "cliUploaded": false, "note": "from the build",
			"createdAt": "2030-01-31T12:00:00Z", "updatedAt": "2030-01-31T12:00:00Z", "releaseCounter": float64(1), "hardwareIds": []any{"qemux86-64"}}
		if got, _ := json.Marshal(target.Custom); string(got) != mustJSON(want) {
			t.Errorf("custom %s, want %s", got, mustJSON(want))
		}
		asked := strings.Join(r.asked, ", ")
		if asked != "GET 2.root.json, GET targets.json, PUT tuf/targets, PUT targets" {
			t.Errorf("requests: %s", asked)
		}
		if tuf && (!bytes.Contains(r.twins["targets"], []byte(`"_type":"targets"`)) || bytes.Contains(r.twins["targets"], []byte("from the build"))) {
			t.Errorf("twin %s", r.twins["targets"])
		}
		if got := s.file("gs/tufrepo/roles/targets.json.checksum"); len(got) != 64 || got == "" {
			t.Errorf("checksum %q", got)
		}
	}
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestReleaseCounterGrowsPerHardwareID(t *testing.T) {
	r := newRepository(t, false)
	s := newShell(t)
	s.credentials(r, nil)
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("targets pull -r a -h $D")
	for _, hw := range []string{"x 1.0", "y 1.0", "x,y 2.0", "z 1.0", "y 3.0"} {
		ids, version, _ := strings.Cut(hw, " ")
		s.must("targets add -r a -h $D --name " + ids[:1] + " --version " + version + " --length 3 --sha256 " + commit + " --hardwareids " + ids)
	}
	s.must("targets sign -r a -h $D --key-name targets")
	s.must("targets push -r a -h $D")
	for name, want := range map[string]float64{"x-1.0": 1, "y-1.0": 1, "x-2.0": 2, "z-1.0": 1, "y-3.0": 3} {
		if got := r.published().Signed.Targets[name].Custom["releaseCounter"]; got != want {
			t.Errorf("%s has counter %v, want %v", name, got, want)
		}
	}
	if got := r.published().Signed.Expires; got != "2030-03-03T12:00:00Z" {
		t.Errorf("without a word about it targets end %s, not after 31 days", got)
	}
}

func TestPushAgainAndAgain(t *testing.T) {
	r := newRepository(t, true)
	s := newShell(t)
	s.credentials(r, nil)
	s.must("--home-dir $D init -r a -c $D/credentials.zip")
	s.must("--home-dir $D targets --repo a pull")
	s.fails(1, "targets sign", "targets push -r a -h $D")
	for version := int64(2); version < 5; version++ {
		s.must(strings.NewReplacer("V", mustJSON(version), "tufrepo", "a", "$D/gs", "$D").Replace(yoctoAdd))
		s.must("targets sign -r a -h $D --key-name targets")
		s.must("targets sign -r a -h $D --key-name targets") // gives the same version
		s.must("targets push -r a -h $D")
		if got := r.published().Signed.Version; got != version {
			t.Fatalf("published version %d, want %d", got, version)
		}
		s.fails(1, "version "+mustJSON(version)+" is already published", "targets push -r a -h $D")
	}
	s.must("targets delete -r a -h $D --filename qemux86-64-2")
	s.must("targets sign -r a -h $D --key-name targets --expires 2031-01-01T00:00:00.5+01:00")
	s.must("targets push -r a -h $D")
	if d := r.published().Signed; len(d.Targets) != 2 || d.Expires != "2030-12-31T23:00:00Z" {
		t.Errorf("published %+v", d)
	}
}

func TestTwoBuilders(t *testing.T) {
	r := newRepository(t, false)
	a, b := newShell(t), newShell(t)
	for i, s := range []*shell{a, b} {
		s.credentials(r, nil)
		s.must("init -r a -h $D -c $D/credentials.zip")
		s.must("targets pull -r a -h $D")
		s.must(strings.NewReplacer("V", mustJSON(i), "tufrepo", "a", "$D/gs", "$D").Replace(yoctoAdd))
		s.must("targets sign -r a -h $D --key-name targets")
	}
	a.must("targets push -r a -h $D")
	b.fails(2, "somebody else has pushed since", "targets push -r a -h $D --once")
	check(t, os.Remove(filepath.Join(b.dir, "a/roles/targets.json.checksum")))
	b.fails(2, "role_checksum_not_provided", "targets push -r a -h $D")
	b.must("targets pull -r a -h $D")
	b.must(strings.NewReplacer("V", "9", "tufrepo", "a", "$D/gs", "$D").Replace(yoctoAdd))
	b.must("targets sign -r a -h $D --key-name targets")
	b.must("targets push -r a -h $D")
	if d := r.published().Signed; len(d.Targets) != 2 || d.Version != 3 {
		t.Errorf("published %+v", d)
	}
}

// The server takes a push but its answer is lost: pushing again is no conflict.
func TestLostAnswer(t *testing.T) {
	r := newRepository(t, false)
	s := newShell(t)
	s.credentials(r, nil)
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("targets pull -r a -h $D")
	s.must("targets sign -r a -h $D --key-name targets")
	r.after = func(w httpWriter) bool { refuse(w, 504, "timeout", nil); return true }
	s.fails(3, "504", "targets push -r a -h $D")
	r.after = nil
	s.must("targets push -r a -h $D")
	s.must("targets sign -r a -h $D --key-name targets")
	s.must("targets push -r a -h $D")
	if v := r.published().Signed.Version; v != 3 {
		t.Errorf("version %d", v)
	}
}

// A server in the wrong hands shows an older state, which was signed once, so
// that an image taken out since is signed anew.
func TestServerGoesBack(t *testing.T) {
	r := newRepository(t, false)
	s := newShell(t)
	s.credentials(r, nil)
	s.must("init -r a -h $D -c $D/credentials.zip")
	states := [][]byte{r.targets}
	for _, version := range []string{"1", "2"} {
		s.must("targets pull -r a -h $D")
		s.must(strings.NewReplacer("V", version, "tufrepo", "a", "$D/gs", "$D").Replace(yoctoAdd))
		s.must("targets sign -r a -h $D --key-name targets")
		s.must("targets push -r a -h $D")
		states = append(states, r.targets)
	}
	unsigned := s.file("a/roles/unsigned/targets.json")
	for _, old := range states[:2] {
		r.targets = old
		s.fails(1, "rollback", "targets pull -r a -h $D")
	}
	// Two builders signed version 3; the server shows now one, now the other.
	other := newShell(t)
	other.credentials(r, nil)
	other.must("init -r a -h $D -c $D/credentials.zip")
	other.must("targets pull -r a -h $D")
	other.must("targets sign -r a -h $D --key-name targets --expire-after 2M")
	other.must("targets push -r a -h $D")
	s.fails(1, "other targets of version 3", "targets pull -r a -h $D")
	if s.file("a/roles/unsigned/targets.json") != unsigned {
		t.Error("a refused pull changed the unsigned targets")
	}
	r.targets = states[2]
	s.must("targets pull -r a -h $D")
	// A restored backup is taken on purpose only.
	r.targets = states[1]
	check(t, os.Remove(filepath.Join(s.dir, "a/roles/unsigned/targets.json")))
	s.must("targets pull -r a -h $D")
}

// Root keys change while a builder still has the old archive.
func TestRotation(t *testing.T) {
	r := newRepository(t, true)
	builder, officer := newShell(t), newShell(t)
	builder.credentials(r, nil)
	builder.must("init -r a -h $D -c $D/credentials.zip")
	officer.dir = filepath.Dir(r.offline.Dir())
	for _, line := range []string{
		"root pull -r image -h $D", "key generate -r image -h $D -n root2 -t rsa --keysize 2048", "key generate -r image -h $D -n targets2",
		"root key add -r image -h $D -k root2", "root key remove -r image -h $D -k root",
		"root targets-key add -r image -h $D -k targets2",
		"root sign -r image -h $D -k root -k root2 --expire-after 2Y", "root push -r image -h $D",
		// and once more, by the keys that are at hand
		"root set-threshold -r image -h $D -t 1", "root sign --repo image -h $D", "root push -r image -h $D",
	} {
		officer.must(line)
	}
	if len(r.roots) != 3 || !bytes.Contains(r.twins["root"], []byte(`"version":3`)) {
		t.Fatalf("%d roots, twin %s", len(r.roots), r.twins["root"])
	}
	builder.must("targets pull -r a -h $D")
	if got := builder.file("a/roles/root.json"); !strings.Contains(got, `"version" : 3`) {
		t.Error("the builder does not follow the rotation")
	}
	builder.must("targets sign -r a -h $D --key-name targets")
	builder.must("targets push -r a -h $D")

	// A root that does not follow from the last is not followed.
	thief := newRepository(t, false)
	r.roots = append(r.roots, thief.roots[0])
	builder.fails(1, "not a successor", "targets pull -r a -h $D")
	builder.fails(1, "does not follow", "root pull -r a -h $D")
	if got := builder.file("a/roles/root.json"); !strings.Contains(got, `"version" : 3`) {
		t.Error("a foreign root was taken")
	}
}

func TestRootRefusals(t *testing.T) {
	r := newRepository(t, true)
	s := newShell(t)
	s.dir = filepath.Dir(r.offline.Dir())
	s.must("root pull -r image -h $D")
	s.must("key generate -r image -h $D -n thief")
	s.must("root key add -r image -h $D -k thief")
	s.must("root sign -r image -h $D -k thief")
	s.fails(1, "- second reason", "root push -r image -h $D")
	s.fails(3, "serves targets", "root key add -r image -h $D -k targets")
	s.fails(3, "not found", "root key remove -r image -h $D --key-id 00")
	s.fails(255, "--key-name or --key-id", "root key remove -r image -h $D")
	s.fails(3, "threshold 9", "root set-threshold -r image -h $D -t 9")
	s.fails(1, "local one", "root pull -r image -h $D") // a local root nobody else has
	s.must("root pull -r image -h $D --force")
	s.fails(1, "wrong version", "root push -r image -h $D") // the server has it
}

// A signature made outside covers exactly what get-unsigned prints.
func TestOutsideSignature(t *testing.T) {
	r := newRepository(t, false)
	s := newShell(t)
	s.credentials(r, nil)
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("targets pull -r a -h $D")
	s.must("targets increment-version -r a -h $D")
	s.must("targets get-unsigned -r a -h $D")
	sigs, err := r.offline.Keys().Signer("targets").Sign(t.Context(), uptane.Job{}, []byte(s.stdout))
	check(t, err)
	arg := " --signatures targets=" + strings.Trim(mustJSON(sigs[0].Sig), `"`)
	s.fails(255, "--version", "targets sign -r a -h $D --version 3"+arg)
	s.fails(255, "--expires", "targets sign -r a -h $D --expires 2031-01-01T00:00:00Z"+arg)
	s.fails(255, "no signature", "targets sign -r a -h $D --signatures targets")
	s.must("targets sign -r a -h $D" + arg)
	s.must("targets push -r a -h $D")
	s.must("targets increment-version -r a -h $D")
	s.fails(3, "targets", "targets sign -r a -h $D"+arg)
}
