package drill_test

import (
	"os/exec"
	"strings"
	"testing"

	"sealift/fixtures/device"
	"sealift/tools/sealift/wiring"
)

// TestForecast lets signed targets end: signed for 31 days, which Yocto's tools ask
// for, they are forecast and announced. After a rest of forty days nothing more can
// be assigned, the operator is told what to do, and an update that was assigned
// before waits. Somebody signs again, for 300 days: both devices install, also after
// another forty days.
func TestForecast(t *testing.T) {
	ctx, clock := t.Context(), &shift{}
	s := newServer(t, t.TempDir())
	s.start()
	s.release(2)
	s.sign("31D")
	archive := s.archive()
	board := func(name string) *car {
		return newCar(s, archive, name, func(d *device.Config) { d.Now = clock.now })
	}
	truck, bus := board("truck"), board("bus")
	poll := func(c *car, want device.Outcome) {
		t.Helper()
		if r, err := c.Poll(ctx); err != nil || r.Outcome != want {
			t.Fatalf("%s polls: %q, %v, want %q", c.OEMID(), r.Outcome, err, want)
		}
	}
	poll(truck, device.NothingNew)
	poll(bus, device.NothingNew)
	o := newOperator(s, 2)
	must(t, o.assign(ctx, bus))
	s.stop()
	s.at(clock, func(*wiring.Services) {}) // its certificate is of today, which the tools' clock accepts
	says := func(text string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("it is said\n%s\nwhich has no %q", text, w)
			}
		}
	}

	clock.set(5 * day)
	s.at(clock, func(*wiring.Services) {
		says(s.run("expiry"), "[! ] targets of the Image repository, version 4, ends in 25 days", "announced", "garage-sign targets pull, targets sign, targets push")
		poll(truck, device.NothingNew)
	})

	clock.set(40 * day)
	s.at(clock, func(*wiring.Services) {
		says(s.fails("expiry"), "[!!] targets of the Image repository, version 4, ended 9 days ago", "[ok] timestamp of the Image repository")
		for range 2 {
			says(s.fails("update", "create", "--device", "truck", "--target", "app-1"), "targets_expired", "garage-sign targets pull, targets sign, targets push")
		}
		if r, err := bus.Poll(ctx); err == nil {
			t.Errorf("the bus installs what nobody vouches for: %q", r.Outcome)
		}
		poll(truck, device.NothingNew)

		s.sign("300D")
		says(s.run("expiry"), "[ok] targets of the Image repository, version 5, is good for")
		poll(bus, device.Installed)
		s.run("update", "create", "--device", "truck", "--target", "app-1")
		poll(truck, device.Installed)
		s.run("update", "create", "--device", "truck", "--target", "app-2")
	})

	clock.set(80 * day)
	s.at(clock, func(*wiring.Services) { poll(truck, device.Installed) })
	t.Logf("drill: targets of 31 days: forecast, refused after 40, signed again, installed; targets of 300 days: installed 40 days later")
}

// sign signs the targets again, offline, with what a build has.
func (s *server) sign(life string) {
	s.t.Helper()
	path, err := signer()
	must(s.t, err)
	home := s.t.TempDir()
	for _, step := range [][]string{
		{"init", "--credentials", "sealift-out/build.zip"}, {"targets", "pull"},
		{"targets", "sign", "--key-name", "targets", "--expire-after", life}, {"targets", "push"},
	} {
		c := exec.Command(path, append(step, "--repo", "image", "--home-dir", home)...)
		c.Dir, c.Env = s.dir, s.env
		if out, err := c.CombinedOutput(); err != nil {
			s.t.Fatalf("garage-sign %s: %v\n%s", strings.Join(step, " "), err, out)
		}
	}
}

// fails runs a command that must fail and returns what it says.
func (s *server) fails(args ...string) string {
	s.t.Helper()
	out, err := s.command(args...).CombinedOutput()
	if err == nil {
		s.t.Errorf("sealift %s succeeds:\n%s", strings.Join(args, " "), out)
	}
	return string(out)
}
