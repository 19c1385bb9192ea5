package director_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/director"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/uptane"
)

const day = 24 * time.Hour

// TestFullVerification fetches in the standard's order, by both kinds of name.
func TestFullVerification(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		f.images.add("p-2", 5, "hw-p")
		v := f.device("car", "hw-p")
		var trusted *metadata.TimestampType
		var snapshots *metadata.SnapshotType
		for range 3 {
			now := f.clock.now()
			ts, err := uptane.Open[metadata.TimestampType](uptane.Uptane, v.get("timestamp.json"), uptane.RoleTimestamp, f.ring(uptane.RoleTimestamp), now)
			if err != nil {
				t.Fatal(err)
			}
			if err := uptane.CheckTimestamp(trusted, &ts.Payload); err != nil {
				t.Fatal(err)
			}
			name := uptane.RoleSnapshot.Filename(int(ts.Payload.Meta["snapshot.json"].Version))
			doc := v.get(name)
			if !bytes.Equal(doc, v.get("snapshot.json")) {
				t.Errorf("%s differs from snapshot.json", name)
			}
			sn, err := uptane.Open[metadata.SnapshotType](uptane.Uptane, doc, uptane.RoleSnapshot, f.ring(uptane.RoleSnapshot), now)
			if err != nil {
				t.Fatal(err)
			}
			if err := uptane.CheckSnapshot(&ts.Payload, doc, snapshots, &sn.Payload); err != nil {
				t.Fatal(err)
			}
			listed := sn.Payload.Meta["targets.json"]
			if len(listed.Hashes) != 0 {
				t.Error("snapshot lists targets by hash")
			}
			doc = v.get(uptane.RoleTargets.Filename(int(listed.Version)))
			targets := v.poll()
			if err := uptane.CheckTargets(&sn.Payload, uptane.RoleTargets, doc, nil, &targets); err != nil {
				t.Fatal(err)
			}
			trusted, snapshots = &ts.Payload, &sn.Payload
			if len(targets.Targets) == 0 {
				f.assign(map[uptane.HardwareID]string{"hw-p": "p-2"}, v)
			} else {
				f.clock.forward(25 * day)
			}
		}
		old := uptane.RoleTargets.Filename(int(snapshots.Meta["targets.json"].Version) - 1)
		for _, name := range []string{old, "9.root.json", "mirrors.json", "targets.txt", "0.targets.json", "../targets.json"} {
			if _, err := f.Metadata(t.Context(), ns, v.id, name); fault.Status(err) != 404 {
				t.Errorf("%s: %v", name, err)
			}
		}
		if !bytes.Equal(v.get("root.json"), v.get("1.root.json")) {
			t.Error("root.json is not 1.root.json")
		}
	})
}

// TestParallelPolls: many requests at many replicas get the same bytes.
func TestParallelPolls(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		v := f.device("car", "hw-p")
		v.get("timestamp.json")
		f.clock.forward(32 * day)
		replicas := []*director.Director{f.Director, f.replica(), f.replica(), f.replica()}
		for _, name := range []string{"timestamp.json", "targets.json"} {
			f.clock.forward(32 * day)
			docs := make([][]byte, 16)
			var wg sync.WaitGroup
			for i := range docs {
				wg.Go(func() {
					var err error
					if docs[i], err = replicas[i%4].Metadata(context.Background(), ns, v.id, name); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			wg.Wait()
			for _, doc := range docs {
				if !bytes.Equal(doc, docs[0]) {
					t.Fatalf("two different %s:\n%s\n%s", name, doc, docs[0])
				}
			}
		}
		v.poll()
	})
}

// TestIdleDevice: nothing is written or signed for a device in which nothing
// changes, until a quarter of the life of its metadata is left.
func TestIdleDevice(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	v := f.device("car", "hw-p")
	v.report(nil)
	doc := v.get("targets.json")
	if f.keys.signs != 1 {
		t.Errorf("%d signatures for one document", f.keys.signs)
	}
	f.unchanged("23 days of polls", func() {
		for range 23 {
			f.clock.forward(day)
			v.report(nil)
			if !bytes.Equal(v.get("targets.json"), doc) {
				t.Fatal("targets changed")
			}
		}
	})
	f.clock.forward(day)
	if bytes.Equal(v.get("targets.json"), doc) {
		t.Error("targets with a quarter of their life left are still served")
	}
}

// TestVersions: minutes since 2020, or one more than the last.
func TestVersions(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	f.images.add("p-2", 5, "hw-p")
	v := f.device("car", "hw-p")
	minutes := int64(f.clock.now().Sub(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) / time.Minute)
	for want := minutes; want < minutes+4; want++ {
		targets := v.poll()
		if targets.Version != want || !targets.Expires.Equal(f.clock.now().Add(31*day)) {
			t.Errorf("version %d, want %d; expires %s", targets.Version, want, targets.Expires)
		}
		if err := f.Renew(t.Context(), ns, v.id); err != nil {
			t.Fatal(err)
		}
	}
	f.clock.forward(time.Hour)
	if got := v.poll().Version; got != minutes+60 {
		t.Errorf("version %d an hour later, want %d", got, minutes+60)
	}
}

// TestRootRotation: a new root makes new documents at once, under a version no
// other content ever had; replaced keys let versions start again.
func TestRootRotation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		v := f.device("car", "hw-p")
		last := v.poll().Version
		for _, roles := range [][]uptane.Role{nil, {uptane.RoleTargets}, {uptane.RoleRoot}, {uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp}} {
			f.keys.rotate(f.clock.now().AddDate(1, 0, 0), roles...)
			targets := v.poll() // verified with the keys of the new root
			if targets.Version <= last {
				t.Errorf("version %d after %d under root %d", targets.Version, last, len(f.keys.roots))
			}
			last = targets.Version
		}
		// Someone with our keys burnt the numbers.
		if _, err := f.db.ExecContext(t.Context(),
			`UPDATE director_document SET version = $1 WHERE version = $2`, uptane.MaxVersion, last); err != nil {
			t.Fatal(err)
		}
		if _, err := f.db.ExecContext(t.Context(), `UPDATE director_device SET document = $1`, uptane.MaxVersion); err != nil {
			t.Fatal(err)
		}
		if err := f.Renew(t.Context(), ns, v.id); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Metadata(t.Context(), ns, v.id, "targets.json"); err == nil {
			t.Error("a version above what clients read was served")
		}
		f.keys.rotate(f.clock.now().AddDate(1, 0, 0), uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp)
		if got := v.poll().Version; got > last+10 {
			t.Errorf("version %d after the keys were replaced", got)
		}
	})
}

