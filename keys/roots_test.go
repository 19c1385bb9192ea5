package keys_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/keys"
	"sealift/uptane"
	"sealift/uptane/acceptance"
	"sealift/uptane/canonical"
)

func TestRootsOfARepository(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		_, err := r.Root(ctx, ns, uptane.DirectorRepository, 0)
		wantCode(t, err, "root_role_not_found")
		_, err = r.RootVersion(ctx, ns, uptane.DirectorRepository)
		wantCode(t, err, "root_role_not_found")

		c, root := r.director()
		first := c.sign(uptane.Uptane, root)
		r.put(uptane.DirectorRepository, first)
		r.put(uptane.DirectorRepository, append([]byte(" \n"), first...)) // sent again, spaced differently

		// The timestamp key changes in version 2, the root key in version 3.
		for k := range c.root.Keys {
			if c.root.Roles["timestamp"].KeyIDs[0] == k {
				delete(c.root.Keys, k)
			}
		}
		c.root.Roles["timestamp"].KeyIDs = nil
		c.next().add(uptane.RoleTimestamp, r.online(uptane.DirectorRepository, uptane.RoleTimestamp))
		second := c.sign(uptane.Uptane, root)
		r.put(uptane.DirectorRepository, second)
		newRoot := newOffline(t)
		c.next().add(uptane.RoleRoot, newRoot.key)
		uptane.RemoveKey(c.root, uptane.RoleRoot, root.key)
		third := c.sign(uptane.Uptane, root, newRoot)
		r.put(uptane.DirectorRepository, third)

		for version, want := range map[int][]byte{1: first, 2: second, 3: third, 0: third} {
			got, err := r.replica().Root(ctx, ns, uptane.DirectorRepository, version)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("version %d: %v, %d bytes", version, err, len(got))
			}
		}
		for _, version := range []int{4, -1} {
			_, err := r.Root(ctx, ns, uptane.DirectorRepository, version)
			wantCode(t, err, "root_role_not_found")
		}
		if n, err := r.RootVersion(ctx, ns, uptane.DirectorRepository); n != 3 || err != nil {
			t.Errorf("RootVersion = %d, %v", n, err)
		}
		for role, want := range map[uptane.Role]int{uptane.RoleTargets: 1, uptane.RoleTimestamp: 2, uptane.RoleRoot: 3} {
			if n, err := r.RoleKeysSince(ctx, ns, uptane.DirectorRepository, role); n != want || err != nil {
				t.Errorf("keys of %s since %d, %v; want %d", role, n, err, want)
			}
		}
		if end, err := r.RootExpires(ctx, ns, uptane.DirectorRepository); err != nil || !end.Equal(c.root.Expires) {
			t.Errorf("expires %v, %v", end, err)
		}
		_, err = r.Root(ctx, "other", uptane.DirectorRepository, 1)
		wantCode(t, err, "root_role_not_found")

		acts, err := r.Acts(ctx, ns, "", 1)
		if err != nil || len(acts) != 1 || acts[0].Action != "root.publish" || acts[0].Actor != "token:alice" || !strings.Contains(acts[0].Detail, "version 3") {
			t.Errorf("last act %+v, %v", acts, err)
		}
	})
}

