package repo_test

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/repo"
	"sealift/uptane"
)

// TUF is off until somebody switches it on, which every root must be ready for.
func TestTUFIsOffByDefault(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		ctx := t.Context()
		w.pull(s).mustPushBoth(s)
		w.putRoot(s)
		for _, name := range []string{"1.root.json", "timestamp.json", "1.targets.json"} {
			_, err := s.TUFMetadata(ctx, ns, name)
			wantFault(t, err, repo.ErrTUFOff)
		}
		_, err := s.TUFImage(ctx, ns, uptane.HashedName("a", w.commit("a")))
		wantFault(t, err, repo.ErrTUFOff)
		wantFault(t, s.SetTUF(ctx, ns, true, false), repo.ErrTwinMissing, "root version 1 comes next", "up to version 2")
		wantFault(t, s.SetTUF(ctx, ns, false, true), repo.ErrInvalid)
		wantFault(t, s.SetTUF(ctx, "nobody", false, false), repo.ErrNoRepository)

		// The documents that are missing may follow, in order.
		second := *w.root
		wantFault(t, w.rootTwin(s), repo.ErrInvalid, "root version 1 must come first")
		w.root.Version = 1
		if err := errors.Join(w.rootTwin(s), w.rootTwin(s)); err != nil { // the answer got lost
			t.Fatal(err)
		}
		*w.root = second
		if got, want := state(t, s), (repo.TUF{Root: 2, RootTwin: 1, Targets: 1, TUFTargets: 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if err := errors.Join(w.rootTwin(s), s.SetTUF(ctx, ns, true, false)); err != nil {
			t.Fatal(err)
		}
		(&tufClient{w: w}).mustSee(s, 1)
		other := *w.root
		other.Expires = other.Expires.Add(time.Hour)
		twin := signAs(t, uptane.TUF, uptane.RoleRoot, &other, w.rootKey)
		wantFault(t, s.StageTwin(ctx, ns, uptane.RoleRoot, twin), repo.ErrExists)

		// And off again, at every replica within a second.
		replica := w.server()
		if _, err := replica.TUFMetadata(ctx, ns, "1.root.json"); err != nil {
			t.Error(err)
		}
		if err := s.SetTUF(ctx, ns, false, false); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(time.Second)
		for _, s := range []*server{s, replica} {
			_, err = s.TUFMetadata(ctx, ns, "1.root.json")
			wantFault(t, err, repo.ErrTUFOff)
			_, err = s.TUFMetadata(ctx, ns, "timestamp.json")
			wantFault(t, err, repo.ErrTUFOff)
		}
	})
}