// TestRootOvertakes: the root changes between writing and signing. The version
// is void and never sealed; the next one is served.
func TestRootOvertakes(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	v := f.device("car", "hw-p")
	f.keys.ahead = true
	v.poll()
	var void, sealed int
	err := f.db.GetContext(t.Context(), &void, `SELECT COUNT(*) FROM director_document WHERE void AND document IS NULL AND role = 'targets'`)
	if err != nil || void != 1 {
		t.Errorf("%d void rows, %v", void, err)
	}
	err = f.db.GetContext(t.Context(), &sealed, `SELECT COUNT(*) FROM director_document WHERE NOT void AND document IS NOT NULL`)
	if err != nil || sealed != 1 {
		t.Errorf("%d sealed rows, %v", sealed, err)
	}
}

// TestExpiry: nothing outlives its root; what ends with the root is served to
// its end, and then nothing is.
func TestExpiry(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	f.images.add("p-2", 5, "hw-p")
	f.keys.rotate(f.clock.now().Add(20 * day))
	v := f.device("car", "hw-p")
	doc := v.get("targets.json")
	if end := v.poll().Expires; !end.Equal(f.clock.now().Add(20 * day)) {
		t.Errorf("ends %s", end)
	}
	f.clock.forward(20*day - time.Hour)
	if !bytes.Equal(v.get("targets.json"), doc) {
		t.Error("signed anew though the end could not move")
	}
	f.assign(map[uptane.HardwareID]string{"hw-p": "p-2"}, v)
	if len(v.offered()) != 1 {
		t.Error("no new assignment in the last hour of the root")
	}
	f.clock.forward(time.Hour)
	if _, err := f.Metadata(t.Context(), ns, v.id, "targets.json"); !errors.Is(err, director.ErrRootExpired) {
		t.Errorf("after the end of the root: %v", err)
	}
	f.keys.rotate(f.clock.now().AddDate(1, 0, 0))
	if len(v.offered()) != 1 {
		t.Error("nothing offered under the new root")
	}
}

func TestUnknownDevice(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	f.unchanged("polls of a device nobody knows", func() {
		for _, name := range []string{"targets.json", "snapshot.json", "timestamp.json"} {
			_, err := f.Metadata(t.Context(), ns, "id-nobody", name)
			if !errors.Is(err, director.ErrNotRegistered) || fault.Status(err) != 404 {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	if f.keys.signs != 0 {
		t.Error("something was signed for a device nobody knows")
	}
}

// TestPollPlan: what an idle device asks is answered by primary keys.
func TestPollPlan(t *testing.T) {
	d := dbtest.SQLite(t)
	newFleet(t, d)
	tests := []struct {
		query   string
		args    []any
		lookups int
	}{
		{director.PollQuery, []any{"default", "x", "targets"}, 2},
		{director.ECUQuery, []any{"default", "x", false}, 1},
		{director.OpenQuery, []any{"default", "x"}, 1},
	}
	for _, tt := range tests {
		var plan []struct {
			ID, Parent, NotUsed int
			Detail              string
		}
		if err := d.SelectContext(t.Context(), &plan, "EXPLAIN QUERY PLAN "+tt.query, tt.args...); err != nil {
			t.Fatal(err)
		}
		searches := 0
		for _, step := range plan {
			if strings.HasPrefix(step.Detail, "SCAN") {
				t.Errorf("%s\nreads a whole table: %s", tt.query, step.Detail)
			}
			if strings.HasPrefix(step.Detail, "SEARCH") {
				searches++
			}
		}
		if searches != tt.lookups {
			t.Errorf("%d look-ups, want %d: %s", searches, tt.lookups, tt.query)
		}
	}
}
