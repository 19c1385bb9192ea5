package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures/device"
	"sealift/fixtures/oldserver"
	"sealift/internal/fsck"
	"sealift/keys"
	"sealift/uptane"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	must(t, err)
	return raw
}

// TestWhatCannotBeImportedLeavesNothing: each wrong input is refused with a reason,
// and the right one is taken by the same server afterwards.
func TestWhatCannotBeImportedLeavesNothing(t *testing.T) {
	m := newMove(t, "")
	m.polls(m.car("car", m.old.Gateway()), device.NothingNew)
	older := m.old.Image.Docs["targets.json"]
	m.old.Image.Change(uptane.RoleRoot, oldserver.Signers(2, "anna", "ben", "clara"))
	m.old.Delegate(uptane.RoleTargets, "radio", oldserver.Signers(2, "radio a", "radio b"), "radio-*", "board", "radio-1")
	m.old.Upload("app-2", []byte("the second app"), "board")
	m.old.Dump(m.o.dir)
	at := func(name string) string { return filepath.Join(m.o.dir, name) }
	put := func(name string, text []byte) func() { return func() { must(t, os.WriteFile(at(name), text, 0o600)) } }
	remove := func(name string) func() { return func() { must(t, os.RemoveAll(at(name))) } }
	swap := func(name, from, to string) func() {
		return func() {
			raw, err := os.ReadFile(at(name))
			must(t, err)
			changed := strings.Replace(string(raw), from, to, 1)
			if changed == string(raw) {
				t.Fatalf("%s has no %s", name, from)
			}
			put(name, []byte(changed))()
		}
	}
	otherKeys := oldserver.New(time.Now())
	otherKeys.Image.Change(uptane.RoleTargets, oldserver.Signers(1, "a stranger"))
	otherKeys.Image.Change(uptane.RoleRoot, oldserver.Signers(1, "a stranger's root"))
	otherKeys.Republish()
	half := oldserver.New(time.Now())
	half.Delegate(uptane.RoleTargets, "radio", oldserver.Signers(1, "radio a"), "radio-*", "board", "radio-1")
	blobs, err := filepath.Glob(at("blobs/*/*/*"))
	must(t, err)
	table, devices := m.old.KeyTable(), m.old.DeviceTables()
	signers := func(role uptane.Role) oldserver.Trust { return m.old.Image.Trust(role) }
	for _, c := range []struct {
		what, want string
		spoil      func()
	}{
		{"wrong password", "salt or password are wrong", func() { t.Setenv("DB_ENCRYPTION_PASSWORD", strings.Repeat("x", 64)) }},
		{"no password", "DB_ENCRYPTION_PASSWORD is not set", func() { t.Setenv("DB_ENCRYPTION_PASSWORD", "") }},
		{"a gap in the roots", "2.root.json is missing", func() { must(t, os.Rename(at("image/2.root.json"), at("image/3.root.json"))) }},
		{"no roots", "1.root.json is missing", remove("director")},
		{"a root of others", "signature", put("image/2.root.json", otherKeys.Image.Docs["3.root.json"])},
		{"another root of the same keys", "targets.json", put("image/2.root.json", otherKeys.Image.Docs["2.root.json"])},
		{"a large root", "more than 65536 bytes", put("image/2.root.json", make([]byte, 70_000))},
		{"targets of others", "targets.json", put("image/targets.json", otherKeys.Image.Docs["targets.json"])},
		{"older targets", "snapshot.json is of other targets", put("image/targets.json", older)},
		{"no delegated role", "delegations/radio.json is missing", remove("image/delegations")},
		{"a delegated role of one signer", "delegations/radio.json", func() {
			half.Dump(at("half"))
			must(t, os.Rename(at("half/image/delegations/radio.json"), at("image/delegations/radio.json")))
		}},
		{"no dump", "keys.sql", remove("keys.sql")},
		{"a dump of keys cut off", "Dump completed", put("keys.sql", []byte(table[:strings.LastIndex(table, "-- Dump")]))},
		{"a dump cut off in a row", "does not end", put("keys.sql", []byte(table[:len(table)-60]))},
		{"a key that is not there", "private keys are there that snapshot needs", put("keys.sql", []byte(m.old.KeyTable(signers(uptane.RoleSnapshot).Keys...)))},
		{"another private key", "is another one's", swap("keys.sql", oldserver.Private(signers(uptane.RoleSnapshot).Keys[0]), oldserver.Private(signers(uptane.RoleTimestamp).Keys[0]))},
		{"a private key too long", "salt or password are wrong, or the key was changed", swap("keys.sql", oldserver.Private(signers(uptane.RoleSnapshot).Keys[0]), strings.Repeat("A", 20_000))},
		{"a damaged image", "are damaged", func() { must(t, os.WriteFile(blobs[0], []byte("other bytes!!"), 0o600)) }},
		{"no image", "are not in", func() { must(t, os.Remove(blobs[0])) }},
		{"a compressed archive", "is compressed", func() { m.o.Blobs = at("keys.sql") }},
		{"an archive cut off", "cut off", func() { put("half.tar", m.old.Archive()[:1100])(); m.o.Blobs = at("half.tar") }},
		{"a dump of devices cut off", "ends in the middle", put("director.sql", []byte("INSERT INTO `ecus` (`device_id`) VALUES ("))},
		{"devices cut off", "Dump completed", put("director.sql", []byte(devices[:strings.LastIndex(devices, "-- Dump")]))},
		{"no key of an ECU", "importing device", swap("director.sql", "keytype", "keyTYPE")},
		{"no CA", "not one certificate", func() { m.o.DeviceCAs = []string{at("keys.sql")} }},
	} {
		keep := m.o
		c.spoil()
		if out, err := m.imports(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %s, %v; want %q", c.what, out, err, c.want)
		}
		m.nothingIsHere(c.what)
		m.o = keep
		t.Setenv("DB_ENCRYPTION_PASSWORD", oldserver.Password)
		must(t, os.RemoveAll(m.o.dir))
		m.old.Dump(m.o.dir)
	}
	m.o.DryRun = true
	if out, err := m.imports(); err != nil || !strings.Contains(out, "all of it can be taken over.\nNothing was changed.") {
		t.Fatalf("a dry run: %s, %v", out, err)
	}
	m.nothingIsHere("a dry run")
	m.o.DryRun = false
	if out, err := m.imports(); err != nil {
		t.Fatalf("the right input: %s, %v", out, err)
	}
	v := m.open()
	defer func() { must(t, v.close()) }()
	m.polls(m.car("car", m.gateway(v)), device.NothingNew)
}

