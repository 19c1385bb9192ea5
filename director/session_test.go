package director_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"sealift/director"
	"sealift/fixtures"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/uptane"
)

// TestDeviceLife is one life: register, idle, update of two ECUs, idle again.
func TestDeviceLife(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		f.images.add("os-2", 0, "board")
		f.images.add("mcu-2", 5, "mcu")
		v := f.device("car", "board", "mcu", "lamp")
		if c := f.journal.last(); c.Registration == nil || len(c.Registration.ECUs) != 3 || c.Status != "UpToDate" {
			t.Errorf("registration is journalled as %+v", c)
		}
		v.report(nil)
		if got := v.offered(); len(got) != 0 {
			t.Fatalf("a new device is offered %v", got)
		}
		first := v.poll().Version

		u := f.assign(map[uptane.HardwareID]string{"board": "os-2", "mcu": "mcu-2"}, v)
		if got := f.journal.last().Status; got != "Outdated" {
			t.Errorf("status after assigning is %q", got)
		}
		targets := v.poll()
		if targets.Version <= first || correlationOf(t, targets) != u.Correlation {
			t.Errorf("version %d after %d, correlation %q", targets.Version, first, correlationOf(t, targets))
		}
		want := map[uptane.ECUSerial]string{v.ecus[0].serial: "os-2", v.ecus[1].serial: "mcu-2"}
		if got := v.offered(); !maps.Equal(got, want) {
			t.Fatalf("offered %v, want %v", got, want)
		}
		if got := f.journal.last().Status; got != "UpdatePending" {
			t.Errorf("status after the poll is %q", got)
		}

		v.ecus[0].runs, v.ecus[1].runs = f.images["os-2"], f.images["mcu-2"]
		v.report(&report{correlation: u.Correlation, code: "OK", items: map[uptane.ECUSerial]string{v.ecus[0].serial: "OK", v.ecus[1].serial: "OK"}})
		c := f.journal.last()
		if len(c.Installed) != 2 || c.Report == nil || c.Report.CorrelationID != u.Correlation || c.Status != "UpToDate" {
			t.Errorf("the report is journalled as %+v", c)
		}
		if got := v.offered(); len(got) != 0 {
			t.Errorf("still offered %v", got)
		}
		got, err := f.Update(t.Context(), ns, u.ID)
		if err != nil || got.Counts[director.Installed] != 2 || len(got.Counts) != 1 {
			t.Errorf("counts %v, %v", got.Counts, err)
		}
		if _, ecus, err := f.Device(t.Context(), ns, v.id); err != nil || !ecus[0].Primary || ecus[0].Installed.Filename != "os-2" {
			t.Errorf("ECUs %+v, %v", ecus, err)
		}
	})
}

// TestRecordedClient plays what an unmodified client sent.
func TestRecordedClient(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		for session, manifests := range map[string][]string{"ostree": {"1", "2", "3"}, "secondaries": {"1", "2"}} {
			id, oemid := uptane.DeviceID("id-"+session), uptane.OEMID(session)
			ecus := fixtures.Read("aktualizr/" + session + "-ecus-1.json")
			for i := range 2 {
				if created, err := f.RegisterECUs(t.Context(), ns, id, oemid, ecus); err != nil || created != (i == 0) {
					t.Fatalf("%s: created %v, %v", session, created, err)
				}
			}
			for _, n := range manifests {
				raw := fixtures.Read("aktualizr/" + session + "-manifest-" + n + ".json")
				if err := f.ReceiveManifest(t.Context(), ns, id, raw); err != nil {
					t.Fatalf("%s manifest %s: %v", session, n, err)
				}
				flipped := []byte(strings.Replace(string(raw), `"attacks_detected":""`, `"attacks_detected":"x"`, 1))
				if err := f.ReceiveManifest(t.Context(), ns, id, flipped); !errors.Is(err, director.ErrSignature) {
					t.Errorf("%s manifest %s altered: %v", session, n, err)
				}
			}
		}
		_, ecus, err := f.Device(t.Context(), ns, "id-secondaries")
		if err != nil || len(ecus) != 3 {
			t.Fatalf("%d ECUs, %v", len(ecus), err)
		}
		for i, want := range []string{"prim.bin", "ipsec.bin", "virt.bin"} {
			if ecus[i].Installed == nil || ecus[i].Installed.Filename != want {
				t.Errorf("ECU %s runs %+v, want %s", ecus[i].Serial, ecus[i].Installed, want)
			}
		}
	})
}

