package repo_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/keys"
	"sealift/repo"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

const day = 24 * time.Hour

var errPower = errors.New("power failed")

// failing makes the signer fail for one role.
func failing(role uptane.Role) func(uptane.Job) error {
	return func(j uptane.Job) error {
		if j.Role == role {
			return errPower
		}
		return nil
	}
}

func timestamp(t *testing.T, s *server) string {
	t.Helper()
	doc, err := s.Metadata(t.Context(), ns, "timestamp.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(doc.Bytes)
}

// The server dies between writing ahead and sealing. Nothing of the push is
// visible; another replica takes the same push up and finishes the very
// documents that were begun.
func TestPushThatBrokeOff(t *testing.T) {
	for _, role := range []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp} {
		t.Run(string(role), func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				w, s := newWorld(t, d)
				w.pull(s).mustPush(s)
				w.device.mustUpdate(s)
				before := timestamp(t, s)

				r := w.pull(s).add(w.ostreeTarget("brakes", "1"))
				doc := r.signed()
				w.breakSigner(failing(role))
				if _, err := s.PutTargets(t.Context(), ns, doc, r.checksum, "a"); !errors.Is(err, errPower) {
					t.Fatalf("pushing: %v", err)
				}
				w.breakSigner(nil)
				signed := w.signatures()
				other := w.server()
				w.clock.advance(time.Minute)
				if timestamp(t, other) != before {
					t.Error("half a push is visible")
				}
				_, err := other.Target(t.Context(), ns, "brakes-1")
				wantFault(t, err, repo.ErrTargetMissing)

				if _, err := other.PutTargets(t.Context(), ns, doc, r.checksum, "a"); err != nil {
					t.Fatal(err)
				}
				w.device.mustUpdate(other)
				if w.device.targets.Version != 2 {
					t.Errorf("version %d is visible", w.device.targets.Version)
				}
				want := 2 // what was written ahead is sealed, nothing else
				if role == uptane.RoleTimestamp {
					want = 1 // the snapshot was sealed before
				}
				if n := w.signatures() - signed; n != want {
					t.Errorf("%d more versions were signed, want %d", n, want)
				}
			})
		})
	}
}

// What devices saw while a push was broken off is older than what they see
// when it is taken up again.
func TestRenewalBesideABrokenPush(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).mustPush(s)
	r := w.pull(s).add(w.ostreeTarget("brakes", "1"))
	doc := r.signed()
	w.breakSigner(failing(uptane.RoleTimestamp))
	if _, err := s.PutTargets(t.Context(), ns, doc, r.checksum, "a"); err == nil {
		t.Fatal("the push should have broken off")
	}
	w.breakSigner(nil)
	w.clock.advance(25 * day) // snapshot and timestamp are due
	w.device.mustUpdate(s)
	seen := w.device.snapshot.Version
	if _, err := s.PutTargets(t.Context(), ns, doc, r.checksum, "a"); err != nil {
		t.Fatal(err)
	}
	w.device.mustUpdate(s) // refuses anything older
	if w.device.targets.Version != 2 || w.device.snapshot.Version <= seen {
		t.Errorf("targets %d, snapshot %d after %d", w.device.targets.Version, w.device.snapshot.Version, seen)
	}
}

// After expiry everybody asks at once, at every replica, and gets the same bytes.
func TestConcurrentReadsAfterExpiry(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).mustPush(s)
		w.device.mustUpdate(s)
		replicas := []*server{s, w.server(), w.server()}
		for range 3 {
			before := timestamp(t, s)
			w.clock.advance(8 * day)
			got := make([]string, 16)
			var group sync.WaitGroup
			for i := range got {
				group.Go(func() {
					doc, err := replicas[i%len(replicas)].Metadata(t.Context(), ns, "timestamp.json")
					if err != nil {
						t.Error(err)
					}
					got[i] = string(doc.Bytes)
				})
			}
			group.Wait()
			for _, doc := range got {
				if doc != got[0] || doc == before {
					t.Fatalf("different timestamps:\n%s\n%s", doc, got[0])
				}
			}
			w.device.mustUpdate(replicas[1])
		}
		snapshots := 0
		for name := range w.signed {
			if name[:1] == "S" {
				snapshots++
			}
		}
		// 24 days: the snapshot was due once, the timestamp three times.
		if n := w.signatures() - snapshots; snapshots != 2 || n != 4 {
			t.Errorf("%d snapshots and %d timestamps were signed, want 2 and 4", snapshots, n)
		}
	})
}

