package director_test

import (
	"slices"
	"testing"

	"sealift/director"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/uptane"
)

// A supplier's image, in a delegated role, goes to devices without Secondaries
// only: the Secondaries of others would refuse the whole update. A device that gets
// Secondaries loses what it has not installed yet.
func TestDelegatedImages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		f.images.add("own", 5, "hw-s")
		f.images.add("supplied", 5, "hw-p")
		supplied := f.images["supplied"]
		supplied.Delegated = "supplier"
		f.images["supplied"] = supplied
		alone, pair := f.device("alone", "hw-p"), f.device("pair", "hw-p", "hw-s")
		u, err := f.CreateUpdate(t.Context(), ns, "", map[uptane.HardwareID]director.UpdateTarget{"hw-p": to("supplied"), "hw-s": to("own")})
		if err != nil {
			t.Fatal(err)
		}
		res, err := f.Assign(t.Context(), ns, director.AssignRequest{Update: u.ID, Devices: []uptane.DeviceID{alone.id, pair.id}})
		if err != nil || !slices.Equal(res.Affected, []uptane.DeviceID{alone.id, pair.id}) {
			t.Fatalf("%+v, %v", res, err)
		}
		why := res.NotAffected[pair.id][pair.ecus[0].serial]
		if len(res.NotAffected) != 1 || len(res.NotAffected[pair.id]) != 1 || why == nil || why.Code() != "target_delegated" {
			t.Errorf("%+v", res.NotAffected)
		}
		ids, err := f.WithSecondaries(t.Context(), ns, []uptane.HardwareID{"hw-p", "hw-x"})
		if err != nil || !slices.Equal(ids, []uptane.HardwareID{"hw-p"}) {
			t.Errorf("%v, %v", ids, err)
		}
		if open := f.open(alone); !slices.Equal(open, []string{"supplied"}) {
			t.Errorf("open: %q", open)
		}
		grown := f.device("spare", "hw-s")
		alone.ecus = append(alone.ecus, &ecu{serial: "alone-2", hardware: "hw-s", key: grown.ecus[0].key})
		alone.ecus[1].key = newKey(t)
		if err := alone.register(); err != nil {
			t.Fatal(err)
		}
		if open := f.open(alone); len(open) != 0 {
			t.Errorf("open after Secondaries came: %q", open)
		}
	})
}

// open names the images that a device is still to install.
func (f *fleet) open(v *device) []string {
	f.t.Helper()
	list, err := f.Assignments(f.t.Context(), ns, v.id, 10, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	names := []string{}
	for _, a := range list {
		if a.Open() {
			names = append(names, a.Image.Filename)
		}
	}
	return names
}
