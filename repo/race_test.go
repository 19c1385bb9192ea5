package repo_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/repo"
	"sealift/uptane"
)

// meanwhile does something once, while the next document is signed.
func (w *world) meanwhile(do func()) {
	var done atomic.Bool
	w.breakSigner(func(uptane.Job) error {
		if !done.Swap(true) {
			do() // signs, too
		}
		return nil
	})
}

// whileSaying does something once, when a server of w says such words in its log.
type whileSaying struct {
	slog.Handler
	words string
	said  atomic.Bool
	do    func()
}

func (h *whileSaying) Enabled(context.Context, slog.Level) bool { return true }

func (h *whileSaying) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, h.words) && !h.said.Swap(true) {
		h.do()
	}
	return nil
}

// signedTwin is the TUF document of a supplier's metadata.
func (s *supplier) signedTwin() []byte {
	s.w.t.Helper()
	public, err := uptane.PublicTargets(&s.payload)
	if err != nil {
		s.w.t.Fatal(err)
	}
	return signAs(s.w.t, uptane.TUF, s.role, public, s.key)
}

// A supplier's TUF document comes late, at one replica, while the supplier pushes
// the next version at another: TUF clients go on seeing the first one.
func TestALateTwinMeetsTheNextVersion(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s, client := switchedOn(t, d)
		other := w.server()
		brakes := w.supplier("brakes")
		w.pull(s).delegate(brakes, false, "brakes/*").mustPushBoth(s)
		brakes.add(w.named("brakes/1")).mustPush(s)
		twin := brakes.signedTwin()
		w.meanwhile(func() {
			if err := other.StageTwin(t.Context(), ns, "brakes", twin); err != nil {
				t.Error(err)
			}
		})
		brakes.add(w.named("brakes/2")).mustPush(s)
		w.clock.advance(2 * time.Second)
		client.mustSee(other, 2)
		role, err := s.Role(t.Context(), ns, "brakes")
		if err != nil || role.Version != 2 || role.TUF != 1 {
			t.Errorf("version %d, for TUF clients %d, %v", role.Version, role.TUF, err)
		}
	})
}

// A supplier gets another key while its TUF document comes late at another
// replica: what was trusted before does not come back.
func TestALateTwinMeetsOtherTrust(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s, _ := switchedOn(t, d)
		other := w.server()
		brakes, successor := w.supplier("brakes"), w.supplier("brakes")
		w.pull(s).delegate(brakes, false, "brakes/*").mustPushBoth(s)
		brakes.add(w.named("brakes/1")).mustPush(s)
		w.meanwhile(func() { // either key will do from now on
			r := w.pull(other)
			r.payload.Delegations = nil
			r.delegate(brakes, false, "brakes/*").delegate(successor, false, "brakes/*")
			roles := r.payload.Delegations.Roles
			roles[0].KeyIDs = append(roles[0].KeyIDs, roles[1].KeyIDs...)
			r.payload.Delegations.Roles = roles[:1]
			r.mustPush(other)
		})
		if err := s.StageTwin(t.Context(), ns, "brakes", brakes.signedTwin()); err != nil && !errors.Is(err, repo.ErrBusy) {
			t.Fatal(err)
		}
		successor.payload.Version = 1
		successor.add(w.named("brakes/2")).mustPush(other)
		w.sees(s, map[string]bool{"brakes/2": true})
	})
}

// The bytes of an image come while the targets that name it are published: devices
// get them, whatever was first, and nobody sweeps them away.
func TestBytesThatComeWhileTheirTargetIsPublished(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).mustPush(s)
		other := w.server()
		brakes := w.supplier("brakes")
		image, theirs := w.binaryTarget("app", "1", firmware(500)), w.binaryTarget("brakes/fw", "1", firmware(700))
		image.Custom.CLIUploaded, theirs.Custom.CLIUploaded = nil, nil
		bring := func(i uptane.Target) {
			if _, err := other.PutImage(t.Context(), ns, i.Filename, i.Length, strings.NewReader(string(firmware(int(i.Length)))), "me"); err != nil {
				t.Error(err)
			}
		}
		w.meanwhile(func() { bring(image) })
		w.pull(s).add(image).delegate(brakes, false, "brakes/*").mustPush(s)
		w.meanwhile(func() { bring(theirs) })
		brakes.add(theirs).mustPush(s)
		w.clock.advance(8 * 24 * time.Hour)
		if n, err := other.Sweep(t.Context()); err != nil || n != 0 {
			t.Errorf("swept %d, %v", n, err)
		}
		for _, i := range []uptane.Target{image, theirs} {
			if got, err := s.Image(t.Context(), ns, i.Filename); err != nil || got.Length != i.Length {
				t.Errorf("%s: %+v, %v", i.Filename, got, err)
			}
		}
	})
}