// Reading signs nothing as long as enough time is left.
func TestRenewalIsLazy(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).mustPush(s)
	first := timestamp(t, s)
	w.clock.advance(repo.TimestampLife - 72*time.Hour)
	if timestamp(t, s) != first {
		t.Error("a timestamp with 72 hours left is served")
	}
	w.clock.advance(time.Second)
	if timestamp(t, s) == first {
		t.Error("a timestamp with less than 72 hours left is renewed")
	}
}

// When nothing can be signed, what is stored does as long as it is valid.
func TestServingWithoutSigner(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).mustPush(s)
	first := timestamp(t, s)
	w.breakSigner(func(uptane.Job) error { return keys.ErrKeyOffline })
	w.clock.advance(repo.TimestampLife - time.Hour)
	if timestamp(t, s) != first {
		t.Error("the stored timestamp is valid for an hour")
	}
	w.clock.advance(time.Hour)
	_, err := s.Metadata(t.Context(), ns, "timestamp.json")
	wantFault(t, err, keys.ErrKeyOffline)
	if _, err := s.Metadata(t.Context(), ns, "targets.json"); err != nil {
		t.Errorf("targets need no signature of ours: %v", err)
	}
	w.breakSigner(nil)
	w.clock.advance(2 * time.Second)
	w.device.mustUpdate(s)
}

// A new root reaches every replica within a second; devices then get what was
// signed under it, by new keys too.
func TestRootRotation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).add(w.ostreeTarget("brakes", "1")).mustPush(s)
		other := w.server()
		w.device.mustUpdate(other)
		before := timestamp(t, other)

		next, err := s.NextRoot(t.Context(), ns)
		if err != nil {
			t.Fatal(err)
		}
		var head struct{ Version int }
		mustDecode(t, next, &head)
		if head.Version != 2 {
			t.Errorf("the next root has version %d", head.Version)
		}
		w.newOnlineKey(s, uptane.RoleTimestamp)
		w.putRoot(s)
		w.clock.advance(time.Second)
		if timestamp(t, other) == before {
			t.Error("a timestamp of the old root is served")
		}
		w.device.mustUpdate(other)
		if w.device.root.Version != 2 || timestamp(t, other) != timestamp(t, s) {
			t.Error("replicas differ after a rotation")
		}
	})
}

// A thief signed the highest version there is. New keys leave it behind.
func TestVersionsRestartWithNewKeys(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).mustPush(s)
	w.device.mustUpdate(s)
	minutes := int64(w.clock.now().Sub(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) / time.Minute)
	if v := w.device.timestamp.Version; v != minutes {
		t.Errorf("version %d, want the minutes since 2020: %d", v, minutes)
	}
	_, err := w.db.ExecContext(t.Context(), `UPDATE repo_document SET version = $1 WHERE role = 'timestamp'`, uptane.MaxVersion)
	if err != nil {
		t.Fatal(err)
	}
	w.clock.advance(8 * day)
	if _, err := s.Metadata(t.Context(), ns, "timestamp.json"); !errors.Is(err, uptane.ErrVersion) {
		t.Errorf("beyond the highest version: %v", err)
	}
	w.newOnlineKey(s, uptane.RoleTimestamp)
	w.putRoot(s)
	w.device.mustUpdate(s)
	if v := w.device.timestamp.Version; v > minutes+9*24*60 || v < minutes {
		t.Errorf("version %d after a rotation", v)
	}
}