// TestOutcomes: what a report makes of the assignments of a device with two
// ECUs, "p" and "s".
func TestOutcomes(t *testing.T) {
	const p, s = "dev-hw-p-0", "dev-hw-s-1"
	tests := []struct {
		name   string
		report *report // correlation "" stands for the update's
		other  string  // correlation, if not the update's
		runs   []int   // indexes of ECUs that run their image
		silent bool    // the Secondary is missing in the manifest
		p, s   director.Status
		status string
	}{
		{name: "both installed", report: &report{code: "OK"}, runs: []int{0, 1}, p: director.Installed, s: director.Installed, status: "UpToDate"},
		{name: "one failed, each by its own item", runs: []int{0},
			report: &report{code: "hw-s:INSTALL_FAILED", items: map[uptane.ECUSerial]string{p: "OK", s: "INSTALL_FAILED"}},
			p:      director.Installed, s: director.Failed, status: "Error"},
		{name: "verification failed, no items", report: &report{code: "VERIFICATION_FAILED"}, p: director.Failed, s: director.Failed, status: "Error"},
		{name: "one installed without a report", runs: []int{0}, p: director.Installed, s: director.Offered, status: "UpdatePending"},
		{name: "unknown correlation", other: "urn:x:other", report: &report{code: "INSTALL_FAILED"}, runs: []int{1},
			p: director.Offered, s: director.Installed, status: "UpdatePending"},
		{name: "empty correlation", other: "-", report: &report{code: "INSTALL_FAILED"}, p: director.Offered, s: director.Offered, status: "UpdatePending"},
		{name: "failed, but the ECU runs it", report: &report{code: "INTERNAL_ERROR"}, runs: []int{0, 1},
			p: director.Installed, s: director.Installed, status: "UpToDate"},
		{name: "silent Secondary, the report counts", report: &report{code: "OK"}, runs: []int{0}, silent: true,
			p: director.Installed, s: director.Installed, status: "UpToDate"},
		{name: "needs completion", runs: []int{1}, report: &report{code: "OK", items: map[uptane.ECUSerial]string{p: "NEED_COMPLETION", s: "OK"}},
			p: director.NeedsCompletion, s: director.Installed, status: "UpdatePending"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, dbtest.SQLite(t))
			f.images.add("p-2", 0, "hw-p")
			f.images.add("s-2", 5, "hw-s")
			v := f.device("dev", "hw-p", "hw-s")
			v.report(nil)
			u := f.assign(map[uptane.HardwareID]string{"hw-p": "p-2", "hw-s": "s-2"}, v)
			v.poll()
			for _, i := range tt.runs {
				v.ecus[i].runs = f.images[[]string{"p-2", "s-2"}[i]]
			}
			if tt.report != nil {
				tt.report.correlation = u.Correlation
				if tt.other != "" {
					tt.report.correlation = strings.Trim(tt.other, "-")
				}
			}
			reporting := v.ecus
			if tt.silent {
				reporting = v.ecus[:1]
			}
			v.report(tt.report, reporting...)
			if got := v.statuses(); got[p] != tt.p || got[s] != tt.s {
				t.Errorf("statuses %v, want %s and %s", got, tt.p, tt.s)
			}
			if got := f.journal.status(); got != tt.status {
				t.Errorf("device is %s, want %s", got, tt.status)
			}
			offered := v.offered()
			for serial, status := range map[uptane.ECUSerial]director.Status{p: tt.p, s: tt.s} {
				if _, listed := offered[serial]; listed != (status == director.Offered) {
					t.Errorf("%s is %s, listed: %v", serial, status, listed)
				}
			}
		})
	}
}

// TestLateReports: a report ends the assignments that the targets it names
// listed, and no others.
func TestLateReports(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	f.images.add("a-2", 5, "hw-a")
	f.images.add("b-2", 5, "hw-b")
	f.images.add("a-3", 5, "hw-a")
	v := f.device("dev", "hw-a", "hw-b")
	v.report(nil)
	a, b := v.ecus[0], v.ecus[1]

	first := f.assign(map[uptane.HardwareID]string{"hw-a": "a-2"}, v)
	v.poll()
	second := f.assign(map[uptane.HardwareID]string{"hw-b": "b-2"}, v)
	set := correlationOf(t, v.poll())
	if !strings.HasPrefix(set, "urn:sealift:set:") {
		t.Fatalf("two updates share %q", set)
	}
	f.clock.forward(25 * 24 * 60 * 60 * 1e9)
	if again := correlationOf(t, v.poll()); again != set {
		t.Errorf("re-signing changed the correlation id from %s to %s", set, again)
	}
	v.report(&report{correlation: second.Correlation, code: "INSTALL_FAILED"})
	if got := v.statuses(); got[a.serial] != director.Offered || got[b.serial] != director.Offered {
		t.Errorf("no targets ever had the second update's id alone, yet: %v", got)
	}
	v.report(&report{correlation: first.Correlation, code: "INSTALL_FAILED"})
	if got := v.statuses(); got[a.serial] != director.Failed || got[b.serial] != director.Offered {
		t.Errorf("after the first update's report: %v", got)
	}
	f.assign(map[uptane.HardwareID]string{"hw-a": "a-3"}, v)
	v.poll()
	v.report(&report{correlation: first.Correlation, code: "INSTALL_FAILED"})
	if got := v.statuses(); got[a.serial] != director.Offered {
		t.Errorf("the old report again ended the new assignment: %v", got)
	}
	v.report(&report{correlation: set, code: "OK"})
	if got := v.statuses(); got[a.serial] != director.Offered || got[b.serial] != director.Installed {
		t.Errorf("after the report of the set: %v", got)
	}
}