// What is wrong with a root is told rule by rule, and nothing of it stays.
func TestRootsThatAreRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		ci, rootI, targetsI := r.image()
		image := ci.sign(uptane.Uptane, rootI)
		r.put(uptane.ImageRepository, image)
		c, root := r.director()
		stranger := newOffline(t)
		unheld := func() *ceremony { // a Director's timestamp key that is not in the vault
			u := newCeremony(t, c.root.Expires).add(uptane.RoleRoot, root.key).add(uptane.RoleTimestamp, stranger.key)
			for _, role := range []uptane.Role{uptane.RoleTargets, uptane.RoleSnapshot} {
				u.add(role, r.online(uptane.DirectorRepository, role))
			}
			return u
		}
		onlineTargets := func() *ceremony { // the Image repository's targets key is the Director's
			o := newCeremony(t, c.root.Expires).next().add(uptane.RoleRoot, rootI.key).add(uptane.RoleTargets, r.online(uptane.DirectorRepository, uptane.RoleTargets))
			for _, role := range []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp} {
				o.add(role, r.online(uptane.ImageRepository, role))
			}
			return o
		}
		borrowed := func() *ceremony { // the Director's root key is the Image repository's targets key
			b := newCeremony(t, c.root.Expires).add(uptane.RoleRoot, targetsI.key)
			for _, role := range []uptane.Role{uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp} {
				b.add(role, r.online(uptane.DirectorRepository, role))
			}
			return b
		}
		incomplete := newCeremony(t, c.root.Expires).add(uptane.RoleRoot, root.key).add(uptane.RoleTargets, r.online(uptane.DirectorRepository, uptane.RoleTargets))
		director, imageRepo := uptane.DirectorRepository, uptane.ImageRepository
		good := c.sign(uptane.Uptane, root)
		renamed := bytes.ReplaceAll(good, []byte(root.key.ID()), []byte(strings.Repeat("ab", 32)))

		tests := []struct {
			what string
			repo uptane.Repository
			doc  []byte
			why  string
		}{
			{"no JSON", director, []byte("hello"), "malformed"},
			{"too large", director, append(good, bytes.Repeat([]byte(" "), 64<<10)...), "larger than 65536"},
			{"no such repository", "attic", good, "repository"},
			{"unsigned", director, c.sign(uptane.Uptane), "signatures"},
			{"signed by a stranger", director, c.sign(uptane.Uptane, stranger), "signatures"},
			{"TUF flavour", director, c.sign(uptane.TUF, root), "unknown method"},
			{"one byte changed", director, bytes.Replace(good, []byte(`"version":1`), []byte(`"version":2`), 1), "signatures"},
			{"key not held", director, unheld().sign(uptane.Uptane, root), "not held by the server"},
			{"key of another role", director, borrowed().sign(uptane.Uptane, targetsI), "already serves"},
			{"roles missing", director, incomplete.sign(uptane.Uptane, root), "no such role"},
			{"first is version 2", director, func() []byte { c2, r2 := r.director(); return c2.next().sign(uptane.Uptane, r2) }(), "version is 2, the next one is 1"},
			{"online key for offline role", imageRepo, onlineTargets().sign(uptane.Uptane, rootI), "already serves"},
			{"version 1 again", imageRepo, func() []byte { c2, r2, _ := r.image(); return c2.sign(uptane.Uptane, r2) }(), "version is 1, the next one is 2"},
			{"not signed by the last root's keys", imageRepo, func() []byte { c2, r2, _ := r.image(); return c2.next().sign(uptane.Uptane, r2) }(), "by the keys of version 1"},
			{"version gap", imageRepo, ci.next().next().sign(uptane.Uptane, rootI), "version is 3, the next one is 2"},
			{"key ids of another making", director, renamed, "signatures"},
		}
		for _, tt := range tests {
			err := r.PutRoot(ctx, ns, tt.repo, tt.doc)
			wantCode(t, err, "invalid_root_role")
			if got := strings.Join(keys.Reasons(err), "|"); !strings.Contains(got, tt.why) {
				t.Errorf("%s: reasons %q, want %q", tt.what, got, tt.why)
			}
		}
		if n := r.count(`SELECT COUNT(*) FROM root WHERE repository = 'director'`); n != 0 {
			t.Errorf("%d roots of the Director were stored", n)
		}
		if n := r.count(`SELECT COUNT(*) FROM public_key_use WHERE role = 'root' AND repository = 'director'`); n != 0 {
			t.Errorf("%d keys of refused roots were claimed", n)
		}
		wantCode(t, r.PutRoot(ctx, "No Such", director, good), "invalid_namespace")
		// A root key that another namespace uses is refused as well.
		wantCode(t, r.PutRoot(ctx, "second", imageRepo, image), "invalid_root_role")
		r.put(director, good)
	})
}

func TestKeyIDsMustBeThoseOfTheKeys(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t))
	c, root := r.director()
	payload, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, c.root)
	if err != nil {
		t.Fatal(err)
	}
	payload = bytes.ReplaceAll(payload, []byte(root.key.ID()), []byte("my-own-name"))
	if payload, err = canonical.Normalize(payload, canonical.Options{}); err != nil { // members in order again
		t.Fatal(err)
	}
	sig, err := uptane.Sign(root.Signer, payload)
	if err != nil {
		t.Fatal(err)
	}
	doc := bytes.ReplaceAll(uptane.Frame(uptane.Uptane, payload, sig), []byte(root.key.ID()), []byte("my-own-name"))
	err = r.PutRoot(t.Context(), ns, uptane.DirectorRepository, doc)
	if why := strings.Join(keys.Reasons(err), "|"); !strings.Contains(why, "must be called") {
		t.Errorf("reasons %q (%v)", why, err)
	}
}

func TestExpiredRootIsPublishedWithAWarning(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t))
	c, root := r.director()
	c.root.Expires = r.clock.now().Add(-time.Hour)
	r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
	if !strings.Contains(r.log.String(), "expired already") {
		t.Errorf("log: %s", r.log)
	}
}

