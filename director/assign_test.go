package director_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"sealift/director"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/uptane"
)

func to(filename string) director.UpdateTarget {
	return director.UpdateTarget{To: director.Image{Filename: filename}}
}

func TestRefusedUpdates(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	f.images.add("p-2", 5, "hw-p")
	good := f.images["p-2"].SHA256()
	tests := []struct {
		name    string
		targets map[uptane.HardwareID]director.UpdateTarget
		cause   string
	}{
		{"nothing", nil, "hardware ids"},
		{"image nobody signed", map[uptane.HardwareID]director.UpdateTarget{"hw-p": to("p-3")}, "p-3"},
		{"image for other hardware", map[uptane.HardwareID]director.UpdateTarget{"hw-s": to("p-2")}, "hw-p"},
		{"hardware id with control characters", map[uptane.HardwareID]director.UpdateTarget{"hw\n": to("p-2")}, "printable"},
		{"other checksum", map[uptane.HardwareID]director.UpdateTarget{"hw-p": {To: director.Image{Filename: "p-2", SHA256: strings.Repeat("0", 64), Length: 5}}}, "checksum"},
		{"other length", map[uptane.HardwareID]director.UpdateTarget{"hw-p": {To: director.Image{Filename: "p-2", SHA256: good, Length: 6}}}, "length"},
		{"file URI", map[uptane.HardwareID]director.UpdateTarget{"hw-p": {To: director.Image{Filename: "p-2"}, URI: "file:///etc/passwd"}}, "URL"},
		{"URI with a password", map[uptane.HardwareID]director.UpdateTarget{"hw-p": {To: director.Image{Filename: "p-2"}, URI: "https://a:b@x/"}}, "URL"},
	}
	for _, tt := range tests {
		f.unchanged(tt.name, func() {
			_, err := f.CreateUpdate(t.Context(), ns, "", tt.targets)
			if !errors.Is(err, director.ErrInvalidUpdate) || !strings.Contains(fault.Of(err).Cause(), tt.cause) {
				t.Errorf("%s: %v", tt.name, err)
			}
		})
	}
	if _, err := f.CreateUpdate(t.Context(), ns, "", map[uptane.HardwareID]director.UpdateTarget{
		"hw-p": {To: director.Image{Filename: "p-2", SHA256: strings.ToUpper(good), Length: 5}}}); err != nil {
		t.Errorf("the right checksum in capitals: %v", err)
	}
}

