package repo_test

import (
	"testing"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/repo"
	"sealift/uptane"
)

// What people note about targets, and what they find, is the same on both engines.
func TestNotesAndSearch(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		brakes := w.supplier("brakes")
		w.pull(s).add(w.named("Own_1")).delegate(brakes, true, "brakes/*").mustPush(s)
		brakes.add(w.named("brakes/1")).mustPush(s)
		wantFault(t, s.SetComment(t.Context(), ns, "nothing", "x", "me"), repo.ErrTargetMissing)
		for _, text := range []string{"first", "better"} {
			if err := s.SetComment(t.Context(), ns, "brakes/1", text, "me"); err != nil {
				t.Fatal(err)
			}
		}
		if text, err := s.Comment(t.Context(), ns, "brakes/1"); err != nil || text != "better" {
			t.Errorf("%q, %v", text, err)
		}
		if list, total, err := s.Comments(t.Context(), ns, "BRAKE", 10, 0); err != nil || total != 1 || list[0].Text != "better" {
			t.Errorf("%v, %d, %v", list, total, err)
		}
		if list, err := s.CommentsOn(t.Context(), ns, []string{"Own_1", "brakes/1"}); err != nil || len(list) != 1 {
			t.Errorf("%v, %v", list, err)
		}
		if err := s.SetSBOM(t.Context(), ns, "Own_1", "https://example.com/x", "me"); err != nil {
			t.Fatal(err)
		}
		yes, no := true, false
		for name, c := range map[string]struct {
			q    repo.PackageQuery
			want int
		}{
			"all": {repo.PackageQuery{}, 2}, "by part of the name": {repo.PackageQuery{NameContains: "OWN_"}, 1}, "by name": {repo.PackageQuery{Name: "own_1"}, 1},
			"by version": {repo.PackageQuery{Version: "1"}, 2}, "with a bill": {repo.PackageQuery{HasSBOM: &yes}, 1}, "without": {repo.PackageQuery{HasSBOM: &no}, 1},
			"by hardware": {repo.PackageQuery{HardwareIDs: []uptane.HardwareID{"ecu-a"}}, 2}, "by other hardware": {repo.PackageQuery{HardwareIDs: []uptane.HardwareID{"x"}}, 0},
			"by origin":        {repo.PackageQuery{Origins: []string{"brakes"}}, 1},
			"by the top level": {repo.PackageQuery{Origins: []string{"targets.json"}}, 1}, "by no origin": {repo.PackageQuery{Origins: []string{"targets"}}, 0},
			"not of the top level": {repo.PackageQuery{OriginNot: "targets.json"}, 1}, "by part of an id": {repo.PackageQuery{HardwareIDs: []uptane.HardwareID{"ecu", "cu-a"}}, 0},
			"by ids in any case": {repo.PackageQuery{HardwareIDs: []uptane.HardwareID{"x", "ECU-A"}}, 2}, "by a pattern": {repo.PackageQuery{HardwareIDs: []uptane.HardwareID{"ecu_a", "%"}}, 0},
			"by what no file is called": {repo.PackageQuery{Filenames: []string{"Own_1", "a\x00"}}, 1}, "by that alone": {repo.PackageQuery{Filenames: []string{"a\x00"}}, 0}, "by files": {repo.PackageQuery{Filenames: []string{"Own_1", "x"}}, 1},
			"by everything": {repo.PackageQuery{Origins: []string{"brakes"}, OriginNot: "x", NameContains: "1", Name: "BRAKES/1", Version: "1", HardwareIDs: []uptane.HardwareID{"ecu-a"},
				Filenames: []string{"brakes/1"}, HasSBOM: &no}, 1},
		} {
			if list, total, err := s.Packages(t.Context(), ns, c.q, repo.PackageOrder{}, 10, 0); err != nil || len(list) != c.want || total != c.want {
				t.Errorf("%s: %+v, %d, %v", name, list, total, err)
			}
		}
		if p, err := s.Package(t.Context(), ns, "brakes/1", ""); err != nil || p.Origin != "brakes" {
			t.Errorf("%+v, %v", p, err)
		}
		wantFault(t, s.DropSBOM(t.Context(), ns, "brakes/1"), repo.ErrSBOMMissing)
		if err := s.DropSBOM(t.Context(), ns, "Own_1"); err != nil {
			t.Error(err)
		}
		if _, total, err := s.Packages(t.Context(), "other", repo.PackageQuery{}, repo.PackageOrder{}, 10, 0); err != nil || total != 0 {
			t.Error(total, err)
		}
		wantFault(t, s.SetNotBefore(t.Context(), "other", w.clock.now()), repo.ErrNoRepository)
		until := w.clock.now().AddDate(0, 3, 0)
		if err := s.SetNotBefore(t.Context(), ns, until); err != nil {
			t.Fatal(err)
		}
		w.device.mustUpdate(s)
		if !w.device.snapshot.Expires.Equal(until) || !w.device.timestamp.Expires.Equal(until) {
			t.Errorf("%v, %v", w.device.snapshot.Expires, w.device.timestamp.Expires)
		}
		before := w.signatures()
		for range 3 {
			w.device.mustUpdate(s)
		}
		if w.signatures() != before {
			t.Error("every reading signs anew")
		}
	})
}