// One rule of aktualizr's parser is enough for a whole fleet to stop at the root
// before: roots of both repositories are read as it does.
func TestRootsThatNoDeviceReads(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t))
	ctx := t.Context()
	director, directorKey := r.director()
	image, imageKey, _ := r.image()
	r.put(uptane.DirectorRepository, director.sign(uptane.Uptane, directorKey))
	r.put(uptane.ImageRepository, image.sign(uptane.Uptane, imageKey))
	for repository, of := range map[uptane.Repository]struct {
		*ceremony
		key offline
	}{uptane.DirectorRepository: {director.next(), directorKey}, uptane.ImageRepository: {image.next(), imageKey}} {
		good := string(of.sign(uptane.Uptane, of.key))
		e, err := uptane.ParseEnvelope(uptane.Uptane, []byte(good))
		if err != nil {
			t.Fatal(err)
		}
		resigned := func(old, with string) string {
			payload := []byte(strings.Replace(string(e.Signed), old, with, 1))
			sig, err := uptane.Sign(of.key.Signer, payload)
			if err != nil || bytes.Equal(payload, e.Signed) {
				t.Fatalf("%s has no %s, %v", e.Signed, old, err)
			}
			return string(uptane.Frame(uptane.Uptane, payload, sig))
		}
		for rule, doc := range map[string]string{
			"key-type":            resigned(`"keys":{`, `"keys":{"0":{"keytype":"ecdsa","keyval":{"public":"00"}},`),
			"expires-format":      resigned(`Z","keys"`, `.5Z","keys"`),
			"version":             resigned(`"version":2`, `"version":"2"`),
			"threshold-range":     resigned(`"threshold":1`, `"threshold":0`),
			"root-roles":          resigned(`"targets":{"keyids"`, `"other":{"keyids"`),
			"type":                resigned(`"Root"`, `"Targets"`),
			"size":                resigned(`"version":2`, `"text":"`+strings.Repeat("x", 64<<10)+`","version":2`),
			"signature-method":    strings.Replace(good, `"method":"ed25519"`, `"method":"ecdsa"`, 1),
			"signature-encoding":  strings.Replace(good, `"sig":"`, `"sig":"00`, 1),
			"signature-duplicate": strings.Replace(good, `"signatures":[`, `"signatures":[{"keyid":"`+string(of.key.key.ID())+`","method":"ed25519","sig":"`+strings.Repeat("A", 86)+`=="},`, 1),
		} {
			err := r.PutRoot(ctx, ns, repository, []byte(doc))
			if refused := acceptance.RefusalOf(err); refused == nil || refused.Judge != acceptance.Aktualizr || string(refused.Rule) != rule || fault.Status(err) != 400 {
				t.Errorf("%s root with bad %s: %v", repository, rule, err)
			}
			if version, err := r.RootVersion(ctx, ns, repository); err != nil || version != 1 {
				t.Errorf("%s root with bad %s is published as version %d, %v", repository, rule, version, err)
			}
		}
		r.put(repository, []byte(good))
	}
}

// A root under which devices would stand still is refused while there is a better
// one: it has ended, or the server has lost a key that it names for itself.
func TestRootThatWouldStopTheFleet(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		c, root := r.director()
		end := c.root.Expires
		r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))

		refused := func(want string) {
			t.Helper()
			err := r.PutRoot(ctx, ns, uptane.DirectorRepository, c.sign(uptane.Uptane, root))
			if why := keys.Reasons(err); len(why) != 1 || !strings.Contains(why[0], want) {
				t.Errorf("reasons %q (%v), want %q", why, err, want)
			}
			if version, err := r.RootVersion(ctx, ns, uptane.DirectorRepository); err != nil || version != 1 {
				t.Errorf("version %d is published, %v", version, err)
			}
		}
		c.next().root.Expires = r.clock.now().Add(-time.Second)
		refused("devices would refuse everything")
		c.root.Expires = end
		if _, err := d.ExecContext(ctx, `UPDATE online_key SET sealed = $1 WHERE role = 'timestamp'`, []byte("lost")); err != nil {
			t.Fatal(err)
		}
		refused("of timestamp cannot be used here")

		// When the last one has ended, too, it may come: another follows.
		r.clock.move(end.Sub(r.clock.now()))
		c.root.Expires = r.clock.now().Add(-time.Second)
		err := r.PutRoot(ctx, ns, uptane.DirectorRepository, c.sign(uptane.Uptane, root))
		if why := keys.Reasons(err); len(why) != 1 || !strings.Contains(why[0], "cannot be used here") {
			t.Errorf("reasons %q (%v)", why, err)
		}
	})
}

