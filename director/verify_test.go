package director_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fsck"
	"sealift/uptane"
)

// verify returns what a check finds damaged, one line each, and its account.
// The list of devices has those whose id is not "id-stranger".
func (f *fleet) verify() ([]string, fsck.Result) {
	f.t.Helper()
	var damages []string
	a := fsck.New(func(d fsck.Damage) { damages = append(damages, d.String()) })
	err := f.Verify(f.t.Context(), a, func(_ context.Context, n uptane.Namespace, id uptane.DeviceID) (bool, error) {
		return n == ns && id != "id-stranger", nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return damages, a.Result()
}

// busy is a Director whose devices have been updated, are being updated, and
// have polled under two roots.
func busy(t *testing.T, d *db.DB) *fleet {
	t.Helper()
	f := newFleet(t, d)
	f.images.add("os-2", 0, "board")
	f.images.add("os-3", 0, "board")
	done, doing := f.device("done", "board", "mcu"), f.device("doing", "board")
	u := f.assign(map[uptane.HardwareID]string{"board": "os-2"}, done, doing)
	for _, v := range []*device{done, doing} {
		v.report(nil)
		for _, name := range []string{"targets.json", "timestamp.json", "snapshot.json"} {
			v.get(name)
		}
	}
	done.ecus[0].runs = f.images["os-2"]
	done.report(&report{correlation: u.Correlation, code: "OK"})
	f.keys.rotate(f.clock.now().AddDate(1, 0, 0), uptane.RoleTimestamp)
	done.get("timestamp.json")
	return f
}

func TestVerifyFindsNothingWrong(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := busy(t, d)
		damages, r := f.verify()
		if len(damages) > 0 {
			t.Errorf("%q", damages)
		}
		for kind, n := range map[string]int64{"Director documents": 8, "documents not signed": 1, "devices of the Director": 2,
			"ECUs": 3, "assignments": 2, "installation reports": 1} {
			if !slices.Contains(r.Looked, fsck.Count{Kind: kind, N: n}) {
				t.Errorf("%d %s were not looked at: %+v", n, kind, r.Looked)
			}
		}
	})
}

func TestVerifyNamesDamage(t *testing.T) {
	for _, c := range []struct{ what, statement, want string }{
		{"bytes nobody signed", `UPDATE director_document SET document = replace(CAST(document AS TEXT), 'os-2', 'os-9') WHERE role = 'targets'`, "counting 0 of 1 signatures"},
		{"the root of a document", `UPDATE director_document SET root_version = 2 WHERE role = 'timestamp'`, "counting 0 of 1 signatures"},
		{"a root that is not there", `UPDATE director_document SET root_version = 9`, "root version 9"},
		{"a version", `UPDATE director_document SET version = version + 1000 WHERE role = 'targets'`, "which is not there"},
		{"an end", `UPDATE director_document SET expires = expires + 1 WHERE role = 'targets'`, "its row another"},
		{"what was written ahead", `UPDATE director_document SET payload = COALESCE(document, payload)`, "something else was signed"},
		{"a given-up document", `UPDATE director_document SET void = TRUE`, "it was given up and signed"},
		{"a snapshot that is gone", `DELETE FROM director_document WHERE role = 'snapshot'`, "timestamp"},
		{"another vehicle's", `UPDATE director_device SET oemid = 'other'`, `it is for "doing", the device is "other"`},
		{"a correlation id", `UPDATE director_document SET correlation = 'x' WHERE correlation <> ''`, "its correlation id is"},
		{"a device that is gone", `DELETE FROM director_device WHERE device = 'id-done'`, "but no such device"},
		{"a device nobody lists", `UPDATE director_device SET device = 'id-stranger' WHERE device = 'id-doing'`, "the list of devices lacks it"},
		{"an ECU's key", `UPDATE director_ecu SET key_id = '` + strings.Repeat("ab", 32) + `'`, "is not the one of its key id"},
		{"another device's key", `UPDATE director_ecu_key SET device = 'id-doing'`, `belongs to device "id-doing"`},
		{"a Primary", `UPDATE director_device SET primary_serial = 'none'`, "its Primary none is not among them"},
		{"an assignment's image", `UPDATE director_assignment SET target = '{'`, "reading stored target"},
		{"an assignment's status", `UPDATE director_assignment SET status = 'installed'`, "it is installed, but open is true"},
		{"an update", `DELETE FROM director_update`, "there is no update"},
		{"a report", `UPDATE director_report SET report = '{'`, "it cannot be read"},
	} {
		t.Run(c.what, func(t *testing.T) {
			d := dbtest.SQLite(t)
			f := busy(t, d)
			if _, err := d.ExecContext(t.Context(), c.statement); err != nil {
				t.Fatal(err)
			}
			damages, r := f.verify()
			if r.Damaged == 0 || !slices.ContainsFunc(damages, func(d string) bool {
				return strings.Contains(d, c.want) && strings.HasPrefix(d, "namespace default, device id-")
			}) {
				t.Errorf("damages %q, want %q among them", damages, c.want)
			}
		})
	}
}
