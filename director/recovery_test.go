package director_test

import (
	"context"
	"encoding/hex"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/director"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/uptane"
)

// In recovery every device's versions go on a day above the clock or its own
// last one, nothing signed before is served, and what was assigned before is
// cancelled. Devices that never asked, and those that never registered, are no
// trouble.
func TestRecovery(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, f := t.Context(), newFleet(t, d)
		f.images.add("os-2", 0, "board")
		asked, ahead, silent := f.device("asked", "board"), f.device("ahead", "board"), f.device("silent", "board")
		if err := f.Reset(ctx, ns, f.device("reset", "board").id); err != nil {
			t.Fatal(err)
		}
		before := asked.poll().Version
		for range 30 { // many changes within a minute
			f.assign(map[uptane.HardwareID]string{"board": "os-2"}, ahead)
			ahead.poll()
			if _, err := f.Cancel(ctx, ns, ahead.id, true); err != nil {
				t.Fatal(err)
			}
		}
		far := ahead.poll().Version
		if far <= before {
			t.Fatalf("%d is not ahead of %d", far, before)
		}
		f.assign(map[uptane.HardwareID]string{"board": "os-2"}, asked, silent)
		old := asked.get("timestamp.json")

		ended, err := f.BeginRecovery(ctx, ns, 1440)
		if err != nil || len(ended) != 2 {
			t.Fatalf("ended %+v, %v", ended, err)
		}
		for _, v := range []*device{asked, ahead, silent} {
			if got := v.offered(); len(got) != 0 {
				t.Errorf("%s is still offered %v", v.oemid, got)
			}
			want := max(before, v.poll().Version)
			if v == ahead {
				want = far + 1440
			} else if want < before+1440 {
				t.Errorf("%s: version %d after %d", v.oemid, want, before)
			}
			if got := v.poll().Version; got < want {
				t.Errorf("%s: version %d, want at least %d", v.oemid, got, want)
			}
		}
		if string(asked.get("timestamp.json")) == string(old) {
			t.Error("what was signed before is served")
		}
		if got := asked.statuses()[asked.ecus[0].serial]; got != director.Cancelled {
			t.Errorf("status %s", got)
		}
		again := asked.poll().Version
		if _, err := f.BeginRecovery(ctx, ns, 1440); err != nil {
			t.Fatal(err)
		}
		if got := asked.poll().Version; got != again+1440 {
			t.Errorf("restored twice: %d after %d", got, again)
		}
	})
}

// A highest version that a thief signed cannot be passed; everybody else's can.
func TestRecoveryAfterAFastForward(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		v, other := f.device("car", "board"), f.device("other", "board")
		first := other.poll().Version
		v.poll()
		if _, err := d.ExecContext(t.Context(), `UPDATE director_document SET version = $1 WHERE device = $2`, uptane.MaxVersion, v.id); err != nil {
			t.Fatal(err)
		}
		if _, err := f.BeginRecovery(t.Context(), ns, 1440); err != nil {
			t.Fatal(err)
		}
		if got := other.poll().Version; got != first+1440 {
			t.Errorf("version %d after %d", got, first)
		}
		if _, err := f.Metadata(t.Context(), ns, v.id, "targets.json"); err == nil {
			t.Error("there is nothing above the highest version")
		}
		f.keys.rotate(f.clock.now().AddDate(1, 0, 0), uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp)
		if got := v.poll().Version; got != first+1440 {
			t.Errorf("under new keys: version %d", got)
		}
	})
}

// The Director tells which images ECUs have begun to run: not the first that an
// ECU ever reports, not the same again, and nothing before it is stored.
func TestBegan(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		var told []string
		fail := error(nil)
		f.began = func(_ context.Context, n uptane.Namespace, id uptane.DeviceID, filename string) error {
			told = append(told, string(n)+"/"+string(id)+"/"+filename)
			return fail
		}
		f.Director = f.replica()
		f.images.add("os-2", 0, "board")
		v := f.device("car", "board", "mcu")
		v.report(nil)
		v.report(nil)
		if len(told) != 0 {
			t.Errorf("told of %q", told)
		}
		nothing, _ := hex.DecodeString("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
		v.ecus[0].runs = uptane.Target{Filename: "noimage", Hashes: metadata.Hashes{"sha256": nothing}}
		v.report(nil)
		if len(told) != 0 {
			t.Errorf("told of %q, which is no image", told)
		}
		v.ecus[0].runs = f.images["os-2"]
		fail = errors.New("nobody listens")
		v.report(nil)
		if !slices.Equal(told, []string{"default/id-car/os-2"}) {
			t.Errorf("told of %q", told)
		}
	})
}

// A device whose registration is lost registers again: it has seen versions too,
// ahead of the clock perhaps.
func TestRecoveryHoldsForDevicesThatRegisterLater(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		if _, err := f.BeginRecovery(t.Context(), ns, 1440); err != nil {
			t.Fatal(err)
		}
		nobody := f.device("first", "board").poll().Version
		f.images.add("os-2", 0, "board")
		ahead := f.device("ahead", "board")
		for range 30 {
			f.assign(map[uptane.HardwareID]string{"board": "os-2"}, ahead)
			ahead.poll()
			if _, err := f.Cancel(t.Context(), ns, ahead.id, true); err != nil {
				t.Fatal(err)
			}
		}
		far := ahead.poll().Version
		if _, err := f.BeginRecovery(t.Context(), ns, 1440); err != nil {
			t.Fatal(err)
		}
		if got := f.device("late", "board").poll().Version; nobody < 1440 || far <= nobody || got < far+1440 {
			t.Errorf("version %d after %d; %d without any device", got, far, nobody)
		}
	})
}

// The drill: a database is restored that is older than what the device has seen.
func TestNoVersionGoesBackAfterARestore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "live.db")
	d, err := db.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	f := newFleet(t, d)
	f.images.add("os-2", 0, "board")
	v := f.device("car", "board")
	v.poll()
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := db.Snapshot(t.Context(), path, backup); err != nil {
		t.Fatal(err)
	}
	seen := int64(0)
	for range 10 {
		f.assign(map[uptane.HardwareID]string{"board": "os-2"}, v)
		v.poll()
		if _, err := f.Cancel(t.Context(), ns, v.id, true); err != nil {
			t.Fatal(err)
		}
		seen = v.poll().Version
	}
	restored, err := db.Open(t.Context(), backup)
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	f.db = restored
	f.Director = f.replica()
	if got := v.poll().Version; got >= seen {
		t.Fatalf("nothing was done, and version %d comes after %d: this test could not fail", got, seen)
	}
	if _, err := f.BeginRecovery(t.Context(), ns, 1440); err != nil {
		t.Fatal(err)
	}
	if got := v.poll().Version; got <= seen {
		t.Errorf("version %d after %d", got, seen)
	}
}
