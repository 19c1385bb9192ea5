package repo_test

import (
	"errors"
	"strings"
	"testing"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/repo"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

func wantRefused(t *testing.T, err error, rule acceptance.Rule, role uptane.Role) {
	t.Helper()
	if r := acceptance.RefusalOf(err); r == nil || r.Rule != rule || r.Role != role || !errors.Is(err, acceptance.ErrRefused) {
		t.Errorf("got %v, want %s refused by rule %s", err, role, rule)
	}
}

// While TUF was off devices went on: root and targets have other keys now, which
// what TUF clients saw last is not signed with. It does not come back by a switch.
func TestSwitchingTUFOnJudgesWhatItShows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s, client := switchedOn(t, d)
		ctx := t.Context()
		sup := w.supplier("sup").add(w.named("sup/radio"))
		w.pull(s).delegate(sup, false, "sup/*").mustPushBoth(s)
		sup.payload.Version++
		if err := s.StageTwin(ctx, ns, sup.role, signAs(t, uptane.TUF, sup.role, &sup.payload, sup.key)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.PutDelegation(ctx, ns, sup.role, sup.signed(), "token:sup"); err != nil {
			t.Fatal(err)
		}
		client.mustSee(s, 2)
		if err := errors.Join(s.SetTUF(ctx, ns, false, false), s.SetTUF(ctx, ns, true, false)); err != nil {
			t.Fatalf("off and on again: %v", err)
		}
		client.mustSee(s, 2)
		if err := s.SetTUF(ctx, ns, false, false); err != nil {
			t.Fatal(err)
		}

		last := w.pull(s)
		uptane.RemoveKey(w.root, uptane.RoleTargets, public(t, w.targets))
		w.targets = newKey(t)
		w.addKey(uptane.RoleTargets, public(t, w.targets))
		w.putRoot(s)
		if err := w.rootTwin(s); err != nil {
			t.Fatal(err)
		}
		last.mustPush(s)
		w.device.mustUpdate(s)
		wantRefused(t, s.SetTUF(ctx, ns, true, true), acceptance.RuleThreshold, uptane.RoleTargets)
		for _, r := range []*server{s, w.server()} {
			_, err := r.TUFMetadata(ctx, ns, "timestamp.json")
			wantFault(t, err, repo.ErrTUFOff)
			wantFault(t, r.RequireAnonymous(ctx, ns), repo.ErrTUFOff)
		}
		if err := errors.Join(last.twin(s), s.SetTUF(ctx, ns, true, false)); err != nil {
			t.Fatal(err)
		}
		client.mustSee(s, 3)
		w.device.mustUpdate(s)

		if err := s.SetTUF(ctx, ns, false, false); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(32 * day)
		wantRefused(t, s.SetTUF(ctx, ns, true, false), acceptance.RuleExpired, uptane.RoleTargets)
	})
}

// A renewal is seen as soon as it is stored. One that a device would refuse that
// has read what was there before is not stored, whoever wrote it into the database.
func TestRenewalSuitsWhoReadBefore(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).mustPush(s)
	w.pull(s).add(w.ostreeTarget("brakes", "1")).mustPush(s)
	w.device.mustUpdate(s)
	w.clock.advance(26 * day) // both are due
	off := errors.New("the signer is away")
	w.breakSigner(func(uptane.Job) error { return off })
	_, _ = s.Metadata(t.Context(), ns, "timestamp.json") // writes the next snapshot ahead
	const unsigned = ` FROM repo_document WHERE role = 'snapshot' AND document IS NULL AND NOT void`
	var payload []byte
	if err := w.db.GetContext(t.Context(), &payload, `SELECT payload`+unsigned); err != nil {
		t.Fatal(err)
	}
	older := strings.Replace(string(payload), `"targets.json":{"version":2}`, `"targets.json":{"version":1}`, 1)
	if older == string(payload) {
		t.Fatalf("%s", payload)
	}
	if _, err := w.db.ExecContext(t.Context(), `UPDATE repo_document SET payload = $1 WHERE role = 'snapshot' AND document IS NULL AND NOT void`, []byte(older)); err != nil {
		t.Fatal(err)
	}
	w.breakSigner(nil)
	next := w.server()
	if _, err := next.Metadata(t.Context(), ns, "timestamp.json"); err == nil {
		t.Error("there is a timestamp") // the last one has ended
	}
	var sealed int
	if err := w.db.GetContext(t.Context(), &sealed, `SELECT COUNT(*) FROM repo_document WHERE role = 'timestamp' AND document IS NOT NULL AND created_at = $1`,
		w.clock.now().UnixMilli()); err != nil || sealed != 0 {
		t.Errorf("%d timestamps are stored that name it, %v", sealed, err)
	}
}

// Three suppliers, of whom the first goes: the others have another place and the
// same trust. What was judged of them is not read again.
func TestAnotherOrderOfRolesIsNotJudgedAgain(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	r, suppliers := w.pull(s), map[uptane.Role]*supplier{}
	for _, name := range []uptane.Role{"one", "two", "three"} {
		suppliers[name] = w.supplier(name).add(w.named(string(name) + "/x"))
		r.delegate(suppliers[name], false, string(name)+"/*")
	}
	r.mustPush(s)
	for _, sup := range suppliers {
		sup.mustPush(s)
	}
	w.device.mustUpdate(s)
	damage := func(role, with string) {
		t.Helper()
		if _, err := w.db.ExecContext(t.Context(), `UPDATE repo_delegated SET document = $1 WHERE role = $2`, []byte(with), role); err != nil {
			t.Fatal(err)
		}
	}
	damage("three", "{}")
	first := w.pull(s)
	first.payload.Delegations.Roles = first.payload.Delegations.Roles[1:]
	first.mustPush(s)
	w.device.mustUpdate(s)
	if _, err := w.device.find(s, "two/x"); err != nil {
		t.Error(err)
	}

	// Trust that changes is judged: devices could not follow to what lies there.
	next := w.pull(s)
	key := suppliers["two"].key
	next.payload.Delegations = nil
	suppliers["three"].key = key
	next.delegate(suppliers["two"], false, "two/*", "more/*").delegate(suppliers["three"], false, "three/*")
	if err := next.push(s); err == nil {
		t.Error("the metadata of a role whose keys are others now are published unread")
	}
}

// A device that runs an image of a name gives every update up when the name means
// something else: it never does, also when nothing has named it for long, and
// whoever signs.
func TestNameKeepsItsContentForEver(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	sup := w.supplier("sup")
	w.pull(s).delegate(sup, false, "brakes*", "radio*").add(w.ostreeTarget("brakes", "1")).mustPush(s)
	r := w.pull(s)
	delete(r.payload.Targets, "brakes-1")
	r.mustPush(s)
	sup.add(w.ostreeTarget("radio", "1")).mustPush(s)
	delete(sup.payload.Targets, "radio-1")
	sup.mustPush(s)
	w.device.mustUpdate(s)
	for _, name := range []string{"brakes", "radio"} {
		other := w.ostreeTarget(name, "2")
		other.Filename = name + "-1"
		wantFault(t, w.pull(s).add(other).push(s), repo.ErrInvalidTargets, "for ever")
		wantFault(t, sup.add(other).push(s), repo.ErrDelegatedTarget, "for ever")
		delete(sup.payload.Targets, other.Filename)
	}
	w.pull(s).add(w.ostreeTarget("radio", "1")).mustPush(s) // the same comes back
	sup.add(w.ostreeTarget("brakes", "1")).mustPush(s)
	w.device.mustUpdate(s)
}
