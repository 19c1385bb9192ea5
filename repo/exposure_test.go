package repo_test

import (
	"reflect"
	"testing"

	"sealift/internal/db/dbtest"
	"sealift/repo"
	"sealift/uptane"
)

// What is signed could be given to devices by a thief: by hardware id, the newest
// and what it replaces, also in delegated roles.
func TestExposure(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	image := func(name string, counter int64, ids ...uptane.HardwareID) uptane.Target {
		x := w.named(name)
		x.Custom.ReleaseCounter, x.Custom.HardwareIDs = counter, ids
		return x
	}
	acme := w.supplier("acme")
	w.pull(s).add(image("old", 1, "board", "panel")).add(image("new", 2, "board")).delegate(acme, false, "acme-*").mustPush(s)
	acme.add(image("acme-3", 3, "board")).mustPush(s)
	got, err := s.Exposure(t.Context(), ns)
	want := []repo.Exposed{{HardwareID: "board", Newest: []string{"acme-3"}, Older: []string{"new", "old"}}, {HardwareID: "panel", Newest: []string{"old"}, Older: []string{}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if got, err := s.Exposure(t.Context(), "other"); err != nil || len(got) != 0 {
		t.Errorf("of another namespace: %+v, %v", got, err)
	}
}
