package home_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/home"
	"sealift/uptane"
)

var now = time.Date(2030, 1, 31, 12, 0, 0, 500, time.UTC)

// pass are passphrases from the environment, as everywhere without a terminal.
func pass(env map[string]string) *home.Passphrases {
	return &home.Passphrases{Getenv: func(k string) string { return env[k] }, Names: []string{"GARAGE_SIGN_PASSPHRASE", "SEALIFT_PASSPHRASE"}}
}

type warnings []string

func options(env map[string]string, w *warnings) home.Options {
	return home.Options{Passphrases: pass(env), Now: func() time.Time { return now },
		Warn: func(s string) {
			if w != nil {
				*w = append(*w, s)
			}
		}}
}

// newImage makes a home of the Image repository with keys root and targets.
func newImage(t *testing.T, o home.Options) *home.Home {
	t.Helper()
	h, err := home.Create(filepath.Join(t.TempDir(), "offline", "image"), home.Config{Reposerver: "https://api.example:9443", ServerType: home.RepoServer}, o)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[uptane.Role][]uptane.Key{}
	for role, kind := range map[uptane.Role]home.KeyType{"root": home.Ed25519, "targets": home.Ed25519, "snapshot": home.Ed25519, "timestamp": home.Ed25519} {
		key, err := h.Keys().Generate(string(role), kind, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		keys[role] = []uptane.Key{key}
	}
	if err := h.InitRoot(home.RootSpec{Expires: now.Add(home.RootLife), Keys: keys}); err != nil {
		t.Fatal(err)
	}
	return h
}

// What `sealift init` does: keys, first root, first targets, both flavours.
func TestFirstDocuments(t *testing.T) {
	h := newImage(t, options(nil, nil))
	root, err := h.SignRoot(t.Context(), home.Signing{Keys: []string{"root"}})
	if err != nil {
		t.Fatal(err)
	}
	if root.Version != 1 || root.Expires != now.Add(home.RootLife).Truncate(time.Second) {
		t.Errorf("root version %d until %s", root.Version, root.Expires)
	}
	if err := h.InitTargets(0, now.Add(home.TargetsLife)); err != nil {
		t.Fatal(err)
	}
	targets, err := h.SignTargets(t.Context(), home.Signing{Keys: []string{"targets"}})
	if err != nil {
		t.Fatal(err)
	}

	for f, docs := range map[uptane.Flavour][2][]byte{uptane.Uptane: {root.Uptane, targets.Uptane}, uptane.TUF: {root.TUF, targets.TUF}} {
		r, err := uptane.OpenRoot(f, docs[0], nil, now)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		ring, err := uptane.RingOf(f, &r.Payload, uptane.RoleTargets)
		if err != nil {
			t.Fatal(err)
		}
		d, err := uptane.Open[metadata.TargetsType](f, docs[1], uptane.RoleTargets, ring, now)
		if err != nil || d.Payload.Version != 1 || len(d.Payload.Targets) != 0 {
			t.Errorf("%s targets: %v, %+v", f, err, d.Payload)
		}
	}

	for file, mode := range map[string]os.FileMode{"": 0o700, "keys": 0o700, "keys/root.sec": 0o600, "keys/targets.sec": 0o600,
		"roles": 0o700, "roles/unsigned": 0o700, "roles/root.json": 0o600, "roles/root.tuf.json": 0o600, "roles/targets.tuf.json": 0o600, "config.json": 0o600} {
		if info, err := os.Stat(filepath.Join(h.Dir(), file)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want %v", file, info, err, mode)
		}
	}
}

func TestDirectorHasNoTwins(t *testing.T) {
	o := options(nil, nil)
	h, err := home.Create(filepath.Join(t.TempDir(), "director"), home.Config{Reposerver: "https://x", ServerType: home.Director}, o)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[uptane.Role][]uptane.Key{}
	for _, role := range []uptane.Role{"root", "targets", "snapshot", "timestamp"} {
		key, err := home.OpenKeyring(t.TempDir(), o).Generate("k", home.Ed25519, 0, false)
		if role == "root" {
			key, err = h.Keys().Generate("root", home.RSA, 2048, false)
		}
		if err != nil {
			t.Fatal(err)
		}
		keys[role] = []uptane.Key{key}
	}
	if err := h.InitRoot(home.RootSpec{Expires: now.Add(home.RootLife), Keys: keys}); err != nil {
		t.Fatal(err)
	}
	root, err := h.SignRoot(t.Context(), home.Signing{})
	if err != nil || root.TUF != nil {
		t.Fatalf("%v, twin %s", err, root.TUF)
	}
	if _, err := uptane.OpenRoot(uptane.Uptane, root.Uptane, nil, now); err != nil {
		t.Error(err)
	}
	if err := h.InitTargets(1, now); !errors.Is(err, home.ErrDirector) {
		t.Errorf("targets of a Director: %v", err)
	}
}

func TestCreateRefusesWhatExists(t *testing.T) {
	dir := t.TempDir()
	if _, err := home.Create(dir, home.Config{}, home.Options{}); !errors.Is(err, home.ErrExists) {
		t.Error(err)
	}
	if _, err := home.Open(dir, home.Options{}); !errors.Is(err, home.ErrNotFound) {
		t.Error(err)
	}
	// A failed import leaves nothing behind, not even the parent's clutter.
	parent := t.TempDir()
	if _, err := home.Import(filepath.Join(parent, "r"), []byte(`{"no_auth":true}`), "", home.RepoServer, home.Options{}); err == nil {
		t.Error("a home without a server")
	}
	if entries, _ := os.ReadDir(parent); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestWideFilesAreReported(t *testing.T) {
	h := newImage(t, options(nil, nil))
	for path, mode := range map[string]os.FileMode{"keys": 0o755, "keys/root.sec": 0o640} {
		if err := os.Chmod(filepath.Join(h.Dir(), path), mode); err != nil {
			t.Fatal(err)
		}
	}
	var w warnings
	h, err := home.Open(h.Dir(), options(nil, &w))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.SignRoot(t.Context(), home.Signing{Keys: []string{"root"}}); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(w, "\n")
	for _, want := range []string{"keys is open to other users (mode 0755); run: chmod 700", "root.sec is open to other users (mode 0640); run: chmod 600"} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning %q in\n%s", want, all)
		}
	}
}

