package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// builder is a shell with a home that has pulled the server's targets.
func builder(t *testing.T, r *repository) *shell {
	t.Helper()
	s := newShell(t)
	s.credentials(r, nil)
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("targets pull -r a -h $D")
	return s
}

func add(filename, hardware string) string {
	name, version, _ := strings.Cut(filename, "-")
	return fmt.Sprintf("targets add -r a -h $D --name %s --version %s --length 1 --sha256 %s --hardwareids %s", name, version, commit, hardware)
}

// builds push at once.
const builds = 50

// Many builds pull the same targets, add one each, sign and push at once: all
// land, each with a release counter of its own.
func TestManyPushesAtOnce(t *testing.T) {
	r := newRepository(t, true)
	var all sync.WaitGroup
	var builders []*shell
	for i := range builds {
		s := builder(t, r)
		s.real = true
		s.must(add(fmt.Sprintf("app-%d", i), "board"))
		s.must("targets sign -r a -h $D --key-name targets")
		builders = append(builders, s)
	}
	codes := make([]int, len(builders))
	for i, s := range builders {
		all.Go(func() { codes[i] = s.run("targets push -r a -h $D") })
	}
	all.Wait()
	for i, code := range codes {
		if code != 0 {
			t.Errorf("builder %d: exit %d\n%s%s", i, code, builders[i].stdout, builders[i].stderr)
		}
	}
	d := r.published().Signed
	if d.Version != builds+1 || len(d.Targets) != builds {
		t.Fatalf("version %d, %d targets", d.Version, len(d.Targets))
	}
	counters := map[float64]bool{}
	for _, target := range d.Targets {
		counters[target.Custom["releaseCounter"].(float64)] = true
	}
	if len(counters) != builds || !counters[1] || !counters[builds] {
		t.Errorf("release counters %v", slices.Sorted(maps.Keys(counters)))
	}
	if !strings.Contains(string(r.twins["targets"]), fmt.Sprintf(`"version":%d`, builds+1)) {
		t.Error("TUF's flavour was left behind")
	}
}

// Commands that run side by side in one home wait for one another.
func TestParallelAddsInOneHome(t *testing.T) {
	r := newRepository(t, false)
	s := builder(t, r)
	var all sync.WaitGroup
	for i := range 20 {
		each := &shell{t: t, dir: s.dir, env: s.env, now: s.now, real: true}
		all.Go(func() {
			if each.run(add(fmt.Sprintf("app-%d", i), "board")) != 0 {
				t.Error(each.stderr)
			}
		})
	}
	all.Wait()
	s.must("targets sign -r a -h $D --key-name targets")
	s.must("targets push -r a -h $D")
	if n := len(r.published().Signed.Targets); n != 20 {
		t.Errorf("%d of 20 targets", n)
	}
}