// TestRefusedAssignments names the reason for each ECU that gets nothing.
func TestRefusedAssignments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		for _, name := range []string{"p-1", "p-2", "withdrawn", "rebuilt"} {
			f.images.add(name, 5, "hw-p")
		}
		f.images.add("tree", 0, "hw-p")
		v := f.device("car", "hw-p", "hw-s")
		v.ecus[0].runs = f.images["p-1"]
		v.report(nil)
		other := f.images["p-1"]
		twin := f.device("twin", "hw-p")
		twin.ecus[0].runs = uptane.Target{Filename: "p-2", Hashes: other.Hashes, Length: 5}
		twin.report(nil)
		busy := f.device("busy", "hw-p")
		busy.report(nil)
		f.assign(map[uptane.HardwareID]string{"hw-p": "p-2"}, busy)

		p := v.ecus[0].serial
		from := func(name, sum string) director.UpdateTarget {
			return director.UpdateTarget{To: director.Image{Filename: "p-2"}, From: &director.Image{Filename: name, SHA256: sum}}
		}
		tests := []struct {
			name   string
			target director.UpdateTarget
			device *device
			serial uptane.ECUSerial
			code   string
		}{
			{"runs it", to("p-1"), v, p, "installed_target_is_update"},
			{"runs something else", from("p-0", ""), v, p, "not_affected_by_mtu"},
			{"runs another build", from("p-1", strings.Repeat("1", 64)), v, p, "not_affected_by_mtu"},
			{"withdrawn since", to("withdrawn"), v, p, "target_not_found"},
			{"signed anew with other bytes", to("rebuilt"), v, p, "target_changed"},
			{"OSTree for an ECU with files", to("tree"), v, p, "target_format_mismatch"},
			{"same name, other content", to("p-2"), twin, twin.ecus[0].serial, "installed_target_differs"},
			{"has one already", to("p-1"), busy, busy.ecus[0].serial, "not_affected_running_assignment"},
			{"unknown device", to("p-2"), &device{id: "id-nobody"}, "unknown", "device_missing_primary_ecu"},
		}
		updates := make([]director.Update, len(tests))
		for i, tt := range tests {
			var err error
			if updates[i], err = f.CreateUpdate(t.Context(), ns, "", map[uptane.HardwareID]director.UpdateTarget{"hw-p": tt.target}); err != nil {
				t.Fatal(err)
			}
		}
		delete(f.images, "withdrawn")
		f.images["rebuilt"] = uptane.Target{Filename: "rebuilt", Length: 5, Hashes: other.Hashes, Custom: other.Custom}
		for i, tt := range tests {
			f.unchanged(tt.name, func() {
				req := director.AssignRequest{Update: updates[i].ID, Devices: []uptane.DeviceID{tt.device.id}}
				for _, req.DryRun = range []bool{true, false} {
					res, err := f.Assign(t.Context(), ns, req)
					if err != nil || len(res.Affected) != 0 {
						t.Fatalf("%s: %+v, %v", tt.name, res, err)
					}
					if got := res.NotAffected[tt.device.id][tt.serial]; got == nil || got.Code() != tt.code {
						t.Errorf("%s: %v, want %s", tt.name, res.NotAffected, tt.code)
					}
				}
			})
		}
		ok, err := f.CreateUpdate(t.Context(), ns, "", map[uptane.HardwareID]director.UpdateTarget{"hw-p": from("p-1", other.SHA256())})
		if err != nil {
			t.Fatal(err)
		}
		lamp := f.device("lamp", "hw-lamp")
		req := director.AssignRequest{Update: ok.ID, Devices: []uptane.DeviceID{v.id, lamp.id, v.id}, DryRun: true}
		f.unchanged("a dry run", func() {
			res, err := f.Assign(t.Context(), ns, req)
			if err != nil || len(res.Affected) != 1 || res.NotAffected[lamp.id]["lamp-hw-lamp-0"].Code() != "device_no_compatible_hardware" {
				t.Errorf("dry run: %+v, %v", res, err)
			}
		})
		req.Devices = make([]uptane.DeviceID, director.MaxAssign+1)
		if _, err := f.Assign(t.Context(), ns, req); !errors.Is(err, director.ErrInvalidUpdate) {
			t.Errorf("too many devices: %v", err)
		}
		if _, err := f.Assign(t.Context(), ns, director.AssignRequest{Update: "none"}); !errors.Is(err, director.ErrUnknownUpdate) {
			t.Errorf("unknown update: %v", err)
		}
		if _, err := f.Assign(t.Context(), ns, director.AssignRequest{Update: ok.ID, Correlation: "urn:ü"}); !errors.Is(err, director.ErrInvalidUpdate) {
			t.Errorf("correlation id that cannot be signed: %v", err)
		}
	})
}

