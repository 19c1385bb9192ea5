package repo_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/repo"
	"sealift/uptane"
)

// Many suppliers push at once through two replicas while the top level is pushed,
// too: all land, and no snapshot version has two contents.
func TestSuppliersInParallel(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		replicas := []*server{s, w.server()}
		var all []*supplier
		r := w.pull(s)
		for i := range 8 {
			a := w.supplier(uptane.Role(fmt.Sprint("s", i)))
			r.delegate(a, false, fmt.Sprintf("s%d/*", i))
			all = append(all, a)
		}
		r.mustPush(s)
		var wg sync.WaitGroup
		failed := make(chan error, 100)
		for i, a := range all {
			wg.Go(func() {
				for n := range 3 {
					a.add(w.named(fmt.Sprintf("s%d/%d", i, n)))
					for err := a.push(replicas[(i+n)%2]); err != nil; err = a.push(replicas[(i+n)%2]) {
						if !errors.Is(err, repo.ErrBusy) {
							failed <- err
							return
						}
					}
				}
			})
		}
		wg.Go(func() {
			if err := w.pull(s).add(w.named("own")).push(s); err != nil && !errors.Is(err, repo.ErrBusy) {
				failed <- err
			}
		})
		wg.Wait()
		close(failed)
		for err := range failed {
			t.Error(err)
		}
		want := map[string]bool{}
		for i := range all {
			for n := range 3 {
				want[fmt.Sprintf("s%d/%d", i, n)] = true
			}
		}
		w.clock.advance(2 * time.Second)
		for _, s := range replicas {
			w.sees(s, want)
		}
	})
}

// A publication that breaks off where the signer fails leaves the old set, whole;
// the same bytes may be sent again.
func TestDelegationThatBrokeOff(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	brakes := w.supplier("brakes")
	w.pull(s).delegate(brakes, false, "brakes/*").mustPush(s)
	brakes.add(w.named("brakes/1")).mustPush(s)
	w.device.mustUpdate(s)
	for _, role := range []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp} {
		w.breakSigner(func(j uptane.Job) error {
			if j.Role == role {
				return errors.New("the token is gone")
			}
			return nil
		})
		brakes.add(w.named("brakes/2"))
		if err := brakes.push(s); err == nil {
			t.Fatal("published without " + role)
		}
		w.breakSigner(nil)
		w.sees(s, map[string]bool{"brakes/1": true, "brakes/2": false})
	}
	brakes.mustPush(s)
	w.sees(s, map[string]bool{"brakes/1": true, "brakes/2": true})
}

// An image of a supplier is uploaded, named by the role, and moves to another role
// without its bytes being lost.
func TestImageOfARole(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	brakes := w.supplier("brakes")
	image := w.binaryTarget("brakes/fw", "1", firmware(1500))
	w.upload(s, image.Filename, firmware(1500))
	w.pull(s).add(image).delegate(brakes, true, "brakes/*").mustPush(s)
	brakes.add(image).mustPush(s)
	r := w.pull(s)
	delete(r.payload.Targets, image.Filename)
	r.mustPush(s)
	w.sees(s, map[string]bool{image.Filename: true})
	w.clock.advance(8 * 24 * time.Hour)
	if n, err := s.Sweep(t.Context()); err != nil || n != 0 {
		t.Errorf("swept %d, %v", n, err)
	}
	if got, err := s.Image(t.Context(), ns, image.Filename); err != nil || got.Key == "" {
		t.Errorf("%+v, %v", got, err)
	}
	delete(brakes.payload.Targets, image.Filename)
	brakes.mustPush(s)
	w.clock.advance(8 * 24 * time.Hour)
	if n, err := s.Sweep(t.Context()); err != nil || n != 1 {
		t.Errorf("swept %d, %v", n, err)
	}
}

// Roles are searched in the order in which they are listed, and one ends the
// search only when it says so: for devices, and for what may be assigned.
func TestPriorityAndTermination(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	first, second := w.supplier("first"), w.supplier("second")
	w.pull(s).delegate(first, false, "shared/*").delegate(second, false, "*").mustPush(s)
	first.add(w.named("shared/1")).mustPush(s)
	both := w.named("shared/1")
	both.Custom.HardwareIDs = []uptane.HardwareID{"another"}
	second.add(both).add(w.named("shared/2")).mustPush(s)
	prefer := func(terminating bool, order ...*supplier) {
		t.Helper()
		r := w.pull(s)
		r.payload.Delegations = nil
		for _, a := range order {
			r.delegate(a, terminating, map[uptane.Role]string{"first": "shared/*", "second": "*"}[a.role])
		}
		r.mustPush(s)
	}
	found := func() uptane.Role {
		t.Helper()
		got, err := s.Target(t.Context(), ns, "shared/1")
		if err != nil {
			t.Fatal(err)
		}
		return got.Delegated
	}
	w.sees(s, map[string]bool{"shared/1": true, "shared/2": true})
	if found() != "first" {
		t.Error("the first role has priority")
	}
	prefer(false, second, first)
	w.sees(s, map[string]bool{"shared/1": true, "shared/2": true})
	if found() != "second" {
		t.Error("the order of the list decides")
	}
	prefer(true, first, second)
	w.sees(s, map[string]bool{"shared/1": true, "shared/2": false})

	// What is below a role that ends the search some clients find, and some do not.
	below := w.supplier("below")
	delegate(t, &first.payload, below, false, "shared/3")
	first.mustPush(s)
	below.add(w.named("shared/3")).mustPush(s)
	w.device.mustUpdate(s)
	if got, err := w.device.find(s, "shared/3"); err != nil || got == nil {
		t.Errorf("a device that does as the standard says: %v, %v", got, err)
	}
	_, err := s.Target(t.Context(), ns, "shared/3")
	wantFault(t, err, repo.ErrTargetBuried, "below is below first")
	prefer(false, first, second)
	w.sees(s, map[string]bool{"shared/3": true})
}
