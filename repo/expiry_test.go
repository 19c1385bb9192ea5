package repo_test

import (
	"testing"
	"time"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/repo"
	"sealift/uptane"
)

// What was pushed says when it ends; an image ends with the first of the roles that
// lead to it; the server's own roles are new again after a long rest, and no later
// than their root.
func TestEndings(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		if list, err := s.Endings(t.Context(), ns); err != nil || len(list) != 0 {
			t.Errorf("before the first push: %+v, %v", list, err)
		}
		acme := w.supplier("acme-brakes")
		acme.payload.Expires = w.clock.now().Add(20 * day)
		w.pull(s).add(w.named("top-1")).delegate(acme, false, "acme-*").mustPush(s)
		acme.add(w.named("acme-1")).mustPush(s)
		top := w.pull(s).payload.Expires

		for name, want := range map[string]time.Time{"top-1": top, "acme-1": acme.payload.Expires} {
			if got, err := s.Target(t.Context(), ns, name); err != nil || !got.Until.Equal(want) {
				t.Errorf("%s is good until %s, %v; want %s", name, got.Until, err, want)
			}
		}
		ends := w.endings(s)
		if e := ends["acme-brakes"]; e.Online || !e.Ends.Equal(acme.payload.Expires) || e.Version != 1 {
			t.Errorf("the supplier's: %+v", e)
		}
		if e := ends[uptane.RoleTargets]; e.Online || !e.Ends.Equal(top) || e.Version != 1 {
			t.Errorf("targets: %+v", e)
		}

		w.clock.advance(25 * day)
		_, err := s.Target(t.Context(), ns, "acme-1")
		wantFault(t, err, repo.ErrTargetExpired, "acme-brakes")
		before := w.signatures()
		off := w.server() // the next life of the server
		if err := off.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := w.signatures() - before; n != 2 {
			t.Errorf("%d signatures before it listens, want those of snapshot and timestamp", n)
		}
		w.device.mustUpdate(off)
		if n := w.signatures() - before; n != 2 {
			t.Error("the device waited for a signature")
		}
		for _, role := range []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp} {
			if e := w.endings(off)[role]; !e.Online || e.Ends.Sub(w.clock.now()) < 6*day {
				t.Errorf("%s: %+v", role, e)
			}
		}

		w.clock.advance(w.root.Expires.Sub(w.clock.now()) - 5*day)
		if err := w.server().Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if e := w.endings(s)[uptane.RoleTimestamp]; !e.Ends.Equal(w.root.Expires) {
			t.Errorf("the timestamp ends %s, its root %s", e.Ends, w.root.Expires)
		}
		w.clock.advance(6 * day)
		wantFault(t, w.server().Renew(t.Context()), repo.ErrRootExpired)
	})
}

func (w *world) endings(s *server) map[uptane.Role]repo.Ending {
	w.t.Helper()
	list, err := s.Endings(w.t.Context(), ns)
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[uptane.Role]repo.Ending{}
	for _, e := range list {
		found[e.Role] = e
	}
	return found
}

// The policy refuses what is born short, of the top level and of suppliers, and
// what people sign may outlive its root.
func TestPolicy(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	acme := w.supplier("acme")
	w.pull(s).delegate(acme, false, "acme-*").mustPush(s)
	if p, err := s.Policy(t.Context(), ns); err != nil || p.MinTargetsLife != 0 {
		t.Errorf("policy of the beginning: %+v, %v", p, err)
	}
	ending := func(in time.Duration) error {
		r := w.pull(s)
		r.payload.Expires = w.clock.now().Add(in)
		return r.push(s)
	}
	if err := ending(3 * day); err != nil {
		t.Errorf("without a policy: %v", err)
	}
	if err := s.SetPolicy(t.Context(), ns, repo.Policy{MinTargetsLife: 90 * day}); err != nil {
		t.Fatal(err)
	}
	wantFault(t, ending(89*day), repo.ErrInvalidTargets, "89 days", "90 days", "later date")
	wantFault(t, ending(-day), repo.ErrInvalidTargets, "it expired")
	acme.payload.Expires = w.clock.now().Add(31 * day)
	wantFault(t, acme.push(s), repo.ErrDelegatedTarget, "31 days", "90 days")
	acme.payload.Expires = w.clock.now().Add(90 * day)
	acme.mustPush(s)
	if err := ending(w.root.Expires.Sub(w.clock.now()) + 365*day); err != nil {
		t.Errorf("targets that outlive their root: %v", err)
	}
	w.device.mustUpdate(s)

	for _, life := range []time.Duration{-day, repo.MaxTargetsLife + day} {
		wantFault(t, s.SetPolicy(t.Context(), ns, repo.Policy{MinTargetsLife: life}), repo.ErrInvalid)
	}
	wantFault(t, s.SetPolicy(t.Context(), "other", repo.Policy{}), repo.ErrNoRepository)
	if p, err := w.server().Policy(t.Context(), ns); err != nil || p.MinTargetsLife != 90*day {
		t.Errorf("policy of another replica: %+v, %v", p, err)
	}
}