// TestOneEntryAFile: an entry names exactly the ECUs that still need the file.
// Clients abandon the whole update for an ECU that runs it already.
func TestOneEntryAFile(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	f.images.add("x", 5, "hw")
	v := f.device("car", "hw", "hw")
	v.report(nil)
	p, s := v.ecus[0], v.ecus[1]
	x := f.images["x"]

	u := f.assign(map[uptane.HardwareID]string{"hw": "x"}, v)
	if got := v.offered(); !maps.Equal(got, map[uptane.ECUSerial]string{p.serial: "x", s.serial: "x"}) {
		t.Fatalf("offered %v", got)
	}
	if n := len(v.poll().Targets); n != 1 {
		t.Errorf("%d entries for one file", n)
	}
	p.runs = x
	v.report(&report{correlation: u.Correlation, code: "hw:INSTALL_FAILED", items: map[uptane.ECUSerial]string{p.serial: "OK", s.serial: "INSTALL_FAILED"}})
	f.assign(map[uptane.HardwareID]string{"hw": "x"}, v) // P is refused, S gets it
	if got := v.offered(); !maps.Equal(got, map[uptane.ECUSerial]string{s.serial: "x"}) {
		t.Errorf("offered %v, want it for the Secondary alone", got)
	}
	s.runs = x
	v.report(nil)
	if got := v.offered(); len(got) != 0 {
		t.Errorf("offered %v to ECUs that run it", got)
	}
	// Also where an assignment is open that should not be: what counts is what runs.
	f.images.add("z", 5, "hw")
	f.assign(map[uptane.HardwareID]string{"hw": "z"}, v)
	if _, err := f.db.ExecContext(t.Context(), `UPDATE director_ecu SET filename = 'z' WHERE serial = $1`, p.serial); err != nil {
		t.Fatal(err)
	}
	if got := v.offered(); !maps.Equal(got, map[uptane.ECUSerial]string{s.serial: "z"}) {
		t.Errorf("offered %v, want z for the Secondary alone", got)
	}
	if _, err := f.Cancel(t.Context(), ns, v.id, true); err != nil {
		t.Fatal(err)
	}
	v.report(nil)
	// Other content under the same name cannot be helped by offering it.
	f.images.add("y", 5, "hw")
	f.assign(map[uptane.HardwareID]string{"hw": "y"}, v)
	p.runs = uptane.Target{Filename: "y", Length: 5, Hashes: x.Hashes}
	v.report(nil)
	if got := v.statuses(); got[p.serial] != director.Failed || got[s.serial] != director.Assigned {
		t.Errorf("statuses %v", got)
	}
	if got := v.offered(); !maps.Equal(got, map[uptane.ECUSerial]string{s.serial: "y"}) {
		t.Errorf("offered %v", got)
	}
}