// The files look as they always have; scripts compare and edit them.
func TestFileShapes(t *testing.T) {
	h := newImage(t, options(nil, nil))
	if err := h.InitTargets(3, now); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"roles/unsigned/targets.json": `{
  "_type" : "Targets",
  "expires" : "2030-01-31T12:00:00Z",
  "targets" : {},
  "version" : 3
}`,
		"config.json": `{
  "auth" : null,
  "repoServerType" : "RepoServer",
  "reposerver" : "https://api.example:9443",
  "treehub" : {
    "no_auth" : false,
    "oauth2" : null,
    "ostree" : {}
  }
}`,
	} {
		got, err := os.ReadFile(filepath.Join(h.Dir(), file))
		if err != nil || string(got) != want {
			t.Errorf("%s is\n%s\n%v, want\n%s", file, got, err, want)
		}
	}
	key, err := h.Keys().Public("targets")
	if err != nil {
		t.Fatal(err)
	}
	pub, sec, err := h.Keys().Export("targets")
	if err != nil {
		t.Fatal(err)
	}
	hex := strings.Split(string(pub), `"`)[9]
	if want := "{\n  \"keytype\" : \"ED25519\",\n  \"keyval\" : {\n    \"public\" : \"" + hex + "\"\n  }\n}"; string(pub) != want || len(hex) != 64 {
		t.Errorf("targets.pub is\n%s", pub)
	}
	if !strings.Contains(string(sec), "\"private\" : \"") || !strings.Contains(string(sec), hex+"\"") || key.Algorithm() != "ed25519" {
		t.Errorf("targets.sec is\n%s", sec)
	}
}
