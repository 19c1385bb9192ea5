package home

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// RootReview is what a person needs to know before signing the next root that
// somebody else has put together.
type RootReview struct {
	Review
	before uptane.Document[metadata.RootType] // the trusted root that it follows
	next   *metadata.RootType
	have   Signed // with the signatures so far
	known  bool   // this home has signed it, too
}

// rootBefore is the root of that version as it was signed or pulled here.
func (h *Home) rootBefore(version int64) (uptane.Document[metadata.RootType], error) {
	var none uptane.Document[metadata.RootType]
	if local, err := h.Root(); err == nil && local.Payload.Version == version {
		return local, nil
	}
	kept, err := h.numberedRoot(fmt.Sprint(version))
	if err != nil {
		return none, fmt.Errorf("the root before, version %d, is not known here: %w", version, err)
	}
	return uptane.OpenRoot(uptane.Uptane, kept.Uptane, nil, time.Time{})
}

// ReviewRoot reads a root with any number of signatures, as WriteSigned or
// another home wrote it, and holds it against the root before. Signatures that
// this home has for the same root are added. Errors wrap ErrNotFound where the
// root before is not here, uptane.ErrTwins, or those of package uptane.
func (h *Home) ReviewRoot(s Signed) (RootReview, error) {
	var r RootReview
	var err error
	if r.payload, err = own(s.Uptane); err != nil {
		return r, err
	}
	if r.next, err = uptane.ParsePayload[metadata.RootType](uptane.Uptane, uptane.RoleRoot, r.payload.Uptane()); err != nil {
		return r, err
	}
	if r.before, err = h.rootBefore(r.next.Version - 1); err != nil {
		return r, err
	}
	r.Version, r.Expires, r.have = r.next.Version, r.next.Expires, s
	if s.TUF != nil {
		twin, err := rootTwin(r.payload.Uptane())
		if err != nil {
			return r, err
		}
		if r.tuf, err = own(s.TUF); err != nil {
			return r, err
		}
		if !bytes.Equal(twin, r.tuf.Uptane()) {
			return r, fmt.Errorf("comparing the twin with the one that belongs to the root: %w", uptane.ErrTwins)
		}
	}
	if local, err := h.Signed(uptane.RoleRoot); err == nil {
		signed, err := own(local.Uptane)
		if err != nil {
			return r, err
		}
		r.known = same(&signed, &r.payload)
		if r.have, err = addSignatures(r.have, local); err != nil {
			return r, err
		}
	}
	before, err := canonical.Parse(r.before.Signed, ascii)
	if err != nil {
		return r, err
	}
	r.Lines = rootDifferences(before, r.payload)
	return r, nil
}

// CosignRoot adds signatures of local keys to what was reviewed and makes it the
// signed root of this home. Without keys it takes signatures over where the home
// has signed the same root before, and stores nothing otherwise.
func (h *Home) CosignRoot(ctx context.Context, r RootReview, keys []string) (Signed, error) {
	out := r.have
	out.Version, out.Expires = r.Version, r.Expires
	if len(keys) > 0 {
		signer := h.keys.Signer(keys...)
		job := uptane.Job{Repository: h.config.ServerType.Repository(), Role: uptane.RoleRoot}
		own := Signed{Version: r.Version}
		var err error
		if own.Uptane, err = uptane.SealPayload(ctx, uptane.Uptane, signer, job, r.payload.Uptane()); err != nil {
			return out, err
		}
		if out.TUF != nil {
			if own.TUF, err = uptane.SealPayload(ctx, uptane.TUF, signer, job, r.tuf.Uptane()); err != nil {
				return out, err
			}
		}
		if out, err = addSignatures(out, own); err != nil {
			return out, err
		}
	}
	if len(keys) == 0 && !r.known {
		return out, nil
	}
	if err := h.keepRoot(Signed{Uptane: r.before.Raw}); err != nil {
		return out, err
	}
	return out, h.setSigned(uptane.RoleRoot, out)
}

// Quorum is how many signatures a root has of those that it needs.
type Quorum struct{ Old, OldNeeds, New, NewNeeds int }

// Reached reports whether the root may be published.
func (q Quorum) Reached() bool { return q.Old >= q.OldNeeds && q.New >= q.NewNeeds }

// Quorum counts the signatures of s by keys of the root before and of its own.
func (r RootReview) Quorum(s Signed) (Quorum, error) {
	var q Quorum
	var err error
	if q.Old, q.OldNeeds, err = countSigners(&r.before.Payload, s.Uptane); err != nil {
		return q, err
	}
	q.New, q.NewNeeds, err = countSigners(r.next, s.Uptane)
	return q, err
}

func countSigners(trust *metadata.RootType, doc []byte) (have, need int, err error) {
	ring, err := uptane.RingOf(uptane.Uptane, trust, uptane.RoleRoot)
	if err != nil {
		return 0, 0, err
	}
	e, err := uptane.ParseEnvelope(uptane.Uptane, doc)
	if err != nil {
		return 0, 0, err
	}
	need, ring.Threshold = ring.Threshold, 1
	signers, err := ring.Verify(uptane.Uptane, e.Signed, e.Signatures)
	if err != nil {
		return 0, need, nil // nobody
	}
	return len(signers), need, nil
}

// addSignatures puts the signatures of b into a, if both are about one payload.
func addSignatures(a, b Signed) (Signed, error) {
	var err error
	if a.Uptane, err = addTo(uptane.Uptane, a.Uptane, b.Uptane); err != nil {
		return a, err
	}
	if a.TUF != nil && b.TUF != nil {
		a.TUF, err = addTo(uptane.TUF, a.TUF, b.TUF)
	}
	return a, err
}

func addTo(f uptane.Flavour, a, b []byte) ([]byte, error) {
	have, err := uptane.ParseEnvelope(f, a)
	if err != nil {
		return nil, err
	}
	more, err := uptane.ParseEnvelope(f, b)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(have.Signed, more.Signed) {
		return a, nil
	}
	for _, s := range more.Signatures {
		if !slices.ContainsFunc(have.Signatures, func(old uptane.Signature) bool { return old.KeyID == s.KeyID }) {
			have.Signatures = append(have.Signatures, s)
		}
	}
	return have.Encode(f), nil
}

// rootDifferences tells two roots apart, in words.
func rootDifferences(before, after canonical.Value) []string {
	lines := []string{fmt.Sprintf("valid until %s, before %s", text(after, "expires"), text(before, "expires"))}
	old, now := object(before, "roles"), object(after, "roles")
	for _, name := range (&merge{}).names(old, now) {
		was, is := member(old, name), member(now, name)
		if same(was, is) {
			continue
		}
		lines = append(lines, difference("role "+name, was, is, func(v canonical.Value) string {
			ids, _ := v.Member("keyids")
			return fmt.Sprintf("%d of %s", intOf(v, "threshold"), ids.Uptane())
		})...)
	}
	old, now = object(before, "keys"), object(after, "keys")
	for _, id := range (&merge{}).names(old, now) {
		lines = append(lines, difference("key "+id, member(old, id), member(now, id), func(v canonical.Value) string { return text(v, "keytype") })...)
	}
	for _, name := range (&merge{}).names(before, after) {
		if !slices.Contains([]string{"expires", "roles", "keys", "version"}, name) {
			lines = append(lines, difference(name, member(before, name), member(after, name), func(v canonical.Value) string { return string(v.Uptane()) })...)
		}
	}
	return lines
}