// TestEntryContent: an entry says what the Image repository says, and no
// hardware ids.
func TestEntryContent(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	f.images.add("tree", 0, "hw")
	v := f.device("car", "hw")
	u, err := f.CreateUpdate(t.Context(), ns, "", map[uptane.HardwareID]director.UpdateTarget{
		"hw": {To: director.Image{Filename: "tree"}, URI: "https://cdn.example/tree"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Assign(t.Context(), ns, director.AssignRequest{Update: u.ID, Devices: []uptane.DeviceID{v.id}, Correlation: "urn:here-ota:campaign:7"}); err != nil {
		t.Fatal(err)
	}
	doc := string(v.get("targets.json"))
	want := `"custom":{"correlationId":"urn:here-ota:campaign:7","vehicleId":"car"},"expires":"2026-12-23T01:02:03Z",` +
		`"targets":{"tree":{"custom":{"ecuIdentifiers":{"car-hw-0":{"hardwareId":"hw"}},"releaseCounter":1,"targetFormat":"OSTREE",` +
		`"uri":"https://cdn.example/tree"},"hashes":{"sha256":"` + f.images["tree"].SHA256() + `"},"length":0}}`
	if !strings.Contains(doc, want) {
		t.Errorf("targets.json is\n%s\nwithout\n%s", doc, want)
	}
}

// TestTargetsStayReadable: clients read 64 KiB and no more.
func TestTargetsStayReadable(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	var hardware []uptane.HardwareID
	update := map[uptane.HardwareID]director.UpdateTarget{}
	for i := range 100 {
		hw := uptane.HardwareID(fmt.Sprintf("%0150d", i))
		hardware = append(hardware, hw, hw)
		name := fmt.Sprintf("%0200d", i)
		f.images.add(name, 5, hw)
		update[hw] = to(name)
	}
	v := f.device("car", "hw")
	v.ecus = nil
	for i, hw := range hardware {
		v.ecus = append(v.ecus, &ecu{serial: uptane.ECUSerial(fmt.Sprintf("%064d", i)), hardware: hw, key: newKey(t)})
	}
	if err := v.register(); err != nil {
		t.Fatal(err)
	}
	u, err := f.CreateUpdate(t.Context(), ns, "", update)
	if err != nil {
		t.Fatal(err)
	}
	res, err := f.Assign(t.Context(), ns, director.AssignRequest{Update: u.ID, Devices: []uptane.DeviceID{v.id}})
	if err != nil {
		t.Fatal(err)
	}
	for serial, why := range res.NotAffected[v.id] {
		if why.Code() != "targets_too_large" {
			t.Fatalf("%s: %v", serial, why)
		}
	}
	n, size := len(v.offered()), len(v.get("targets.json"))
	if size > 64<<10 || size < 56<<10 || n+len(res.NotAffected[v.id]) != len(v.ecus) {
		t.Errorf("%d bytes list %d ECUs, %d were refused", size, n, len(res.NotAffected[v.id]))
	}
}

func TestCancel(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		f.images.add("a-2", 5, "hw-a")
		f.images.add("b-2", 5, "hw-b")
		v := f.device("car", "hw-a", "hw-b")
		a, b := v.ecus[0].serial, v.ecus[1].serial
		first := f.assign(map[uptane.HardwareID]string{"hw-a": "a-2"}, v)
		v.poll()
		second := f.assign(map[uptane.HardwareID]string{"hw-b": "b-2"}, v)
		if _, err := f.Cancel(t.Context(), ns, v.id, false); !errors.Is(err, director.ErrInFlight) {
			t.Errorf("cancelling what was offered: %v", err)
		}
		ended, err := f.CancelUntold(t.Context(), ns, v.id)
		if err != nil || len(ended) != 1 || ended[0].Serial != b {
			t.Errorf("cancelled %+v, %v", ended, err)
		}
		if got := v.offered(); !maps.Equal(got, map[uptane.ECUSerial]string{a: "a-2"}) {
			t.Errorf("offered %v", got)
		}
		if _, err := f.CancelUpdate(t.Context(), ns, first.ID, false); !errors.Is(err, director.ErrInFlight) {
			t.Errorf("cancelling the update: %v", err)
		}
		if done, err := f.CancelUpdate(t.Context(), ns, first.ID, true); err != nil || len(done) != 1 {
			t.Errorf("cancelling the update by force: %v, %v", done, err)
		}
		if done, err := f.CancelUpdate(t.Context(), ns, second.ID, false); err != nil || len(done) != 0 {
			t.Errorf("cancelling what has ended: %v, %v", done, err)
		}
		if got := v.offered(); len(got) != 0 {
			t.Errorf("offered %v after cancelling", got)
		}
		f.assign(map[uptane.HardwareID]string{"hw-a": "a-2"}, v)
		v.report(&report{correlation: first.Correlation, code: "OK"})
		if got := v.statuses()[a]; got != director.Assigned {
			t.Errorf("a late report for what was cancelled made its successor %s", got)
		}
	})
}

// TestCancelRace: once Cancel has returned, nobody gets metadata that list
// what was cancelled.
func TestCancelRace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		f.images.add("p-2", 5, "hw-p")
		v := f.device("car", "hw-p")
		replica := f.replica()
		for range 8 {
			f.assign(map[uptane.HardwareID]string{"hw-p": "p-2"}, v)
			start := make(chan struct{})
			var wg sync.WaitGroup
			for _, d := range []*director.Director{f.Director, replica, f.Director, replica} {
				wg.Go(func() {
					<-start
					for range 3 {
						if _, err := d.Metadata(context.Background(), ns, v.id, "targets.json"); err != nil && !errors.Is(err, director.ErrBusy) {
							t.Error(err)
						}
					}
				})
			}
			close(start)
			if ended, err := f.Cancel(t.Context(), ns, v.id, true); err != nil || len(ended) != 1 {
				t.Fatalf("cancelled %v, %v", ended, err)
			}
			if got := v.offered(); len(got) != 0 {
				t.Fatalf("offered %v after cancelling", got)
			}
			wg.Wait()
			if got := v.offered(); len(got) != 0 {
				t.Fatalf("offered %v after cancelling and all polls", got)
			}
		}
		rows, err := d.QueryxContext(t.Context(), `SELECT payload, document FROM director_document WHERE document IS NOT NULL`)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var payload, document []byte
			if err := rows.Scan(&payload, &document); err != nil {
				t.Fatal(err)
			}
			if e, err := uptane.ParseEnvelope(uptane.Uptane, document); err != nil || string(e.Signed) != string(payload) {
				t.Errorf("a signed document differs from what was written ahead: %v", err)
			}
		}
	})
}

