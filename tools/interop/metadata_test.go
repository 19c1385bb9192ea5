//go:build aktualizr

package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures/fault"
	"sealift/uptane"
)

// expired: each role in turn has ended. Each case has a device of its own, which
// the honest server updates afterwards.
func expired(t *testing.T) string {
	l := startLiar(t)
	l.uploadBinary(t, "app", "1", "board", "application one")
	l.uploadBinary(t, "lib", "1", "nobody", "so that there is an older version of everything")
	past := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	for _, c := range []struct {
		name, why string
		lies      func(device string) []fault.Lie
	}{
		{"director-targets", "The targets metadata was expired.", func(device string) []fault.Lie {
			return []fault.Lie{l.forgeDirector(t, device, func(m *metadata.TargetsType) { m.Expires = past })}
		}},
		{"timestamp", "The timestamp metadata was expired.", func(string) []fault.Lie {
			return l.forge(t, fault.Forgery{Timestamp: func(m *metadata.TimestampType) { m.Expires = past }}).Lies("/repo/")
		}},
		{"snapshot", "The snapshot metadata was expired.", func(string) []fault.Lie {
			return l.forge(t, fault.Forgery{Snapshot: func(m *metadata.SnapshotType) { m.Expires = past }}).Lies("/repo/")
		}},
		{"image-targets", "The targets metadata was expired.", func(string) []fault.Lie {
			return l.forge(t, fault.Forgery{Targets: func(m *metadata.TargetsType) { m.Expires = past }}).Lies("/repo/")
		}},
	} {
		b, id := l.newDevice(t, boardOptions{name: "truck-6-" + c.name, hwid: "board"})
		l.launch(t, id, map[string]string{"board": "app-1"})
		l.Tell(c.lies(id)...)
		l.observe(t, b, "once").refusedMetadata(t, c.why)
		l.recovers(t, b, id, b.name+"-primary", "app-1")
	}
	l.expiredDelegation(t, past)
	l.expiredRoots(t, past)
	return "Director targets, timestamp, snapshot, image targets, 2 roots: no report; delegation: VERIFICATION_FAILED; each recovers"
}

// expiredDelegation moves the image to a delegated role that has ended.
func (l *liar) expiredDelegation(t *testing.T, past time.Time) {
	b, id := l.newDevice(t, boardOptions{name: "truck-6-delegation", hwid: "board"})
	update := l.launch(t, id, map[string]string{"board": "app-1"})
	delegated := metadata.Targets(past).Signed
	delegated.Version = 1
	set := l.forge(t, fault.Forgery{
		Targets: func(m *metadata.TargetsType) {
			delegated.Targets["app-1"] = m.Targets["app-1"]
			delete(m.Targets, "app-1")
			m.Delegations = delegation(t, "supplier", "app-*")
		},
		Snapshot: func(m *metadata.SnapshotType) { m.Meta["supplier.json"] = &metadata.MetaFiles{Version: 1} },
	})
	lies := append(set.Lies("/repo/"), fault.Serve("/repo/delegations/supplier.json", l.sign(t, images, "supplier", &delegated)))
	l.Tell(lies...)
	s := l.observe(t, b, "once")
	s.says(t, "No matching target in Image repo Targets metadata")
	s.failedUpdate(t, "VERIFICATION_FAILED")
	if s.asked("/repo/delegations/supplier.json", 200) != 1 || s.asked("/repo/targets/") != 0 {
		t.Errorf("the delegation was not asked for, or an image was: %v", s.requests)
	}
	l.ended(t, update, b.name+"-primary", "failed")
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.recovers(t, b, id, b.name+"-primary", "app-1")
}

// delegation trusts the supplier's key for names like a pattern.
func delegation(t *testing.T, role, pattern string) *metadata.Delegations {
	t.Helper()
	key, err := uptane.NewKey(supplier.Public())
	must(t, err)
	model := metadata.Root(time.Now()).Signed
	model.Keys, model.Roles = nil, nil
	must(t, uptane.AddKey(&model, uptane.RoleTargets, key))
	return &metadata.Delegations{Keys: model.Keys,
		Roles: []metadata.DelegatedRole{{Name: role, KeyIDs: model.Roles["targets"].KeyIDs, Threshold: 1, Paths: []string{pattern}}}}
}

// expiredRoots comes last: the devices go on to a root that the server never
// published, and it must follow.
func (l *liar) expiredRoots(t *testing.T, past time.Time) {
	for repository, below := range map[uptane.Repository]string{directors: "/director/", images: "/repo/"} {
		b, id := l.newDevice(t, boardOptions{name: "truck-6-root-" + string(repository), hwid: "board"})
		l.launch(t, id, map[string]string{"board": "app-1"})
		l.Tell(fault.Serve(below+"2.root.json", l.root(t, repository, 2, past)))
		l.observe(t, b, "once").refusedMetadata(t, "The root metadata was expired.")
		for version := int64(2); version <= 3; version++ {
			l.putRoot(t, repository, l.root(t, repository, version, time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)))
		}
		l.recovers(t, b, id, b.name+"-primary", "app-1")
	}
}