func TestTwinsOfRoots(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		c, root, _ := r.image()
		first, firstTwin := c.sign(uptane.Uptane, root), c.sign(uptane.TUF, root)
		r.put(uptane.ImageRepository, first)
		_, err := r.RootTwin(ctx, ns, 1)
		wantCode(t, err, "root_role_not_found")

		second, secondTwin := c.next().sign(uptane.Uptane, root), c.sign(uptane.TUF, root)
		c.root.Expires = c.root.Expires.Add(time.Hour)
		differs := c.sign(uptane.TUF, root)
		err = r.PutRoots(ctx, ns, uptane.ImageRepository, second, secondTwin)
		if why := keys.Reasons(err); len(why) != 1 || !strings.Contains(why[0], "version 1 must come first") {
			t.Errorf("reasons %q", why)
		}
		if err := r.PutRootTwin(ctx, ns, firstTwin); err != nil {
			t.Fatal(err)
		}
		err = r.PutRoots(ctx, ns, uptane.ImageRepository, second, differs)
		if why := keys.Reasons(err); len(why) != 1 || !strings.Contains(why[0], "the two flavours differ") {
			t.Errorf("reasons %q", why)
		}
		wantCode(t, r.PutRootTwin(ctx, ns, secondTwin), "root_role_not_found") // its sister is not there
		for range 2 {
			if err := r.PutRoots(ctx, ns, uptane.ImageRepository, second, secondTwin); err != nil {
				t.Fatal(err)
			}
		}
		for version, want := range map[int][]byte{1: firstTwin, 2: secondTwin, 0: secondTwin} {
			got, err := r.replica().RootTwin(ctx, ns, version)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("twin %d: %v\n%s\n%s", version, err, got, want)
			}
		}
		// An unmodified TUF library trusts it.
		meta, err := (&metadata.Metadata[metadata.RootType]{}).FromBytes(secondTwin)
		if err != nil || meta.VerifyDelegate(metadata.ROOT, meta) != nil {
			t.Errorf("go-tuf refuses the twin: %v", err)
		}

		dc, droot := r.director()
		err = r.PutRoots(ctx, ns, uptane.DirectorRepository, dc.sign(uptane.Uptane, droot), dc.sign(uptane.TUF, droot))
		if why := keys.Reasons(err); len(why) != 1 || !strings.Contains(why[0], "only the Image repository") {
			t.Errorf("reasons %q", why)
		}
	})
}

// A device asks for the next root at every poll: that must not cost a read.
func TestRootsAreAnsweredFromMemory(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t))
	ctx := t.Context()
	c, root := r.director()
	r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
	for _, version := range []int{0, 1} {
		if _, err := r.Root(ctx, ns, uptane.DirectorRepository, version); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := r.Root(ctx, ns, uptane.DirectorRepository, 2)
		wantCode(t, err, "root_role_not_found")
		if _, err := r.Root(ctx, ns, uptane.DirectorRepository, 1); err != nil {
			t.Error(err)
		}
		if n, err := r.RootVersion(ctx, ns, uptane.DirectorRepository); n != 1 || err != nil {
			t.Errorf("RootVersion = %d, %v", n, err)
		}
	}
	r.clock.move(time.Second)
	if _, err := r.Root(ctx, ns, uptane.DirectorRepository, 2); err == nil || strings.Contains(err.Error(), "no such root") {
		t.Errorf("after a second the database must be asked: %v", err)
	}
}

func FuzzPutRoot(f *testing.F) {
	f.Add([]byte(`{"signatures":[],"signed":{"_type":"Root","version":1}}`))
	f.Add([]byte(`{"signatures":[{"keyid":"a","method":"ed25519","sig":"AA=="}],"signed":{"_type":"Root","expires":"2030-01-01T00:00:00Z","version":1,"keys":{},"roles":{}}}`))
	d := dbtest.SQLite(f)
	kek, err := keys.CreateFileKEK(f.TempDir()+"/master.key", nil)
	if err != nil {
		f.Fatal(err)
	}
	v, err := keys.New(f.Context(), keys.Config{DB: d, KEK: kek})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		// No vault holds online keys here, so nothing can be right.
		// Not the context of the test: it ends in the middle of the last run.
		err := v.PutRoots(context.Background(), ns, uptane.ImageRepository, doc, doc)
		wantCode(t, err, "invalid_root_role")
		if len(keys.Reasons(err)) == 0 {
			t.Error("no reason given")
		}
	})
}
