package repo_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/keys"
	"sealift/repo"
	"sealift/uptane"
)

// restored is the server that comes up on a copy of the database that was made
// before: only the bucket, the keys and the clock are those of the lost one.
func (w *world) restored(backup string) *server {
	w.t.Helper()
	d, err := db.Open(w.t.Context(), backup)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = d.Close() })
	w.db = d
	w.signed = map[string]string{}
	return w.server()
}

// An old backup is restored under a device that has seen twenty releases since,
// all within a minute, so that versions are ahead of the clock.
func TestNoVersionGoesBackAfterARestore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "live.db")
	d, err := db.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	w, s := newWorld(t, d)
	w.pull(s).add(w.ostreeTarget("os", "0")).mustPush(s)
	w.device.mustUpdate(s)
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := db.Snapshot(t.Context(), path, backup); err != nil {
		t.Fatal(err)
	}
	var last *release
	for i := range 20 {
		w.clock.advance(time.Second)
		last = w.pull(s).add(w.ostreeTarget("os", fmt.Sprint(i+1)))
		last.mustPush(s)
		w.device.mustUpdate(s)
	}
	w.upload(s, "app-1", firmware(100))
	last = w.pull(s).add(w.binaryTarget("app", "1", firmware(100)))
	last.mustPush(s)
	w.device.mustUpdate(s)
	w.clock.advance(time.Second)

	r := w.restored(backup)
	before := w.device.timestamp.Version
	if err := w.device.update(r); !errors.Is(err, uptane.ErrRollback) {
		t.Fatalf("nothing was done about the versions, and the device says %v", err)
	}
	floor, err := r.BeginRecovery(t.Context(), ns, 1440)
	if err != nil || int64(floor) <= before {
		t.Fatalf("floor %d after %d, %v", floor, before, err)
	}
	if err := w.device.update(r); !errors.Is(err, uptane.ErrRollback) || !strings.Contains(err.Error(), "targets") {
		t.Fatalf("targets are older, and the device says %v", err)
	}
	taken, err := r.TakeTargets(t.Context(), ns, last.signed(), nil, "restore")
	if err != nil || !taken.Newer || taken.Version != 22 {
		t.Fatalf("%+v, %v", taken, err)
	}
	if want := []string{"app-1: its bytes were never uploaded"}; len(taken.Missing) != 1 || taken.Missing[0] != want[0] {
		t.Errorf("missing %q, want %q", taken.Missing, want)
	}
	w.device.mustUpdate(r)
	if w.device.timestamp.Version < int64(floor) || w.device.targets.Version != 22 || len(w.device.targets.Targets) != 22 {
		t.Errorf("timestamp %d, floor %d, targets %d", w.device.timestamp.Version, floor, w.device.targets.Version)
	}
	again, err := r.TakeTargets(t.Context(), ns, last.signed(), nil, "restore")
	if err != nil || again.Newer {
		t.Errorf("taking the same once more: %+v, %v", again, err)
	}
	w.upload(r, "app-1", firmware(100)) // brought again
	if i, err := r.Image(t.Context(), ns, "app-1"); err != nil || i.Key == "" {
		t.Errorf("%+v, %v", i, err)
	}
	if damages, _ := r.verify(t); len(damages) > 0 {
		t.Errorf("%q", damages)
	}
	w.pull(r).add(w.ostreeTarget("os", "99")).mustPush(r)
	w.device.mustUpdate(r)
}

// Pushes that came after the backup are lost. Whoever signed them brings the last
// one again, as it is or the next one made from it; at other times neither is
// taken.
func TestPushesAfterARestore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		w, s := newWorld(t, d)
		w.pull(s).add(w.ostreeTarget("os", "1")).mustPush(s)
		release := func(version int64, base string) error {
			p := &release{w: w, payload: metadata.Targets(w.clock.now().AddDate(0, 1, 0)).Signed}
			p.payload.Version = version
			_, err := s.PutTargets(ctx, ns, p.add(w.ostreeTarget("os", "1")).signed(), base, "a build")
			return err
		}
		lost := strings.Repeat("ab", 32)
		wantFault(t, release(7, lost), repo.ErrChecksum)
		if _, err := s.BeginRecovery(ctx, ns, 1440); err != nil {
			t.Fatal(err)
		}
		wantFault(t, release(7, ""), repo.ErrNoChecksum)
		wantFault(t, release(1, lost), repo.ErrChecksum)
		if err := release(7, lost); err != nil {
			t.Fatalf("the last of before: %v", err)
		}
		wantFault(t, release(7, lost), repo.ErrChecksum)
		if err := release(9, lost); err != nil {
			t.Errorf("made from one that is lost: %v", err)
		}
		w.device.mustUpdate(s)
		if got := w.device.targets.Version; got != 9 {
			t.Errorf("the device has targets %d", got)
		}
		if err := s.EndRecovery(ctx, ns, false); err != nil {
			t.Fatal(err)
		}
		wantFault(t, release(12, lost), repo.ErrChecksum)
	})
}

