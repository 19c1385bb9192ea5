package home_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"sealift/internal/home"
	"sealift/uptane"
	"sealift/uptane/ceremony"
)

// Whoever signs a root that waits at a server encodes it at the desk: what the
// server calls it must be that, and what is signed is that.
func TestDraftIsEncodedWhereItIsSigned(t *testing.T) {
	h := newImage(t, options(nil, nil))
	if _, _, err := h.ReviewDraft(ceremony.Model{}, ""); !errors.Is(err, home.ErrNotFound) {
		t.Errorf("without a root to trust: %v", err)
	}
	if _, err := h.SignRoot(t.Context(), home.Signing{}); err != nil {
		t.Fatal(err)
	}
	root, err := h.Root()
	if err != nil {
		t.Fatal(err)
	}
	m, err := ceremony.Of(&root.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.ReviewDraft(m, "x"); !errors.Is(err, ceremony.ErrModel) {
		t.Errorf("the version in force once more: %v", err)
	}
	m.Version, m.Expires = 2, m.Expires.Add(24*time.Hour)
	shown, err := m.Payloads(&root.Payload)
	if err != nil {
		t.Fatal(err)
	}
	m.Expires = m.Expires.Add(100 * 365 * 24 * time.Hour) // the server shows one root and names another
	if _, lines, err := h.ReviewDraft(m, shown.ID); !errors.Is(err, uptane.ErrTwins) || len(lines) == 0 {
		t.Errorf("another root than is shown: %v", err)
	}
	m.Expires = shown.Root.Expires
	p, lines, err := h.ReviewDraft(m, shown.ID)
	if err != nil || len(lines) != 2 || !bytes.Equal(p.Uptane, shown.Uptane) {
		t.Fatalf("%q, %v", lines, err)
	}
	sigs, tuf, err := h.SignDraft(t.Context(), p, []string{"root"})
	if err != nil {
		t.Fatal(err)
	}
	signed := append(append([]byte(`{"signatures":`), sigs...), append([]byte(`,"signed":`), append(p.Uptane, '}')...)...)
	if _, err := uptane.OpenRoot(uptane.Uptane, signed, &root.Payload, time.Time{}); err != nil {
		t.Errorf("signed for Uptane: %v", err)
	}
	signed = append(append([]byte(`{"signatures":`), tuf...), append([]byte(`,"signed":`), append(p.TUF, '}')...)...)
	if _, err := uptane.OpenRoot(uptane.TUF, signed, nil, time.Time{}); err != nil {
		t.Errorf("signed for TUF: %v", err)
	}
}
