package director_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sealift/director"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/uptane"
)

func (v *device) stored() []uptane.ECUSerial {
	v.f.t.Helper()
	_, list, err := v.f.Device(v.f.t.Context(), ns, v.id)
	if err != nil {
		v.f.t.Fatal(err)
	}
	var out []uptane.ECUSerial
	for _, e := range list {
		out = append(out, e.Serial)
	}
	return out
}

// TestECUSetChanges: Secondaries come, go and come back.
func TestECUSetChanges(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		f.images.add("s-2", 5, "hw-s")
		v := f.device("car", "hw-p", "hw-s")
		v.report(nil)
		version := v.poll().Version
		changes := len(f.journal.changes)
		for range 3 {
			if err := v.register(); err != nil {
				t.Fatal(err)
			}
		}
		if v.poll().Version != version || len(f.journal.changes) != changes {
			t.Error("registering the same list again changed the metadata or the journal")
		}

		f.assign(map[uptane.HardwareID]string{"hw-s": "s-2"}, v)
		if len(v.offered()) != 1 {
			t.Fatal("nothing offered")
		}
		gone := v.ecus[1]
		v.ecus = v.ecus[:1]
		if err := v.register(); err != nil {
			t.Fatal(err)
		}
		if got := v.stored(); len(got) != 1 {
			t.Errorf("ECUs %v", got)
		}
		if got := v.statuses()[gone.serial]; got != director.Cancelled {
			t.Errorf("the assignment of the removed ECU is %s", got)
		}
		if len(v.offered()) != 0 {
			t.Error("the removed ECU is still listed")
		}
		if err := f.ReceiveManifest(t.Context(), ns, v.id, v.manifest(nil, v.ecus[0], gone)); !errors.Is(err, director.ErrUnknownECU) {
			t.Errorf("manifest with the removed ECU: %v", err)
		}

		added := *gone
		added.serial, added.key = "new", newKey(t)
		v.ecus = append(v.ecus, gone, &added)
		if err := v.register(); err != nil {
			t.Fatal(err)
		}
		if got := v.stored(); !slices.Equal(got, []uptane.ECUSerial{v.ecus[0].serial, gone.serial, "new"}) {
			t.Errorf("ECUs %v", got)
		}
		v.report(nil)
		v.ecus[0], v.ecus[2] = v.ecus[2], v.ecus[0] // another Primary
		v.counter = 0
		if err := v.register(); err != nil {
			t.Fatal(err)
		}
		v.report(nil)
	})
}

// TestECUKeys: a serial keeps its key, a key keeps its device.
func TestECUKeys(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		v := f.device("car", "hw-p", "hw-s")
		other := f.device("other", "hw-p")
		v.report(nil)
		old, fresh := v.ecus[1].key, newKey(t)

		v.ecus[1].key = fresh
		err := v.register()
		if !errors.Is(err, director.ErrKeyNotApproved) || fault.Status(err) != 409 {
			t.Fatalf("new key: %v", err)
		}
		id := publicKey(t, fresh).ID()
		if cause := fault.Of(err).Cause(); !strings.Contains(cause, string(id)) {
			t.Errorf("cause %q does not name the key", cause)
		}
		if list, err := f.History(t.Context(), ns, v.id, 1, 0); err != nil || list[0].Action != "ecu_key_refused" {
			t.Errorf("history %+v, %v", list, err)
		}
		f.unchanged("coming back with the refused key", func() {
			if err := v.register(); !errors.Is(err, director.ErrKeyNotApproved) {
				t.Errorf("again: %v", err)
			}
		})
		v.ecus[1].key = old
		v.report(nil)

		if err := f.ApproveKey(t.Context(), ns, v.id, "nobody", id); !errors.Is(err, director.ErrUnknownECU) {
			t.Errorf("approving for no ECU: %v", err)
		}
		if err := f.ApproveKey(t.Context(), ns, v.id, v.ecus[1].serial, id); err != nil {
			t.Fatal(err)
		}
		v.ecus[1].key = newKey(t)
		if err := v.register(); !errors.Is(err, director.ErrKeyNotApproved) {
			t.Errorf("a key that was not the approved one: %v", err)
		}
		v.ecus[1].key = fresh
		if err := v.register(); err != nil {
			t.Fatal(err)
		}
		v.ecus[1].key = old
		if err := v.register(); !errors.Is(err, director.ErrKeyNotApproved) {
			t.Errorf("back to the old key: %v", err)
		}

		v.ecus[1].key = nil // the Primary could not read it
		if err := v.register(); err != nil {
			t.Fatal(err)
		}
		v.ecus[1].key = fresh
		v.counter = 0
		v.report(nil)

		other.ecus = append(other.ecus, &ecu{serial: "thief", hardware: "hw-s", key: old})
		if err := other.register(); !errors.Is(err, director.ErrKeyInUse) {
			t.Errorf("a key another device once had: %v", err)
		}
		if got := other.stored(); len(got) != 1 {
			t.Errorf("the refused registration left %v", got)
		}
		silent := f.device("silent", "hw-p")
		silent.ecus = append(silent.ecus, &ecu{serial: "mute", hardware: "hw-s"})
		if err := silent.register(); err != nil {
			t.Fatal(err)
		}
		silent.ecus[1].key = newKey(t)
		if err := silent.register(); err != nil {
			t.Errorf("a key that becomes known: %v", err)
		}
	})
}

