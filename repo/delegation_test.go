package repo_test

import (
	"crypto"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/repo"
	"sealift/uptane"
)

// supplier is who signs for a delegated role.
type supplier struct {
	w       *world
	role    uptane.Role
	key     crypto.Signer
	payload metadata.TargetsType
}

func (w *world) supplier(role uptane.Role) *supplier {
	s := &supplier{w: w, role: role, key: newKey(w.t), payload: metadata.Targets(w.clock.now().AddDate(1, 0, 0)).Signed}
	s.payload.Version = 0
	return s
}

// delegate makes targets metadata delegate to a role.
func delegate(t *testing.T, to *metadata.TargetsType, s *supplier, terminating bool, paths ...string) {
	t.Helper()
	model := metadata.RootType{}
	if err := uptane.AddKey(&model, uptane.RoleTargets, public(t, s.key)); err != nil {
		t.Fatal(err)
	}
	if to.Delegations == nil {
		to.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	maps.Copy(to.Delegations.Keys, model.Keys)
	to.Delegations.Roles = append(to.Delegations.Roles, metadata.DelegatedRole{Name: string(s.role), Paths: paths,
		KeyIDs: model.Roles["targets"].KeyIDs, Threshold: 1, Terminating: terminating})
}

func (r *release) delegate(s *supplier, terminating bool, paths ...string) *release {
	r.w.t.Helper()
	delegate(r.w.t, &r.payload, s, terminating, paths...)
	return r
}

func (s *supplier) add(t uptane.Target) *supplier {
	s.w.t.Helper()
	f, err := t.File()
	if err != nil {
		s.w.t.Fatal(err)
	}
	s.payload.Targets[t.Filename] = f
	return s
}

// push signs the next version and brings it to a server.
func (s *supplier) push(srv *server) error {
	s.w.t.Helper()
	s.payload.Version++
	_, err := srv.PutDelegation(s.w.t.Context(), ns, s.role, s.signed(), "token:"+string(s.role))
	if err != nil {
		s.payload.Version--
	}
	return err
}

func (s *supplier) mustPush(srv *server) {
	s.w.t.Helper()
	if err := s.push(srv); err != nil {
		s.w.t.Fatal(err)
	}
}

func (s *supplier) signed() []byte {
	s.w.t.Helper()
	return sign(s.w.t, s.role, &s.payload, s.key)
}

// named is a target called so.
func (w *world) named(filename string) uptane.Target {
	t := w.ostreeTarget(filename, "1")
	t.Filename = filename
	return t
}

// find looks an image up as a device does that verifies everything.
func (d *device) find(s *server, filename string) (*metadata.TargetFiles, error) {
	found, _, err := d.search(s, d.targets, filename)
	return found, err
}

func (d *device) search(s *server, in *metadata.TargetsType, filename string) (*metadata.TargetFiles, bool, error) {
	if f := in.Targets[filename]; f != nil {
		return f, true, nil
	}
	if in.Delegations == nil {
		return nil, false, nil
	}
	for _, role := range in.Delegations.Roles {
		covered := false
		for _, p := range role.Paths {
			covered = covered || uptane.MatchPath(p, filename)
		}
		if !covered {
			continue
		}
		doc, err := s.Delegation(d.w.t.Context(), ns, uptane.Role(role.Name))
		if err != nil {
			return nil, true, err
		}
		ring, err := uptane.DelegationRing(uptane.Uptane, in, uptane.Role(role.Name))
		if err != nil {
			return nil, true, err
		}
		opened, err := uptane.Open[metadata.TargetsType](uptane.Uptane, doc.Bytes, uptane.Role(role.Name), ring, d.w.clock.now())
		if err != nil {
			return nil, true, err
		}
		if err := uptane.CheckTargets(d.snapshot, uptane.Role(role.Name), opened.Raw, nil, &opened.Payload); err != nil {
			return nil, true, err
		}
		if found, ended, err := d.search(s, &opened.Payload, filename); err != nil || ended || role.Terminating {
			return found, true, err
		}
	}
	return nil, false, nil
}

// sees holds what a device finds, and what may be assigned, against what should be
// there.
func (w *world) sees(s *server, want map[string]bool) {
	w.t.Helper()
	w.device.mustUpdate(s)
	for filename, there := range want {
		found, err := w.device.find(s, filename)
		if (err == nil && found != nil) != there {
			w.t.Errorf("a device looks for %s: %v, %v", filename, found, err)
		}
		_, err = s.Target(w.t.Context(), ns, filename)
		if (err == nil) != there || err != nil && !errors.Is(err, repo.ErrTargetMissing) {
			w.t.Errorf("Target(%s): %v", filename, err)
		}
	}
}

// Two suppliers sign for what is theirs; one hands a part on. What one does never
// touches the other.
func TestSuppliersSignTheirOwn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		brakes, radio, tuner := w.supplier("brakes"), w.supplier("radio"), w.supplier("tuner")
		_, err := s.PutDelegation(t.Context(), ns, "brakes", brakes.signedAs(1), "x")
		wantFault(t, err, repo.ErrRoleMissing)
		w.pull(s).add(w.named("own")).delegate(brakes, false, "brakes/*").delegate(radio, false, "radio/*").mustPush(s)
		w.sees(s, map[string]bool{"own": true, "brakes/1": false})

		// The metadata of radio are missing all this time: brakes are not held up.
		brakes.add(w.named("brakes/1")).mustPush(s)
		w.sees(s, map[string]bool{"own": true, "brakes/1": true, "radio/1": false})

		// The tuner is nested: it may sign what its own paths and those above allow.
		delegate(t, &radio.payload, tuner, false, "radio/tuner/*", "brakes/*")
		radio.add(w.named("radio/1")).mustPush(s)
		tuner.add(w.named("radio/tuner/1")).mustPush(w.server())
		w.sees(s, map[string]bool{"own": true, "brakes/1": true, "radio/1": true, "radio/tuner/1": true, "radio/tuner/2": false})
		wantFault(t, tuner.add(w.named("brakes/evil")).push(s), repo.ErrDelegatedTarget, "brakes/evil", "radio may sign")
		delete(tuner.payload.Targets, "brakes/evil")

		list, total, err := s.DelegatedItems(t.Context(), ns, "TUNER", 10, 0)
		if err != nil || total != 1 || list[0].Role != "tuner" || list[0].Filename != "radio/tuner/1" {
			t.Errorf("DelegatedItems: %+v, %d, %v", list, total, err)
		}
		roles, err := s.Roles(t.Context(), ns)
		if err != nil || len(roles) != 3 || roles[0].Name != "brakes" || roles[2].Parent != "radio" || !roles[2].InForce || roles[2].Version != 1 {
			t.Errorf("Roles: %+v, %v", roles, err)
		}
		// Taking a delegation away takes what is below it, and no other.
		r := w.pull(s)
		r.payload.Delegations.Roles = r.payload.Delegations.Roles[:1]
		r.mustPush(s)
		w.sees(s, map[string]bool{"own": true, "brakes/1": true, "radio/1": false, "radio/tuner/1": false})
		wantFault(t, radio.push(s), repo.ErrNotDelegated)
		if len(w.device.snapshot.Meta) != 4 {
			t.Errorf("what was listed once stays listed: %v", w.device.snapshot.Meta)
		}
		// It comes back with the keys it had: everything below is in force again.
		w.pull(s).delegate(radio, false, "radio/*").mustPush(s)
		w.sees(s, map[string]bool{"own": true, "brakes/1": true, "radio/1": true, "radio/tuner/1": true})
		if damages, _ := s.verify(t); len(damages) > 0 {
			t.Error(damages)
		}
	})
}

