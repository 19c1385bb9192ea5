package director_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sealift/director"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/uptane"
)

// until makes the metadata that list an image end at a time.
func (i images) until(filename string, at time.Time) {
	t := i[filename]
	t.Until = at
	i[filename] = t
}

// An image whose offline-signed metadata have expired is assigned to nobody, with
// what to do; one whose metadata end before Director metadata would, with the date.
// Signed again, it is assigned; what was assigned before stays.
func TestExpiredTargets(t *testing.T) {
	const day = 24 * time.Hour
	f := newFleet(t, dbtest.SQLite(t))
	f.images.add("own", 5, "hw-p")
	f.images.add("supplied", 5, "hw-s")
	ends := f.clock.now().Add(20 * day).Truncate(time.Second)
	f.images.until("own", ends.Add(365*day))
	f.images.until("supplied", ends)
	pair, late := f.device("pair", "hw-p", "hw-s"), f.device("late", "hw-p", "hw-s")
	both := map[uptane.HardwareID]director.UpdateTarget{"hw-p": to("own"), "hw-s": to("supplied")}
	u, err := f.CreateUpdate(t.Context(), ns, "", both)
	if err != nil {
		t.Fatal(err)
	}
	give := func(v *device, dry bool) (director.AssignResult, error) {
		return f.Assign(t.Context(), ns, director.AssignRequest{Update: u.ID, Devices: []uptane.DeviceID{v.id}, DryRun: dry})
	}
	res, err := give(pair, false)
	if err != nil || len(res.Affected) != 1 || !res.Until.Equal(ends) {
		t.Fatalf("%+v, %v; want the date %s", res, err, ends)
	}

	f.clock.forward(21 * day)
	res, err = give(late, false)
	why := res.NotAffected[late.id][late.ecus[1].serial]
	if err != nil || !slices.Equal(f.open(late), []string{"own"}) || !errors.Is(why, director.ErrTargetsExpired) || !res.Until.IsZero() {
		t.Errorf("one of two has expired: %+v, %v", res, err)
	}
	f.images.until("own", ends)
	f.unchanged("assigning what has expired", func() {
		_, err := give(late, false)
		if !errors.Is(err, director.ErrTargetsExpired) || fault.Status(err) != 409 || !strings.Contains(fault.Of(err).Cause(), ends.Format(time.RFC3339)) ||
			!strings.Contains(fault.Of(err).Cause(), "garage-sign targets") {
			t.Errorf("all have expired: %v", err)
		}
		if _, err := f.CreateUpdate(t.Context(), ns, "", both); fault.Of(err) == nil || fault.Of(err).Code() != "targets_expired" {
			t.Errorf("a new update: %v", err)
		}
		if res, err := give(late, true); err != nil || len(res.Affected) != 0 || len(res.NotAffected) != 1 {
			t.Errorf("a dry run: %+v, %v", res, err)
		}
	})
	if open := f.open(pair); !slices.Equal(slices.Sorted(slices.Values(open)), []string{"own", "supplied"}) {
		t.Errorf("what was assigned before: %q", open)
	}

	supplied := f.images["supplied"]
	supplied.Delegated = "supplier"
	f.images["supplied"] = supplied
	if _, err := f.CreateUpdate(t.Context(), ns, "", map[uptane.HardwareID]director.UpdateTarget{"hw-s": to("supplied")}); !strings.Contains(fault.Of(err).Cause(), "supplier signs") {
		t.Errorf("of a supplier: %v", err)
	}
	f.images.until("own", f.clock.now().Add(365*day))
	f.images.add("supplied", 5, "hw-s")
	f.images.until("supplied", f.clock.now().Add(365*day))
	again := f.device("again", "hw-p", "hw-s")
	if res, err := give(again, false); err != nil || len(f.open(again)) != 2 || !res.Until.IsZero() {
		t.Errorf("signed again: %+v, %v", res, err)
	}
}