// Whoever signs for a repository that is behind must not tell a story of his
// own about a version that is there.
func TestTakenTargetsDoNotContradict(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).add(w.ostreeTarget("os", "1")).mustPush(s)
		other := w.pull(s)
		other.payload.Version = 1
		_, err := s.TakeTargets(t.Context(), ns, other.add(w.ostreeTarget("os", "2")).signed(), nil, "restore")
		wantFault(t, err, repo.ErrExists, "version 1 say something else here")

		stranger := newKey(t)
		w.targets, stranger = stranger, w.targets
		next := &release{w: w, payload: metadata.Targets(w.clock.now().AddDate(0, 1, 0)).Signed}
		next.payload.Version = 5
		_, err = s.TakeTargets(t.Context(), ns, next.signed(), nil, "restore")
		wantFault(t, err, repo.ErrInvalidTargets)
		w.targets = stranger
		same := w.pull(s)
		same.payload.Version = 5
		changed := w.ostreeTarget("os", "other")
		changed.Filename = "os-1"
		_, err = s.TakeTargets(t.Context(), ns, same.add(changed).signed(), nil, "restore")
		wantFault(t, err, repo.ErrInvalidTargets, "stands for other content")
	})
}

// In recovery the versions go on a day above everything, also for roles whose
// versions are ahead of the clock; what was signed before is served no more; and
// while newer targets are known to exist, clients get nothing.
func TestRecovery(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		w, s := newWorld(t, d)
		w.pull(s).add(w.ostreeTarget("os", "1")).mustPush(s)
		w.device.mustUpdate(s)
		if _, err := d.ExecContext(ctx, `UPDATE repo_document SET version = version + 5000, document = NULL, void = TRUE WHERE role = 'timestamp'`); err != nil {
			t.Fatal(err)
		}
		ahead := int(w.device.timestamp.Version) + 5000
		replica := w.server()
		if err := replica.RequireNewest(ctx, ns); err != nil {
			t.Fatal(err)
		}
		floor, err := s.BeginRecovery(ctx, ns, 1440)
		if err != nil {
			t.Fatal(err)
		}
		w.clock.advance(time.Second)
		w.device.mustUpdate(replica)
		for _, got := range []int64{w.device.timestamp.Version, w.device.snapshot.Version} {
			if int(got) != floor || floor <= ahead+1440 {
				t.Errorf("version %d, floor %d, %d was there before", got, floor, ahead)
			}
		}
		again, err := s.BeginRecovery(ctx, ns, 1440)
		if err != nil || again != floor+1440 {
			t.Errorf("restored twice: floor %d after %d, %v", again, floor, err)
		}
		w.device.mustUpdate(s)

		for _, filename := range []string{"os-1", "from-elsewhere"} { // the second is not known here
			if err := s.ShowImage(ctx, ns, filename, "device car-1"); err != nil {
				t.Fatal(err)
			}
			if err := s.RequireNewest(ctx, ns); (err != nil) != (filename == "from-elsewhere") {
				t.Errorf("after %s: %v", filename, err)
			}
		}
		wantFault(t, s.RequireNewest(ctx, ns), repo.ErrBehind, "targets version 1 are here, 2 exist")
		w.clock.advance(time.Second)
		wantFault(t, replica.RequireNewest(ctx, ns), repo.ErrBehind)
		_, err = s.Metadata(ctx, ns, "targets.json")
		if err != nil {
			t.Errorf("whoever signs must still get them: %v", err)
		}
		now, err := s.Recovery(ctx, ns)
		if err != nil || !now.Behind() || now.ShownBy != "device car-1, which runs from-elsewhere" {
			t.Errorf("%+v, %v", now, err)
		}
		if err := s.EndRecovery(ctx, ns, false); fault.Status(err) != 409 {
			t.Errorf("ending: %v", err)
		}
		w.pull(s).add(w.ostreeTarget("os", "2")).mustPush(s)
		if err := s.RequireNewest(ctx, ns); err != nil {
			t.Errorf("caught up: %v", err)
		}
		if err := s.ShowTargets(ctx, ns, 9, "the offline folder"); err != nil {
			t.Fatal(err)
		}
		wantFault(t, s.RequireNewest(ctx, ns), repo.ErrBehind, "9 exist")
		if err := s.EndRecovery(ctx, ns, true); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.ShowImage(ctx, ns, "x", "device"), s.ShowTargets(ctx, ns, 10, "device"), s.RequireNewest(ctx, ns)); err != nil {
			t.Errorf("when it is over: %v", err)
		}
		w.device.mustUpdate(s)
	})
}

// A root that is missing holds everything back, for TUF clients too.
func TestBehindByRoot(t *testing.T) {
	ctx := t.Context()
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).mustPush(s)
	if err := errors.Join(s.vault.BeginRecovery(ctx, ns, w.clock.now()), s.vault.ShowRoot(ctx, ns, uptane.ImageRepository, 2, "device car-1")); err != nil {
		t.Fatal(err)
	}
	wantFault(t, s.RequireNewest(ctx, ns), keys.ErrBehind, "version 1 is here, 2 exists")
	_, err := s.TUFMetadata(ctx, ns, "timestamp.json")
	wantFault(t, err, repo.ErrTUFOff)
	w.putRoot(s)
	if err := s.RequireNewest(ctx, ns); err != nil {
		t.Error(err)
	}
}