func (s *supplier) signedAs(version int64) []byte {
	s.payload.Version = version
	defer func() { s.payload.Version = 0 }()
	return s.signed()
}

// Everything that may be wrong with metadata of a role is refused, and devices see
// what they saw.
func TestRefusedDelegations(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	brakes, radio, thief := w.supplier("brakes"), w.supplier("radio"), w.supplier("brakes")
	w.pull(s).add(w.named("shared/1")).delegate(brakes, false, "brakes/*", "shared/*").delegate(radio, false, "radio/*").mustPush(s)
	brakes.add(w.named("brakes/1")).mustPush(s)
	if _, err := s.PutDelegation(t.Context(), ns, "brakes", brakes.signed(), "again"); err != nil {
		t.Errorf("the same bytes again: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*supplier)
		by     *supplier
		want   *fault.Fault
		words  string
	}{
		"another key":         {by: thief, want: repo.ErrDelegationKeys},
		"another's path":      {change: func(b *supplier) { b.add(w.named("radio/1")) }, want: repo.ErrDelegatedTarget, words: "radio/1"},
		"another's name":      {change: func(b *supplier) { delegate(t, &b.payload, radio, false, "brakes/*") }, want: repo.ErrDelegatedTarget, words: "delegates to that name already"},
		"itself":              {change: func(b *supplier) { delegate(t, &b.payload, b, false, "brakes/*") }, want: repo.ErrDelegatedTarget, words: "delegates to that name already"},
		"the same version":    {change: func(b *supplier) { b.payload.Version = 0; b.add(w.named("brakes/2")) }, want: repo.ErrVersionBump, words: "above 1"},
		"expired":             {change: func(b *supplier) { b.payload.Expires = w.clock.now() }, want: repo.ErrDelegatedTarget, words: "expired"},
		"other content":       {change: func(b *supplier) { x := w.named("x"); x.Filename = "shared/1"; b.add(x) }, want: repo.ErrDelegatedTarget, words: "other content"},
		"bytes that are away": {change: func(b *supplier) { x := w.binaryTarget("brakes/fw", "1", firmware(9)); b.add(x) }, want: repo.ErrDelegatedTarget, words: "never uploaded"},
		"a top-level name":    {change: func(b *supplier) { x := w.supplier("Targets"); delegate(t, &b.payload, x, false, "brakes/*") }, want: repo.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			b := *brakes
			b.payload.Targets = maps.Clone(brakes.payload.Targets)
			if c.by != nil {
				b.key = c.by.key
			}
			if c.change != nil {
				c.change(&b)
			}
			b.payload.Version++
			doc, err := uptane.Payload(uptane.Uptane, b.role, &b.payload)
			if err != nil {
				return // no tool of ours writes it
			}
			sig, _ := uptane.Sign(b.key, doc)
			_, err = s.PutDelegation(t.Context(), ns, "brakes", uptane.Frame(uptane.Uptane, doc, sig), "x")
			wantFault(t, err, c.want, c.words)
		})
	}
	deep := []*supplier{radio}
	for i := range uptane.MaxDelegationDepth {
		next := w.supplier(uptane.Role(fmt.Sprint("level", i)))
		last := deep[len(deep)-1]
		delegate(t, &last.payload, next, false, "radio/*")
		err := last.push(s)
		if i < uptane.MaxDelegationDepth-1 && err != nil {
			t.Fatal(err)
		}
		if i == uptane.MaxDelegationDepth-1 {
			wantFault(t, err, repo.ErrDelegatedTarget, "below the top level")
		}
		deep = append(deep, next)
	}
	for _, name := range []uptane.Role{"root", "a.b", "../x", "", "Snapshot"} {
		_, err := s.PutDelegation(t.Context(), ns, name, brakes.signed(), "x")
		wantFault(t, err, repo.ErrDelegationName)
		_, err = s.Delegation(t.Context(), ns, name)
		wantFault(t, err, repo.ErrDelegationMissing)
	}
	_, err := s.PutDelegation(t.Context(), ns, "nobody", brakes.signed(), "x")
	wantFault(t, err, repo.ErrNotDelegated)
	_, err = s.PutDelegation(t.Context(), "other", "brakes", brakes.signed(), "x")
	wantFault(t, err, repo.ErrNoRepository)
	w.sees(s, map[string]bool{"shared/1": true, "brakes/1": true, "radio/1": false})
}