// Devices and TUF clients of all replicas follow pushes and a rotation of every
// key.
func TestTUFClientFollows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s, client := switchedOn(t, d)
		other := w.server()
		client.mustSee(s, 1)
		secret := w.ostreeTarget("brakes", "1")
		secret.Custom.URI = "https://secret.example/brakes"
		w.pull(s).add(secret).mustPushBoth(s)
		w.clock.advance(time.Second)
		file := client.mustSee(other, 2).Targets["brakes-1"]
		if file == nil || file.Length != 0 || bytes.Contains(*file.Custom, []byte("secret")) || !bytes.Contains(*file.Custom, []byte("ecu-a")) {
			t.Errorf("what TUF clients see of the target: %+v", file)
		}
		w.device.mustUpdate(other)

		w.root.Version++
		w.newOnlineKey(s, uptane.RoleSnapshot)
		w.newOnlineKey(s, uptane.RoleTimestamp)
		twin := signAs(t, uptane.TUF, uptane.RoleRoot, w.root, w.rootKey)
		if err := errors.Join(s.StageTwin(t.Context(), ns, uptane.RoleRoot, twin),
			s.PutRoot(t.Context(), ns, sign(t, uptane.RoleRoot, w.root, w.rootKey))); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(time.Second)
		client.mustSee(other, 2)
		if len(client.roots) != 2 {
			t.Errorf("%d roots", len(client.roots))
		}
		w.device.mustUpdate(other)

		// What an earlier reader was told of is still there, under the same bytes.
		for _, name := range []string{"1.targets.json", "2.targets.json", "1.root.json"} {
			if _, err := s.TUFMetadata(t.Context(), ns, name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, name := range []string{"root.json", "targets.json", "snapshot.json", "1.timestamp.json", "3.targets.json", "1.snapshot.json", "3.root.json", "1.delegated.json", "x"} {
			if _, err := s.TUFMetadata(t.Context(), ns, name); fault.Status(err) != 404 {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Where TUF is on, a root that its clients could not follow is refused.
func TestRootNeedsTwinWhereTUFIsOn(t *testing.T) {
	w, s, client := switchedOn(t, dbtest.SQLite(t))
	ctx := t.Context()
	w.root.Version++
	doc := sign(t, uptane.RoleRoot, w.root, w.rootKey)
	wantFault(t, s.PutRoot(ctx, ns, doc), repo.ErrTwinMissing, "version 2")
	if got := state(t, s); got.Root != 1 {
		t.Errorf("%+v", got)
	}
	// A twin by the wrong key refuses both: nothing is published by halves.
	foreign := newKey(t)
	forged := *w.root
	forged.Keys, forged.Roles = nil, nil
	for _, role := range []uptane.Role{uptane.RoleRoot, uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp} {
		key := public(t, newKey(t))
		if role == uptane.RoleRoot {
			key = public(t, foreign)
		}
		if err := uptane.AddKey(&forged, role, key); err != nil {
			t.Fatal(err)
		}
	}
	theirs := signAs(t, uptane.TUF, uptane.RoleRoot, &forged, foreign)
	if err := s.StageTwin(ctx, ns, uptane.RoleRoot, theirs); err != nil {
		t.Fatal(err)
	}
	wantFault(t, s.PutRoot(ctx, ns, doc), repo.ErrTwinMissing)
	// Nor does it take the place of the right one, though it comes later.
	if err := errors.Join(w.rootTwin(s), s.StageTwin(ctx, ns, uptane.RoleRoot, theirs), s.PutRoot(ctx, ns, doc), s.PutRoot(ctx, ns, doc)); err != nil { // sent twice
		t.Fatal(err)
	}
	client.mustSee(s, 1)
	if got := state(t, s); got.Root != 2 || got.RootTwin != 2 {
		t.Errorf("%+v", got)
	}
}

// Pushes without a TUF document reach devices alone. TUF clients stay where they
// are, with a fresh timestamp, and are told how far behind they are.
func TestTUFClientsLagBehind(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s, client := switchedOn(t, d)
		client.mustSee(s, 1)
		w.pull(s).add(w.ostreeTarget("brakes", "1")).mustPush(s)
		w.pull(s).add(w.ostreeTarget("brakes", "2")).mustPush(s)
		w.device.mustUpdate(s)
		for range 4 { // for a month
			before := client.seen
			w.clock.advance(7 * day)
			client.mustSee(s, 1)
			w.device.mustUpdate(s)
			if client.seen.timestamp <= before.timestamp {
				t.Errorf("timestamp version %d after %d", client.seen.timestamp, before.timestamp)
			}
		}
		doc, err := s.TUFMetadata(t.Context(), ns, "timestamp.json")
		if got := state(t, s); err != nil || doc.Behind != 2 || got.Behind() != 2 || got.TUFTargets != 1 || got.Targets != 3 {
			t.Errorf("%+v, behind %d, %v", got, doc.Behind, err)
		}
		w.pull(s).add(w.ostreeTarget("brakes", "3")).mustPushBoth(s)
		client.mustSee(s, 4)
		w.device.mustUpdate(s)
		if got := state(t, s); got.Behind() != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// The TUF document of what is visible may come after it.
func TestLateTwinOfVisibleTargets(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s, client := switchedOn(t, d)
		last := w.pull(s).add(w.ostreeTarget("brakes", "1"))
		last.mustPush(s)
		client.mustSee(s, 1)
		other := w.server()
		if err := errors.Join(last.twin(other), last.twin(other)); err != nil {
			t.Fatal(err)
		}
		client.mustSee(other, 2)
		w.clock.advance(time.Second)
		client.mustSee(s, 2)
	})
}

// A namespace may be switched on before it has targets for TUF.
func TestTUFBeforeItsFirstTargets(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).mustPush(s)
	if err := errors.Join(w.rootTwin(s), s.SetTUF(t.Context(), ns, true, false)); err != nil {
		t.Fatal(err)
	}
	_, err := s.TUFMetadata(t.Context(), ns, "timestamp.json")
	wantFault(t, err, repo.ErrRoleMissing)
	if got := state(t, s); got.TUFTargets != 0 || got.Behind() != 1 {
		t.Errorf("%+v", got)
	}
	w.pull(s).mustPushBoth(s)
	(&tufClient{w: w}).mustSee(s, 2)
}

// After expiry everybody asks at once, at every replica and in both flavours,
// and gets the same bytes of each.
func TestConcurrentReadsOfBothFlavours(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s, client := switchedOn(t, d)
		client.mustSee(s, 1)
		w.clock.advance(8 * day)
		replicas := []*server{s, w.server()}
		got := make([]string, 16)
		var group sync.WaitGroup
		for i := range got {
			group.Go(func() {
				read := replicas[i%2].Metadata
				if i%4 > 1 {
					read = replicas[i%2].TUFMetadata
				}
				doc, err := read(t.Context(), ns, "timestamp.json")
				if err != nil {
					t.Error(err)
				}
				got[i] = string(doc.Bytes)
			})
		}
		group.Wait()
		for i := range got {
			if same := got[i] == got[0]; same != (i%4 < 2) || got[i] != got[i%4] && got[i] != got[i%4^1] {
				t.Fatalf("timestamp %d:\n%s\nfirst:\n%s", i, got[i], got[0])
			}
		}
		client.mustSee(s, 1)
		w.device.mustUpdate(s)
	})
}