// What was changed, not what was signed, is pushed over what others did.
func TestChangeIsMadeAgain(t *testing.T) {
	const sign, push = "targets sign -r a -h $D -k targets", "targets push -r a -h $D"
	const there = "old-1 gone-1"
	for name, c := range map[string]struct {
		first, second []string // what two builders do
		code          int      // of the second one's push
		want          string   // targets afterwards, with release counters
		says          string
	}{
		"both add": {[]string{add("x-1", "board"), sign}, []string{add("y-1", "board,other"), sign}, 0,
			"gone-1:2 old-1:1 x-1:3 y-1:4", "made the change again on targets version 3"},
		"several, in order": {[]string{add("x-1", "board"), sign}, []string{add("y-2", "board"), add("y-1", "board"), sign}, 0,
			"gone-1:2 old-1:1 x-1:3 y-1:5 y-2:4", ""},
		"one deletes": {[]string{add("x-1", "z"), sign}, []string{"targets delete -r a -h $D --filename gone-1", sign}, 0, "old-1:1 x-1:1", ""},
		"both delete": {[]string{"targets delete -r a -h $D --filename gone-1", sign}, []string{"targets delete -r a -h $D --filename gone-1", add("x-1", "z"), sign}, 0, "old-1:1 x-1:1", ""},
		"the same":    {[]string{add("x-1", "z"), sign}, []string{add("x-1", "z"), sign}, 0, "gone-1:2 old-1:1 x-1:1", "nothing is left to push"},
		"otherwise": {[]string{add("x-1", "z"), sign}, []string{add("x-1", "another"), sign}, 2, "gone-1:2 old-1:1 x-1:1",
			"somebody else has changed the same: target x-1"},
		"deleted and changed": {[]string{"targets delete -r a -h $D --filename gone-1", sign}, []string{add("gone-1", "another"), sign}, 2, "old-1:1",
			"target gone-1"},
		"a version of its own": {[]string{add("x-1", "z"), sign}, []string{add("y-1", "z"), sign + " --version 9"}, 2, "gone-1:2 old-1:1 x-1:1", "somebody else has pushed since"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t, true)
			start := builder(t, r)
			for _, f := range strings.Fields(there) {
				start.must(add(f, "board"))
			}
			start.must(sign)
			start.must(push)
			first, second := builder(t, r), builder(t, r)
			first.now = today.Add(time.Hour)
			for _, line := range c.first {
				first.must(line)
			}
			for _, line := range c.second {
				second.must(line)
			}
			first.must(push)
			if code := second.run(push); code != c.code || !strings.Contains(second.stdout+second.stderr, c.says) {
				t.Errorf("exit %d\n%s%s", code, second.stdout, second.stderr)
			}
			var got []string
			for name, target := range r.published().Signed.Targets {
				got = append(got, fmt.Sprintf("%s:%v", name, target.Custom["releaseCounter"]))
			}
			slices.Sort(got)
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("targets %s, want %s", s, c.want)
			}
			// The home goes on from there.
			if c.code == 0 {
				second.must(add("next-1", "next"))
				second.must(sign)
				second.must(push)
			}
		})
	}
}

// Nobody shortens by accident what another has extended, nor extends what was
// shortened on purpose.
func TestExpiryOfAChangeMadeAgain(t *testing.T) {
	for name, c := range map[string]struct{ first, second, want string }{
		"nothing said":          {"", "", "2030-03-03T12:00:00Z"},
		"the first longer":      {" --expire-after 2Y", "", "2032-01-31T12:00:00Z"},
		"the second longer":     {"", " --expire-after 2Y", "2032-01-31T12:00:00Z"},
		"the second shorter":    {" --expire-after 2Y", " --expires 2030-02-10T00:00:00Z", "2030-02-10T00:00:00Z"},
		"expired, with --force": {"", " --expires 2030-01-01T00:00:00Z --force", "2030-01-01T00:00:00Z"},
	} {
		r := newRepository(t, false)
		first, second := builder(t, r), builder(t, r)
		first.must(add("x-1", "board"))
		first.must("targets sign -r a -h $D -k targets" + c.first)
		second.must(add("y-1", "board"))
		second.must("targets sign -r a -h $D -k targets" + c.second)
		first.must("targets push -r a -h $D")
		second.must("targets push -r a -h $D")
		if d := r.published().Signed; d.Expires != c.want || len(d.Targets) != 2 {
			t.Errorf("%s: %s, %d targets, want %s", name, d.Expires, len(d.Targets), c.want)
		}
	}
}

// A change is not made again without the key, nor on what does not follow from
// the root that is trusted.
func TestChangeThatIsNotMadeAgain(t *testing.T) {
	r := newRepository(t, false)
	first, second, third := builder(t, r), builder(t, r), builder(t, r)
	for i, s := range []*shell{first, second, third} {
		s.must(add(fmt.Sprintf("x-%d", i), "board"))
		s.must("targets sign -r a -h $D -k targets")
	}
	first.must("targets push -r a -h $D")
	signed := second.file("a/roles/targets.json")
	check(t, os.Remove(filepath.Join(second.dir, "a/keys/targets.sec")))
	second.fails(2, "somebody else has pushed since", "targets push -r a -h $D")
	if second.file("a/roles/targets.json") != signed {
		t.Error("the signed targets have changed")
	}
	thief := newRepository(t, false)
	r.targets = thief.targets
	third.fails(1, "cannot be trusted", "targets push -r a -h $D")
}
