package home

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

var (
	// ErrReapply marks a change that cannot be made again by itself: what it was
	// made on is not known here, or its signatures were made elsewhere.
	ErrReapply = errors.New("the change cannot be made again here")
	// ErrConflict marks a change of what somebody else has changed otherwise.
	ErrConflict = errors.New("somebody else has changed the same")
)

// Change is what was done between the targets that the server had and those
// that were signed here.
type Change struct {
	base, mine canonical.Value // payloads
	keys       []string        // local keys that signed
}

// Change returns what the signed targets do to those pulled or pushed last.
// Errors wrap ErrReapply.
func (h *Home) Change() (Change, error) {
	var c Change
	signed, err := h.Signed(uptane.RoleTargets)
	if err != nil {
		return c, err
	}
	base, version, err := h.Published()
	if err != nil {
		return c, err
	}
	if base.Uptane == nil || signed.Version != version+1 {
		return c, fmt.Errorf("comparing targets version %d with those they were made from: %w", signed.Version, ErrReapply)
	}
	if c.base, err = payloadIn(base.Uptane); err != nil {
		return c, err
	}
	if c.mine, err = payloadIn(signed.Uptane); err != nil {
		return c, err
	}
	c.keys, err = h.signersOf(signed.Uptane)
	return c, err
}

func payloadIn(doc []byte) (canonical.Value, error) {
	v, err := canonical.Parse(doc, ascii)
	if err != nil {
		return v, err
	}
	signed, _ := v.Member("signed")
	return signed, nil
}

// signersOf names the local keys that signed a document.
func (h *Home) signersOf(doc []byte) ([]string, error) {
	e, err := uptane.ParseEnvelope(uptane.Uptane, doc)
	if err != nil {
		return nil, err
	}
	names, err := h.keys.Names()
	if err != nil {
		return nil, err
	}
	var signers []string
	for _, s := range e.Signatures {
		i := slices.IndexFunc(names, func(name string) bool {
			key, err := h.keys.Public(name)
			return err == nil && key.ID() == s.KeyID && h.keys.HasPrivate(name)
		})
		if i < 0 {
			return nil, fmt.Errorf("looking for the private key %s: %w", s.KeyID, ErrReapply)
		}
		signers = append(signers, names[i])
	}
	return signers, nil
}

// Again is a change that was made again, signed and not yet stored.
type Again struct {
	Signed
	base   []byte // the targets it was made on
	merged canonical.Value
}

// Reapply makes a change again on what the server has now, verified like
// PullTargets does, and signs the result with the same keys. Nothing is stored
// before [Home.KeepAgain]. Where everything has been done already by somebody
// else, the result is nil, and the home is as after PullTargets. Errors wrap
// ErrConflict, with what both have changed, and those of PullTargets and
// SignTargets.
func (h *Home) Reapply(ctx context.Context, c Change, raw []byte, checksum string) (*Again, error) {
	doc, err := h.OpenTargets(raw)
	if err == nil {
		err = h.checkProgress(doc)
	}
	if err != nil {
		return nil, err
	}
	theirs, err := canonical.Parse(doc.Signed, ascii)
	if err != nil {
		return nil, err
	}
	m := merge{base: c.base, mine: c.mine, theirs: theirs}
	merged := m.targets()
	if len(m.conflicts) > 0 {
		return nil, fmt.Errorf("making the change again on targets version %d: %w: %s", doc.Payload.Version, ErrConflict, strings.Join(m.conflicts, ", "))
	}
	if same(&merged, &theirs) {
		_, err := h.PullTargets(raw, checksum)
		return nil, err
	}
	expires, err := timeOf(merged, "expires")
	if err != nil {
		return nil, err
	}
	// That it may have ended was decided when it was signed first.
	s := Signing{Keys: c.keys, Expires: expires, Force: true, Draft: len(c.keys) == 0}
	out, err := h.seal(ctx, uptane.RoleTargets, merged, s, TargetsLife, targetsTwin)
	if err != nil {
		return nil, err
	}
	return &Again{Signed: out, base: doc.Raw, merged: merged}, nil
}

// On is the same change, made on what it was made on again.
func (c Change) On(a *Again) Change {
	base, err := payloadIn(a.base)
	if err != nil {
		return c
	}
	mine, err := payloadIn(a.Uptane)
	if err != nil {
		return c
	}
	return Change{base: base, mine: mine, keys: c.keys}
}

// Signs reports whether a key of this home signed the change.
func (c Change) Signs() bool { return len(c.keys) > 0 }

// Join makes a change that nobody has signed on top of what others have proposed,
// nor signed enough, for the same version. Errors wrap ErrConflict; ErrReapply
// where the change is signed: a key must not sign what it has not verified.
func (h *Home) Join(ctx context.Context, c Change, proposed []byte) (Signed, error) {
	if c.Signs() {
		return Signed{}, fmt.Errorf("putting a signed change on what others propose: %w", ErrReapply)
	}
	theirs, err := own(proposed)
	if err != nil {
		return Signed{}, err
	}
	m := merge{base: c.base, mine: c.mine, theirs: theirs}
	merged := m.targets()
	if len(m.conflicts) > 0 {
		return Signed{}, fmt.Errorf("putting the change on what others propose: %w: %s", ErrConflict, strings.Join(m.conflicts, ", "))
	}
	expires, err := timeOf(merged, "expires")
	if err != nil {
		return Signed{}, err
	}
	s := Signing{Version: intOf(theirs, "version"), Expires: expires, Force: true, Draft: true}
	return h.seal(ctx, uptane.RoleTargets, merged, s, TargetsLife, targetsTwin)
}

// KeepAgain stores a change that was made again, as if it had been made on the
// server's targets at once. checksum is the server's name for those.
func (h *Home) KeepAgain(a *Again, checksum string) error {
	// The signed file first: in no state in between does it look like a change of
	// what is known as published.
	if err := h.setSigned(uptane.RoleTargets, a.Signed); err != nil {
		return err
	}
	if err := h.writeDocument(h.publishedPath(), a.base); err != nil {
		return err
	}
	if err := h.setUnsigned(uptane.RoleTargets, a.merged); err != nil {
		return err
	}
	return h.setChecksum(checksum)
}