func TestRefusedRegistrations(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	v := f.device("car", "hw-p", "hw-s")
	many := device{f: f}
	for i := range 501 {
		many.ecus = append(many.ecus, &ecu{serial: uptane.ECUSerial(fmt.Sprint("e", i)), hardware: "hw"})
	}
	many.ecus[0].key = newKey(t)
	good := string(v.registration())
	tests := []struct {
		name, raw string
		want      *fault.Fault
	}{
		{"no JSON", "ecus", director.ErrRegistration},
		{"empty object", "{}", director.ErrRegistration},
		{"no ECU", `{"primary_ecu_serial":"a","ecus":[]}`, director.ErrPrimaryNotListed},
		{"Primary not listed", strings.Replace(good, `"primary_ecu_serial":"car`, `"primary_ecu_serial":"bus`, 1), director.ErrPrimaryNotListed},
		{"twice", strings.ReplaceAll(good, "car-hw-s-1", "car-hw-p-0"), director.ErrRegistration},
		{"control character", strings.ReplaceAll(good, "hw-s", `hw\u0000s`), director.ErrRegistration},
		{"key of unknown type", strings.Replace(good, "ED25519", "ECPRIME256V1", 1), director.ErrRegistration},
		{"Primary without key", strings.Replace(good, `"keytype":"ED25519"`, `"keytype":"unknown"`, 1), director.ErrRegistration},
		{"too many", string(many.registration()), director.ErrRegistration},
	}
	for _, tt := range tests {
		f.unchanged(tt.name, func() {
			_, err := f.RegisterECUs(t.Context(), ns, v.id, v.oemid, []byte(tt.raw))
			if !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
		})
	}
}

// TestReset: a board that was wiped comes back with new keys.
func TestReset(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		f.images.add("p-2", 5, "hw-p")
		v := f.device("car", "hw-p", "hw-s")
		other := f.device("other", "hw-p")
		v.report(nil)
		u := f.assign(map[uptane.HardwareID]string{"hw-p": "p-2"}, v)
		version := v.poll().Version
		if err := f.Reset(t.Context(), ns, v.id); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Metadata(t.Context(), ns, v.id, "targets.json"); !errors.Is(err, director.ErrNotRegistered) {
			t.Errorf("metadata of a reset device: %v", err)
		}
		if yes, err := f.Registered(t.Context(), f.db, ns, v.id); yes || err != nil {
			t.Errorf("registered %v, %v", yes, err)
		}
		stolen := v.ecus[1].key
		for _, e := range v.ecus {
			e.key = newKey(t)
		}
		v.counter = 0
		if created, err := f.RegisterECUs(t.Context(), ns, v.id, v.oemid, v.registration()); err != nil || !created {
			t.Fatalf("coming back: %v, %v", created, err)
		}
		v.report(nil)
		if got := v.poll().Version; got <= version || len(v.offered()) != 0 {
			t.Errorf("version %d after %d, offered %v", got, version, v.offered())
		}
		if got := v.statuses()[v.ecus[0].serial]; got != director.Cancelled {
			t.Errorf("the assignment of before is %s", got)
		}
		f.assign(map[uptane.HardwareID]string{"hw-p": "p-2"}, v)
		if got, err := f.Update(t.Context(), ns, u.ID); err != nil || got.Counts[director.Cancelled] != 1 {
			t.Errorf("counts %v, %v", got.Counts, err)
		}
		other.ecus = append(other.ecus, &ecu{serial: "x", hardware: "hw-s", key: stolen})
		if err := other.register(); !errors.Is(err, director.ErrKeyInUse) {
			t.Errorf("a retired key at another device: %v", err)
		}
		if err := f.Reset(t.Context(), ns, "never-seen"); err != nil {
			t.Errorf("resetting a device that never registered: %v", err)
		}
	})
}

// TestNamespaces: what one customer has another one cannot see or touch.
func TestNamespaces(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	f.images.add("p-2", 5, "hw-p")
	v := f.device("car", "hw-p")
	u := f.assign(map[uptane.HardwareID]string{"hw-p": "p-2"}, v)
	const foreign uptane.Namespace = "foreign"
	if _, err := f.Metadata(t.Context(), foreign, v.id, "targets.json"); !errors.Is(err, director.ErrNotRegistered) {
		t.Errorf("metadata: %v", err)
	}
	if err := f.ReceiveManifest(t.Context(), foreign, v.id, v.manifest(nil)); !errors.Is(err, director.ErrNotRegistered) {
		t.Errorf("manifest: %v", err)
	}
	if _, err := f.Update(t.Context(), foreign, u.ID); !errors.Is(err, director.ErrUnknownUpdate) {
		t.Errorf("update: %v", err)
	}
	if _, err := f.Cancel(t.Context(), foreign, v.id, true); !errors.Is(err, director.ErrNotRegistered) {
		t.Errorf("cancel: %v", err)
	}
	if list, total, err := f.ECUs(t.Context(), foreign, 10, 0); err != nil || len(list) != 0 || total != 0 {
		t.Errorf("ECUs: %v, %d, %v", list, total, err)
	}
	if created, err := f.RegisterECUs(t.Context(), foreign, v.id, v.oemid, v.registration()); err != nil || !created {
		t.Errorf("the same ids elsewhere: %v, %v", created, err)
	}
}