// An upload is completed at two replicas at once, at the end of its day, while a
// third sweeps: who is told that it is done finds the image.
func TestCompletingMeetsCompletingAndSweeping(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		other := w.server()
		for i := range 8 {
			name := "fw-" + string(rune('a'+i))
			id, tags := w.send(s, name, firmware(1500))
			w.clock.advance(24*time.Hour - time.Second)
			var results [2]error
			var all sync.WaitGroup
			for n, server := range []*server{s, other} {
				all.Go(func() { results[n] = server.Complete(t.Context(), ns, name, id, tags) })
			}
			if i%2 == 1 {
				all.Go(func() {
					for range i { // sooner and later
						_, _ = other.ID(t.Context(), ns)
					}
					w.clock.advance(2 * time.Second)
					if _, err := other.Sweep(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			_, lost := s.Uploaded(t.Context(), ns, name)
			for _, err := range results {
				if err == nil && lost != nil || i%2 == 0 && err != nil || err != nil && !errors.Is(err, repo.ErrUploadMissing) && !errors.Is(err, repo.ErrUpload) {
					t.Errorf("round %d: completing: %v; the image: %v", i, err, lost)
				}
			}
		}
	})
}

// A role gets a name and an address while another replica publishes targets that
// do not delegate to it any more: nothing of them is there when it comes back.
func TestRemoteOfARoleThatGoes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).mustPush(s)
		other := w.server()
		brakes, there := w.supplier("brakes"), newElsewhere(t)
		drop := func() {
			r := w.pull(other)
			r.payload.Delegations = nil
			r.mustPush(other)
		}
		w.log = slog.New(&whileSaying{words: "delegated metadata published", do: drop})
		third := w.server()
		w.pull(s).delegate(brakes, false, "brakes/*").mustPush(s)
		brakes.add(w.named("brakes/1"))
		brakes.payload.Version++
		there.doc = brakes.signed()
		wantFault(t, third.SetRemote(t.Context(), ns, "brakes", there.URL, map[string]string{"X-Api-Key": "hunter2"}, "Brakes Ltd", "x"), repo.ErrNotDelegated)
		for i := range 4 {
			w.clock.advance(2 * time.Second)
			w.pull(s).delegate(brakes, false, "brakes/*").mustPush(s)
			var all sync.WaitGroup
			all.Go(drop)
			all.Go(func() {
				for range 4 * i { // sooner and later
					_, _ = s.ID(t.Context(), ns)
				}
				if err := s.NameRole(t.Context(), ns, "brakes", "Brakes Ltd"); err != nil && !errors.Is(err, repo.ErrNotDelegated) {
					t.Error(err)
				}
			})
			all.Wait()
			w.clock.advance(2 * time.Second)
			w.pull(s).delegate(brakes, false, "brakes/*").mustPush(s)
			if role, err := s.Role(t.Context(), ns, "brakes"); err != nil || role.Remote != (repo.Remote{}) {
				t.Fatalf("round %d: %+v, %v", i, role.Remote, err)
			}
			drop()
		}
	})
}

// A device shows an image of lost targets at the moment in which a person ends the
// recovery at another replica: nothing it shows holds back the fleet afterwards.
func TestShowingMeetsTheEndOfRecovery(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).mustPush(s)
		if _, err := s.BeginRecovery(t.Context(), ns, 1440); err != nil {
			t.Fatal(err)
		}
		other := w.server()
		w.log = slog.New(&whileSaying{words: "targets exist that are not here", do: func() {
			if err := other.EndRecovery(t.Context(), ns, false); err != nil {
				t.Error(err)
			}
		}})
		third := w.server()
		if err := third.ShowTargets(t.Context(), ns, 7, "device"); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(2 * time.Second)
		if err := s.RequireNewest(t.Context(), ns); err != nil {
			t.Error(err)
		}
		if r, err := s.Recovery(t.Context(), ns); err != nil || r.Lasts || r.Behind() {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
