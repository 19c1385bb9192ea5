package home_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/home"
	"sealift/uptane"
)

// A home keeps every root it signed or pulled, so that a server that lost the
// newest ones gets all of them back.
func TestRootsAreKept(t *testing.T) {
	h := newImage(t, options(nil, nil))
	first, err := h.SignRoot(t.Context(), home.Signing{})
	if err != nil {
		t.Fatal(err)
	}
	docs := []home.Signed{first}
	for version := int64(2); version <= 4; version++ {
		if err := h.Pushed(uptane.RoleRoot, docs[len(docs)-1], ""); err != nil {
			t.Fatal(err)
		}
		extra, err := h.Keys().Generate("extra"+string(rune('0'+version)), home.Ed25519, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.EditRoot(func(r *metadata.RootType) error { return uptane.AddKey(r, uptane.RoleTargets, extra) }); err != nil {
			t.Fatal(err)
		}
		next, err := h.SignRoot(t.Context(), home.Signing{})
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, next)
	}
	same := func(h *home.Home, twins bool) {
		t.Helper()
		list, err := h.Roots()
		if err != nil || len(list) != len(docs) {
			t.Fatalf("%d roots, %v", len(list), err)
		}
		for i, s := range list {
			if s.Version != int64(i+1) || string(s.Uptane) != string(docs[i].Uptane) || twins && string(s.TUF) != string(docs[i].TUF) {
				t.Errorf("root %d is another one", i+1)
			}
		}
	}
	same(h, true)

	other, err := home.Create(filepath.Join(t.TempDir(), "other"), h.Config(), options(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.PullRoot(docs[0].Uptane, nil, false); err != nil {
		t.Fatal(err)
	}
	if _, err := other.PullRoot(docs[3].Uptane, [][]byte{docs[1].Uptane, docs[2].Uptane}, true); err != nil {
		t.Fatal(err)
	}
	same(other, false)

	lie := filepath.Join(h.Dir(), "roles", "7.root.json")
	if err := os.WriteFile(lie, docs[0].Uptane, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Roots(); !errors.Is(err, uptane.ErrVersion) {
		t.Errorf("a root under a wrong number: %v", err)
	}
}

// What a server is known to have had is what was pushed or pulled last; what was
// only signed is not.
func TestPublished(t *testing.T) {
	h := newImage(t, options(nil, nil))
	want := func(h *home.Home, version int64, doc []byte) {
		t.Helper()
		s, got, err := h.Published()
		if err != nil || got != version || string(s.Uptane) != string(doc) {
			t.Errorf("version %d, want %d, %v", got, version, err)
		}
	}
	root, err := h.SignRoot(t.Context(), home.Signing{})
	if err != nil {
		t.Fatal(err)
	}
	want(h, 0, nil)
	if err := h.InitTargets(0, now.Add(home.TargetsLife)); err != nil {
		t.Fatal(err)
	}
	sign := func() home.Signed {
		t.Helper()
		s, err := h.SignTargets(t.Context(), home.Signing{Keys: []string{"targets"}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := sign()
	want(h, 0, nil)
	if err := h.Pushed(uptane.RoleTargets, first, ""); err != nil {
		t.Fatal(err)
	}
	want(h, 1, first.Uptane)
	second := sign()
	want(h, 1, first.Uptane)
	if err := h.Pushed(uptane.RoleTargets, second, ""); err != nil {
		t.Fatal(err)
	}
	want(h, 2, second.Uptane)
	if s, _, _ := h.Published(); s.TUF == nil {
		t.Error("the TUF twin is lost")
	}

	puller, err := home.Create(filepath.Join(t.TempDir(), "puller"), h.Config(), options(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := puller.PullRoot(root.Uptane, nil, false); err != nil {
		t.Fatal(err)
	}
	if _, err := puller.PullTargets(second.Uptane, home.ChecksumOf(second.Uptane)); err != nil {
		t.Fatal(err)
	}
	want(puller, 2, second.Uptane)
}