// replayed: what was once true is no longer believed.
func replayed(t *testing.T) string {
	l := startLiar(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-7", hwid: "board"})
	l.uploadBinary(t, "app", "1", "board", "application one")
	l.launch(t, id, map[string]string{"board": "app-1"})
	b.once(t)
	director, images := l.Recorded("truck-7", "/director/"), l.Recorded("truck-7", "/repo/")
	l.uploadBinary(t, "app", "2", "board", "application two")
	l.launch(t, id, map[string]string{"board": "app-2"})
	b.cycle(t, "check", b.patience) // it knows the new metadata now, and does nothing yet

	l.Tell(director.Lies("/director/", "targets.json")...)
	l.observe(t, b, "once").refusedMetadata(t, "Rollback attempt")
	l.Tell(images.Lies("/repo/", "timestamp.json")...)
	l.observe(t, b, "once").refusedMetadata(t, "Rollback attempt")
	l.recovers(t, b, id, "truck-7-primary", "app-2")
	return "older Director targets, older timestamp: \"Rollback attempt\", no report; then app-2"
}

// mixed: the repositories do not say the same.
func mixed(t *testing.T) string {
	l := startLiar(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-8", hwid: "board"})
	l.uploadBinary(t, "app", "1", "board", "application one")
	l.uploadBinary(t, "firmware", "1", "sensor", "application one") // as long, so that only hardware ids differ
	otherHash := func(m *metadata.TargetsType) { m.Targets["app-1"].Hashes["sha256"][0] ^= 1 }
	rename := func(to string) func(m *metadata.TargetsType) {
		return func(m *metadata.TargetsType) { m.Targets = map[string]*metadata.TargetFiles{to: m.Targets["app-1"]} }
	}
	for name, edit := range map[string]func(*metadata.TargetsType){
		"another hash": otherHash, "another hardware id": rename("firmware-1"), "no such image": rename("ghost-1"),
	} {
		update := l.launch(t, id, map[string]string{"board": "app-1"})
		l.Tell(l.forgeDirector(t, id, edit))
		s := l.observe(t, b, "once")
		s.says(t, "No matching target in Image repo Targets metadata", "do not match")
		s.failedUpdate(t, "VERIFICATION_FAILED")
		if s.asked("/repo/targets/") != 0 {
			t.Errorf("%s: the client downloads: %v", name, s.requests)
		}
		l.ended(t, update, "truck-8-primary", "failed")
		l.Honest()
	}
	update := l.launch(t, id, map[string]string{"board": "app-1"})
	l.Tell(l.forgeDirector(t, id, func(m *metadata.TargetsType) {
		otherHash(m)
		delete(m.UnrecognizedFields, "custom")
	}))
	l.observe(t, b, "once").refusedMetadata(t, "Correlation ID is blank, installation failure will not be logged")
	if status := l.assignments(t, update)["truck-8-primary"]; strings.EqualFold(status, "failed") {
		t.Error("the server believes that the update failed, of which nobody told it")
	}
	l.recovers(t, b, id, "truck-8-primary", "app-1")
	return "hash, hardware id, missing image: VERIFICATION_FAILED, assignment failed; without correlation id: silence; then app-1"
}

// ended fails unless the server says so of an ECU's assignment.
func (s *server) ended(t *testing.T, update, ecu, status string) {
	t.Helper()
	if got := s.assignments(t, update)[ecu]; !strings.EqualFold(got, status) {
		t.Errorf("the assignment of %s is %q, want %q", ecu, got, status)
	}
}

// sameVersion: a Director that gives a version new content is not understood, and
// not heard of either. Ours must never do so.
func sameVersion(t *testing.T) string {
	l := startLiar(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-16", hwid: "board"})
	l.uploadBinary(t, "app", "1", "board", "application one")
	b.once(t) // it stores the empty targets
	before := l.assigned(t, id).Version
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.Tell(l.forgeDirector(t, id, func(m *metadata.TargetsType) { m.Version = before }))
	for range 2 { // and so on, for ever
		s := l.observe(t, b, "once")
		s.says(t, "No new updates found while rechecking stored Director Targets metadata, but 1 target(s) were requested")
		if len(s.reports) > 0 || s.asked("/repo/targets/") > 0 {
			t.Errorf("reports %v, requests %v", s.reports, s.requests)
		}
	}
	l.Honest()
	versions := []int64{before}
	for range 3 {
		versions = append(versions, l.assigned(t, id).Version)
		must(t, l.cancelAll(t, id))
		versions = append(versions, l.assigned(t, id).Version)
		l.launch(t, id, map[string]string{"board": "app-1"})
	}
	for i, v := range versions[1:] {
		if v <= versions[i] {
			t.Errorf("new content, versions %v", versions)
		}
	}
	l.recovers(t, b, id, "truck-16-primary", "app-1")
	return fmt.Sprintf("the client is stuck, silently (T1); our Director's versions over 6 changes: +%d, none twice; then app-1", versions[6]-before)
}

func (l *liar) cancelAll(t *testing.T, device string) error {
	t.Helper()
	_, err := l.services.Director.Cancel(t.Context(), ns, uptane.DeviceID(device), true)
	return err
}