// What TUF metadata lists can be downloaded by its name in TUF, as long as it is
// listed there; what is not its to give is not found.
func TestTUFImages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s, client := switchedOn(t, d)
		ctx := t.Context()
		content := []byte("firmware of the brakes")
		upload := func(filename string) {
			id, tags := w.send(s, filename, content)
			if err := s.Repo.Complete(ctx, ns, filename, id, tags); err != nil {
				t.Fatal(err)
			}
		}
		upload("fw/brakes-1")
		image := w.binaryTarget("fw/brakes", "1", content)
		name := uptane.HashedName("fw/brakes-1", image.SHA256())
		_, err := s.TUFImage(ctx, ns, name)
		wantFault(t, err, repo.ErrTargetMissing) // not signed yet
		commit := w.ostreeTarget("rootfs", "1")
		w.pull(s).add(image).add(commit).mustPushBoth(s)
		client.mustSee(s, 2)

		download := func() string {
			t.Helper()
			i, err := s.TUFImage(ctx, ns, name)
			if err != nil {
				t.Fatal(err)
			}
			rd, err := i.Bucket.NewReader(ctx, i.Key, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer rd.Close()
			b, err := io.ReadAll(rd)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		if got := download(); got != string(content) {
			t.Errorf("%q", got)
		}
		for _, other := range []string{
			"fw/brakes-1", uptane.HashedName("fw/brakes-1", commit.SHA256()), uptane.HashedName("rootfs-1", commit.SHA256()),
			uptane.HashedName("brakes-1", image.SHA256()), "fw/../" + name, image.SHA256() + ".", "",
		} {
			_, err := s.TUFImage(ctx, ns, other)
			wantFault(t, err, repo.ErrTargetMissing)
		}

		// Devices do not see it any more; TUF clients still do.
		r := w.pull(s)
		delete(r.payload.Targets, "fw/brakes-1")
		r.mustPush(s)
		w.clock.advance(8 * day)
		if gone, err := s.Sweep(ctx); err != nil || gone != 0 {
			t.Fatalf("%d swept, %v", gone, err)
		}
		if _, total, err := s.Unnamed(ctx, ns, 10, 0); err != nil || total != 0 {
			t.Errorf("%d images without a target, %v", total, err)
		}
		download()
		w.pull(s).mustPushBoth(s)
		_, err = s.TUFImage(ctx, ns, name)
		wantFault(t, err, repo.ErrTargetMissing)
		if gone, err := s.Sweep(ctx); err != nil || gone != 1 {
			t.Fatalf("%d swept, %v", gone, err)
		}
	})
}

// Nobody reads without credentials unless that was switched on as well.
func TestAnonymousTUF(t *testing.T) {
	w, s, _ := switchedOn(t, dbtest.SQLite(t))
	ctx := t.Context()
	for _, n := range []uptane.Namespace{ns, "nobody", "../x", ""} {
		wantFault(t, s.RequireAnonymous(ctx, n), repo.ErrTUFOff)
	}
	if err := s.SetTUF(ctx, ns, true, true); err != nil {
		t.Fatal(err)
	}
	if err := w.server().RequireAnonymous(ctx, ns); err != nil {
		t.Error(err)
	}
	if err := s.SetTUF(ctx, ns, true, false); err != nil {
		t.Fatal(err)
	}
	wantFault(t, s.RequireAnonymous(ctx, ns), repo.ErrTUFOff)
}