// Nothing outlives the root; what ends with it is not renewed for age.
func TestLifeEndsWithRoot(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.root.Expires = w.clock.now().Add(2 * day)
	w.putRoot(s)
	w.pull(s).mustPush(s)
	w.device.mustUpdate(s)
	if !w.device.timestamp.Expires.Equal(w.root.Expires) || !w.device.snapshot.Expires.Equal(w.root.Expires) {
		t.Errorf("timestamp ends %s, root %s", w.device.timestamp.Expires, w.root.Expires)
	}
	first := timestamp(t, s)
	w.clock.advance(2*day - time.Minute)
	if timestamp(t, s) != first {
		t.Error("renewing would not make it last longer")
	}
	w.clock.advance(time.Minute)
	_, err := s.Metadata(t.Context(), ns, "timestamp.json")
	wantFault(t, err, repo.ErrRootExpired)
	wantFault(t, w.pull(s).push(s), repo.ErrRootExpired)

	w.root.Expires = w.clock.now().AddDate(1, 0, 0)
	w.putRoot(s)
	w.pull(s).mustPush(s)
	w.device.mustUpdate(s)
	if w.device.targets.Version != 2 {
		t.Errorf("version %d after the new root", w.device.targets.Version)
	}
}

// The TUF document of a push waits for it, beside others, and is published with
// the one that says the same.
func TestTwins(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).mustPush(s)
		public := func(r *release) *metadata.TargetsType {
			p, err := uptane.PublicTargets(&r.payload)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		stage := func(r *release) error {
			return s.StageTwin(t.Context(), ns, uptane.RoleTargets, signAs(t, uptane.TUF, uptane.RoleTargets, public(r), w.targets))
		}
		pushed, other := w.pull(s).add(w.ostreeTarget("brakes", "1")), w.pull(s).add(w.ostreeTarget("radio", "1"))
		if err := errors.Join(stage(other), stage(pushed), stage(pushed)); err != nil {
			t.Fatal(err)
		}
		wantFault(t, s.StageTwin(t.Context(), ns, uptane.RoleTargets, pushed.signed()), acceptance.ErrRefused)
		foreign := signAs(t, uptane.TUF, uptane.RoleTargets, public(pushed), newKey(t))
		wantFault(t, s.StageTwin(t.Context(), ns, uptane.RoleTargets, foreign), repo.ErrInvalid)
		if err := s.StageTwin(t.Context(), ns, uptane.RoleTimestamp, foreign); fault.Status(err) != 404 {
			t.Errorf("staging a timestamp: %v", err)
		}
		count := func(where string) (n int) {
			if err := w.db.GetContext(t.Context(), &n, `SELECT count(*) FROM repo_twin WHERE `+where); err != nil {
				t.Fatal(err)
			}
			return n
		}
		pushed.mustPush(s)
		if published, staged := count("published_at > 0"), count("published_at = 0"); published != 1 || staged != 1 {
			t.Errorf("%d twins published, %d staged", published, staged)
		}
		w.clock.advance(25 * time.Hour)
		if _, err := s.Sweep(t.Context()); err != nil || count("published_at = 0") != 0 || count("true") != 1 {
			t.Errorf("a day later: %d twins, %v", count("true"), err)
		}
	})
}

func TestRootTwin(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.root.Version++
	doc := sign(t, uptane.RoleRoot, w.root, w.rootKey)
	twin := signAs(t, uptane.TUF, uptane.RoleRoot, w.root, w.rootKey)
	if err := s.StageTwin(t.Context(), ns, uptane.RoleRoot, twin); err != nil {
		t.Fatal(err)
	}
	// Version 1 has no twin, so this one cannot be published yet: devices get
	// their root all the same.
	if err := s.PutRoot(t.Context(), ns, doc); err != nil {
		t.Fatal(err)
	}
	if v, err := s.vault.RootVersion(t.Context(), ns, uptane.ImageRepository); err != nil || v != 2 {
		t.Errorf("root version %d, %v", v, err)
	}
	if err := s.PutRoot(t.Context(), ns, []byte("{}")); keys.Reasons(err) == nil {
		t.Errorf("what is no root: %v", err)
	}
}