func (m *move) nothingIsHere(what string) {
	m.t.Helper()
	v := m.open()
	defer func() { must(m.t, v.close()) }()
	ctx := m.t.Context()
	if _, err := v.Vault.RootVersion(ctx, defaultNamespace, uptane.ImageRepository); !errors.Is(err, keys.ErrNoRoot) {
		m.t.Errorf("%s: there is a root: %v", what, err)
	}
	if i, err := v.Vault.Import(ctx, defaultNamespace); err != nil || !i.Begun.IsZero() {
		m.t.Errorf("%s: an import has begun: %+v, %v", what, i, err)
	}
	for _, place := range []string{"image", "director", unfinishedHomes} {
		if _, err := os.Stat(filepath.Join(m.o.Offline, place)); err == nil {
			m.t.Errorf("%s: there is %s", what, place)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(m.s.Data, "rehearsal-*")); len(left) > 0 {
		m.t.Errorf("%s: %s was left", what, left)
	}
}

// TestKeysThatAreElsewhere: a targets key and a root key that were taken offline
// before are not in the dump. Their owners go on signing; builds get no archive.
func TestKeysThatAreElsewhere(t *testing.T) {
	m := newMove(t, "")
	m.old.Image.TakeOffline(uptane.RoleTargets)
	m.old.Image.TakeOffline(uptane.RoleRoot)
	m.polls(m.car("car", m.old.Gateway()), device.NothingNew)
	m.old.Dump(m.o.dir)
	// One archive for all, and the same bytes under two names.
	m.old.Blobs["app-0"] = m.old.Blobs["app-1"]
	m.o.Blobs = filepath.Join(m.dir, "blobs.tar")
	must(t, os.WriteFile(m.o.Blobs, m.old.Archive(), 0o600))
	out, err := m.imports()
	for _, role := range []uptane.Role{uptane.RoleRoot, uptane.RoleTargets} {
		if want := fmt.Sprintf("1 keys of %s of the image repository are not in the dump", role); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s, %v; want %q", out, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(m.o.Out, "build.zip")); err == nil {
		t.Error("there is an archive for builds, without a key")
	}
	v := m.open()
	defer func() { must(t, v.close()) }()
	m.red(v, 6)
	m.polls(m.car("car", m.gateway(v)), device.NothingNew)
	h := m.home("image")
	for _, role := range []uptane.Role{uptane.RoleRoot, uptane.RoleTargets} {
		signer := m.old.Image.Trust(role).Keys[0]
		key, err := uptane.NewKey(signer.Public())
		must(t, err)
		must(t, h.Keys().ImportPair(string(role), []byte(oldserver.Plain(signer)), key, true))
	}
	m.release(v, h, "app-2")
	car := m.car("car", m.gateway(v))
	m.assign(v, car, "app-2")
	m.polls(car, device.Installed)
	m.rotate(v, h, uptane.ImageRepository)
	m.red(v, 4)
}

// TestOneKeyOfTwoRoles: a person has given root and the image targets one key of
// his own, and the server does not have it. That stands in a root for ever: it is
// taken, red until it is rotated. What the server has itself is refused.
func TestOneKeyOfTwoRoles(t *testing.T) {
	m := newMove(t, "")
	m.polls(m.car("car", m.old.Gateway()), device.NothingNew)
	person := oldserver.Signers(1, "person")
	m.old.Image.Change(uptane.RoleRoot, person)
	m.old.Image.Change(uptane.RoleTargets, person)
	m.old.Republish()
	m.old.Dump(m.o.dir)
	if out, err := m.imports(); err == nil || !strings.Contains(err.Error(), "has another role, too") {
		t.Fatalf("a key of two roles in the dump: %s, %v", out, err)
	}
	m.old.Image.TakeOffline(uptane.RoleTargets)
	m.old.Dump(m.o.dir)
	if out, err := m.imports(); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	v := m.open()
	defer func() { must(t, v.close()) }()
	m.red(v, 6)
	car := m.car("car", m.gateway(v))
	m.polls(car, device.NothingNew)
	h, key := m.home("image"), person.Keys[0]
	public, err := uptane.NewKey(key.Public())
	must(t, err)
	must(t, h.Keys().ImportPair("person", []byte(oldserver.Plain(key)), public, true))
	m.release(v, h, "app-2")
	must(t, h.EditRoot(func(root *metadata.RootType) error { root.Expires = root.Expires.Add(time.Hour); return nil }))
	m.publishRoot(v, h, uptane.ImageRepository, "person") // the next root may have it, too
	m.assign(v, car, "app-2")
	m.polls(car, device.Installed)
	must(t, v.verify(t.Context(), fsck.New(func(d fsck.Damage) { t.Errorf("fsck: %s", d) })))
	m.rotate(v, h, uptane.ImageRepository)
	m.red(v, 4)
	m.release(v, h, "app-3")
	m.assign(v, car, "app-3")
	m.polls(car, device.Installed)
}

// TestImagesOfEveryStorage: as a folder of the old server, as a container of a
// cloud, as an archive.
func TestImagesOfEveryStorage(t *testing.T) {
	old := oldserver.New(time.Now())
	old.Upload("same", old.Blobs["app-1"], "board")
	dir := t.TempDir()
	old.Storage(filepath.Join(dir, "storage"))
	old.Container(filepath.Join(dir, "container"))
	must(t, os.WriteFile(filepath.Join(dir, "a.tar"), old.Archive(), 0o600))
	old.Dump(filepath.Join(dir, "old"))
	t.Setenv("DB_ENCRYPTION_SALT", oldserver.Salt)
	t.Setenv("DB_ENCRYPTION_PASSWORD", oldserver.Password)
	read, err := readOldServer(filepath.Join(dir, "old"), false)
	must(t, err)
	for _, source := range []string{"storage", "container", "a.tar"} {
		found, err := findBlobs(t.Context(), filepath.Join(dir, source), read.wanted(), new(atomic.Int64))
		if err != nil || len(found) != 2 {
			t.Errorf("%s: %+v, %v", source, found, err)
		}
	}
}