// TestParallelAssignments: an ECU has one open assignment, whoever asks.
func TestParallelAssignments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		v := f.device("car", "hw")
		var updates []director.Update
		for i := range 6 {
			name := fmt.Sprintf("x-%d", i)
			f.images.add(name, 5, "hw")
			u, err := f.CreateUpdate(t.Context(), ns, name, map[uptane.HardwareID]director.UpdateTarget{"hw": to(name)})
			if err != nil {
				t.Fatal(err)
			}
			updates = append(updates, u)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for _, u := range updates {
			wg.Go(func() {
				res, err := f.Assign(context.Background(), ns, director.AssignRequest{Update: u.ID, Devices: []uptane.DeviceID{v.id}})
				mu.Lock()
				defer mu.Unlock()
				won += len(res.Affected)
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if queue, err := f.Queue(t.Context(), ns, v.id); won != 1 || len(queue) != 1 || err != nil {
			t.Errorf("%d of 6 were told they won, queue %v, %v", won, queue, err)
		}
	})
}

// TestLists: what an operator sees.
func TestLists(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		f.images.add("p-2", 5, "hw-p")
		a, b := f.device("a", "hw-p", "hw-s"), f.device("b", "hw-q")
		a.ecus[0].runs = f.images["p-2"]
		a.report(nil)
		all, total, err := f.Devices(t.Context(), ns, "", 1, 1)
		if err != nil || total != 2 || len(all) != 1 || all[0].ID != b.id {
			t.Errorf("devices %+v, %d, %v", all, total, err)
		}
		some, total, err := f.Devices(t.Context(), ns, "hw-p", 10, 0)
		if err != nil || total != 1 || some[0].ID != a.id || some[0].OEMID != "a" || some[0].ManifestAt.IsZero() {
			t.Errorf("devices with hw-p %+v, %d, %v", some, total, err)
		}
		hw, total, err := f.HardwareIDs(t.Context(), ns, 2, 1)
		if err != nil || total != 3 || fmt.Sprint(hw) != "[hw-q hw-s]" {
			t.Errorf("hardware ids %v, %d, %v", hw, total, err)
		}
		ecus, total, err := f.ECUs(t.Context(), ns, 10, 1)
		if err != nil || total != 3 || len(ecus) != 2 || ecus[1].Device != b.id || !ecus[1].Primary || ecus[0].Primary {
			t.Errorf("ECUs %+v, %d, %v", ecus, total, err)
		}
		counts, err := f.InstalledCount(t.Context(), ns, []string{"p-2", "p-3"})
		if err != nil || !maps.Equal(counts, map[string]int{"p-2": 1}) {
			t.Errorf("counts %v, %v", counts, err)
		}
		f.images.add("q-2", 5, "hw-q")
		u := f.assign(map[uptane.HardwareID]string{"hw-q": "q-2"}, b)
		list, total, err := f.Updates(t.Context(), ns, 10, 0)
		if err != nil || total != 1 || list[0].ID != u.ID || list[0].Targets["hw-q"].To.Filename != "q-2" || list[0].Counts[director.Assigned] != 1 {
			t.Errorf("updates %+v, %d, %v", list, total, err)
		}
		assigned, err := f.UpdateAssignments(t.Context(), ns, u.ID, 10, 0)
		if err != nil || len(assigned) != 1 || !assigned[0].Open() || assigned[0].CreatedBy != "local" {
			t.Errorf("assignments %+v, %v", assigned, err)
		}
	})
}

func TestNew(t *testing.T) {
	if _, err := director.New(t.Context(), director.Config{}); err == nil {
		t.Error("made of nothing")
	}
	f := newFleet(t, dbtest.SQLite(t))
	_, err := director.New(t.Context(), director.Config{DB: f.db, Signer: f.keys, Roots: f.keys, Keys: f.keys, Images: f.images, Life: day})
	if err == nil {
		t.Error("metadata that live a day are always about to expire")
	}
}
