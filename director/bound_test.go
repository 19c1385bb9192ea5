package director_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
)

func (f *fleet) count(query string) (n int) {
	f.t.Helper()
	if err := f.db.GetContext(f.t.Context(), &n, query); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// TestADeviceCannotPileUpRows: however much it reports, the newest is kept,
// and what people did stays.
func TestADeviceCannotPileUpRows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		v := f.device("truck", "board")
		f.images.add("os-1", 0, "board")
		key := newKey(t)
		if err := f.ApproveKey(t.Context(), ns, v.id, v.ecus[0].serial, publicKey(t, key).ID()); err != nil {
			t.Fatal(err)
		}
		const reports = 250
		for i := range reports {
			v.ecus[0].attack = fmt.Sprint("attack ", i)
			m := v.manifest(&report{correlation: fmt.Sprint("urn:x:", i), code: "OK"})
			if err := f.ReceiveManifest(t.Context(), ns, v.id, m); err != nil {
				t.Fatal(err)
			}
		}
		if n := f.count(`SELECT COUNT(*) FROM director_report`); n != 100 {
			t.Errorf("%d reports are kept, want 100", n)
		}
		if n := f.count(`SELECT COUNT(*) FROM director_history`); n != 201 {
			t.Errorf("%d entries are kept, want 200 of the device and one of a person", n)
		}
		newest, err := f.History(t.Context(), ns, v.id, 1, 0)
		if err != nil || !strings.Contains(string(newest[0].Detail), fmt.Sprint("attack ", reports-1)) {
			t.Errorf("newest entry %+v, %v", newest, err)
		}
		oldest, err := f.History(t.Context(), ns, v.id, 1, 200)
		if err != nil || len(oldest) != 1 || oldest[0].Action != "ecu_key_approved" {
			t.Errorf("oldest entry %+v, %v", oldest, err)
		}
	})
}

// TestALargeReportIsCut: it is taken, because the client would send it for
// ever, and little of it is stored.
func TestALargeReportIsCut(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		v := f.device("truck", "board")
		long := strings.Repeat("x", 1<<20)
		var m map[string]json.RawMessage
		if err := json.Unmarshal(v.manifest(&report{correlation: "urn:x:1", code: "OK"}), &m); err != nil {
			t.Fatal(err)
		}
		var payload map[string]any
		if err := json.Unmarshal(m["signed"], &payload); err != nil {
			t.Fatal(err)
		}
		payload["installation_report"].(map[string]any)["report"].(map[string]any)["raw_report"] = long
		if err := f.ReceiveManifest(t.Context(), ns, v.id, signed(t, v.ecus[0].key, payload)); err != nil {
			t.Fatal(err)
		}
		if n := f.count(`SELECT MAX(LENGTH(report)) FROM director_report`); n > 128<<10 {
			t.Errorf("%d bytes are stored", n)
		}
		if n := len(f.journal.last().Report.RawReport); n > 64<<10 {
			t.Errorf("the journal is told %d bytes", n)
		}
	})
}