// A role gets another key: metadata signed by both keys first, then the keys. A
// stolen key is thrown out at once; devices refuse the role until the new key has
// signed.
func TestKeysOfARoleChange(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	brakes := w.supplier("brakes")
	w.pull(s).delegate(brakes, false, "brakes/*").mustPush(s)
	brakes.add(w.named("brakes/1")).mustPush(s)

	old, next := brakes.key, newKey(t)
	brakes.payload.Version++
	both := sign(t, "brakes", &brakes.payload, old, next)
	if _, err := s.PutDelegation(t.Context(), ns, "brakes", both, "x"); err != nil {
		t.Fatal(err)
	}
	brakes.key = next
	r := w.pull(s)
	r.payload.Delegations = nil
	r.delegate(brakes, false, "brakes/*").mustPush(s)
	w.sees(s, map[string]bool{"brakes/1": true})

	brakes.key = newKey(t)
	r = w.pull(s)
	r.payload.Delegations = nil
	r.delegate(brakes, false, "brakes/*").mustPush(s)
	w.sees(s, map[string]bool{"brakes/1": false})
	brakes.key, next = next, brakes.key
	wantFault(t, brakes.push(s), repo.ErrDelegationKeys)
	brakes.key = next
	brakes.mustPush(s)
	w.sees(s, map[string]bool{"brakes/1": true})

	w.clock.advance(366 * 24 * time.Hour)
	if _, err := s.Target(t.Context(), ns, "brakes/1"); !errors.Is(err, repo.ErrTargetMissing) || !strings.Contains(err.Error(), "ended") {
		t.Errorf("a target of a role whose metadata have expired: %v", err)
	}
}
