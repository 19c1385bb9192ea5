package home_test

import (
	"errors"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/home"
	"sealift/uptane"
)

// Roots that were published without get TUF's flavour later, signed by the keys
// of both generations; what does not lead to the local root is not signed.
func TestRootTwinsLater(t *testing.T) {
	h, stranger := newImage(t, options(nil, nil)), newImage(t, options(nil, nil))
	first, err := h.SignRoot(t.Context(), home.Signing{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Pushed(uptane.RoleRoot, first, ""); err != nil {
		t.Fatal(err)
	}
	next, err := h.Keys().Generate("root2", home.Ed25519, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	err = h.EditRoot(func(r *metadata.RootType) error {
		old, err := h.Keys().Public("root")
		uptane.RemoveKey(r, uptane.RoleRoot, old)
		return errors.Join(err, uptane.AddKey(r, uptane.RoleRoot, next))
	})
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.SignRoot(t.Context(), home.Signing{Version: 2})
	if err != nil {
		t.Fatal(err)
	}
	twins, err := h.SignRootTwins(t.Context(), 1, [][]byte{first.Uptane, second.Uptane})
	if err != nil || len(twins) != 2 {
		t.Fatalf("%d twins, %v", len(twins), err)
	}
	one, err := uptane.OpenRoot(uptane.TUF, twins[0], nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := uptane.OpenRoot(uptane.TUF, twins[1], &one.Payload, time.Time{})
	if err != nil || two.Payload.Version != 2 {
		t.Errorf("root version %d, %v", two.Payload.Version, err)
	}
	if twins, err = h.SignRootTwins(t.Context(), 2, [][]byte{first.Uptane, second.Uptane}); err != nil || len(twins) != 1 {
		t.Errorf("from version 2 on: %d twins, %v", len(twins), err)
	}

	foreign, err := stranger.SignRoot(t.Context(), home.Signing{})
	if err != nil {
		t.Fatal(err)
	}
	for name, chain := range map[string][][]byte{
		"nothing": nil, "another's root": {foreign.Uptane}, "another's first root": {foreign.Uptane, second.Uptane},
		"an older end": {first.Uptane}, "a gap": {second.Uptane, second.Uptane},
	} {
		if _, err := h.SignRootTwins(t.Context(), 1, chain); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
}
