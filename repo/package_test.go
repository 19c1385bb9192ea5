package repo_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/repo"
	"sealift/uptane"
)

// A console shows packages page by page while builds go on adding to them: nothing
// is left out or shown twice, on both engines, whatever it is sorted by.
func TestPagesWhileThingsChange(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		radio := w.supplier("radio")
		r := w.pull(s).delegate(radio, false, "radio/*")
		made := func(filename, name string, hours int) uptane.Target {
			x := w.named(filename)
			x.Custom.Name, x.Custom.CreatedAt = name, w.clock.now().Add(time.Duration(hours)*time.Hour)
			x.Custom.HardwareIDs = []uptane.HardwareID{uptane.HardwareID(fmt.Sprint("ecu-", hours%3))}
			return x
		}
		for i := range 20 {
			r.add(made(fmt.Sprintf("own/%02d", i), fmt.Sprint("app-", i%4), i-100))
			radio.add(made(fmt.Sprintf("radio/%02d", i), "tuner", i-100))
		}
		r.mustPush(s)
		radio.mustPush(s)

		added := 0
		more := func() {
			added++
			w.clock.advance(time.Second)
			w.pull(s).add(made(fmt.Sprintf("zz/%02d", added), "zz", 0)).mustPush(s)
		}
		var packages, items []string
		for len(packages) < 40 {
			list, total, err := s.Packages(t.Context(), ns, repo.PackageQuery{}, repo.PackageOrder{}, 7, len(packages))
			if err != nil || total != 40+added || len(list) != 7 {
				t.Fatal(len(list), total, err)
			}
			for _, p := range list {
				packages = append(packages, p.Filename)
			}
			more()
		}
		for len(items) < 20 {
			list, _, err := s.Targets(t.Context(), ns, "", 6, len(items))
			if err != nil || len(list) != 6 {
				t.Fatal(len(list), err)
			}
			for _, x := range list {
				items = append(items, x.Filename)
			}
			more()
		}
		for name, seen := range map[string][]string{"packages": packages, "items": items} {
			if once := slices.Compact(slices.Sorted(slices.Values(seen))); len(once) != len(seen) {
				t.Errorf("%s are shown twice: %q", name, seen)
			}
		}
		if !strings.HasPrefix(packages[0], "own/00") || packages[1] != "radio/00" || packages[39] != "radio/19" {
			t.Errorf("the oldest first: %q", packages)
		}
		if list, _, err := s.Packages(t.Context(), ns, repo.PackageQuery{}, repo.PackageOrder{ByName: true, Down: true}, 2, added); err != nil || list[0].Filename != "radio/19" {
			t.Errorf("%+v, %v", list, err)
		}

		groups, total, err := s.PackageGroups(t.Context(), ns, repo.PackageQuery{NameContains: "t"}, repo.PackageOrder{}, 10, 0)
		if err != nil || total != 1 || groups[0].Name != "tuner" || fmt.Sprint(groups[0].HardwareIDs, groups[0].Origins, groups[0].Versions) != "[ecu--1 ecu--2 ecu-0] [radio] [1]" ||
			!groups[0].LastVersionAt.Equal(w.clock.now().Add(-81*time.Hour-time.Duration(added)*time.Second)) {
			t.Errorf("%+v, %d, %v", groups, total, err)
		}
		groups, total, err = s.PackageGroups(t.Context(), ns, repo.PackageQuery{}, repo.PackageOrder{ByName: true, Down: true}, 2, 1)
		if err != nil || total != 6 || groups[0].Name != "tuner" || groups[1].Name != "app-3" {
			t.Errorf("%+v, %d, %v", groups, total, err)
		}
		_, _, err = s.Packages(t.Context(), ns, repo.PackageQuery{Hashes: make([]string, 501)}, repo.PackageOrder{}, 1, 0)
		wantFault(t, err, repo.ErrInvalid)

		// A server of before knew nothing of hardware ids: the next start reads them.
		for _, table := range []string{"repo_target", "repo_delegated_target"} {
			if _, err := d.ExecContext(t.Context(), "UPDATE "+table+" SET hardware = '?', made_at = 0"); err != nil {
				t.Fatal(err)
			}
		}
		list, total, err := w.server().Packages(t.Context(), ns, repo.PackageQuery{HardwareIDs: []uptane.HardwareID{"ecu--1"}}, repo.PackageOrder{}, 50, 0)
		if err != nil || total != 14 || list[0].Filename != "own/00" {
			t.Errorf("%d, %+v, %v", total, list, err)
		}
		if ids, err := s.PackageHardware(t.Context(), ns); err != nil || fmt.Sprint(ids) != "[ecu--1 ecu--2 ecu-0]" {
			t.Errorf("%v, %v", ids, err)
		}
	})
}
