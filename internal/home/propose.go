package home

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// Missing tells how many signatures of targets a document has, of keys of the
// local root, and how many it needs. A signature of any other key makes ok false:
// what becomes of it the server is to say.
func (h *Home) Missing(doc []byte) (have, need int, ok bool, err error) {
	root, err := h.Root()
	if err != nil {
		return 0, 0, false, err
	}
	ring, err := uptane.RingOf(uptane.Uptane, &root.Payload, uptane.RoleTargets)
	if err != nil {
		return 0, 0, false, err
	}
	e, err := uptane.ParseEnvelope(uptane.Uptane, doc)
	if err != nil {
		return 0, 0, false, err
	}
	need = ring.Threshold
	ring.Threshold = 1
	d, err := uptane.Open[metadata.TargetsType](uptane.Uptane, doc, uptane.RoleTargets, ring, time.Time{})
	if err != nil && !errors.Is(err, uptane.ErrSignature) {
		return 0, need, false, err
	}
	return len(d.Signers), need, len(d.Signers) == len(e.Signatures), nil
}

// Proposed is what waits at a server for signatures.
type Proposed struct {
	Uptane, TUF []byte // documents; TUF may be nil
}

// Review verifies what a person needs to know before signing proposed targets:
// that they follow the targets that the server has, which must be as signed under
// the local root, and what they change. It has no say in whether that is right.
type Review struct {
	Version int64
	Expires time.Time
	Lines   []string // what changes, a line each

	payload, tuf canonical.Value // what is signed; tuf is Null for none
}

// Review reads a proposal made on the targets raw of the server. Errors wrap
// uptane.ErrVersion, ErrTwins, ErrMalformed or those of OpenTargets.
func (h *Home) Review(p Proposed, raw []byte) (Review, error) {
	var r Review
	visible, err := h.OpenTargets(raw)
	if err == nil {
		err = h.checkProgress(visible)
	}
	if err != nil {
		return r, err
	}
	if r.payload, err = own(p.Uptane); err != nil {
		return r, err
	}
	model, err := uptane.ParsePayload[metadata.TargetsType](uptane.Uptane, uptane.RoleTargets, r.payload.Uptane())
	if err != nil {
		return r, err
	}
	if model.Version != visible.Payload.Version+1 {
		return r, fmt.Errorf("proposed is version %d, after version %d: %w", model.Version, visible.Payload.Version, uptane.ErrVersion)
	}
	r.Version, r.Expires = model.Version, model.Expires
	if p.TUF != nil {
		// Not the bytes that came are signed, but what follows from what was read.
		twin, err := targetsTwin(r.payload.Uptane())
		if err != nil {
			return r, err
		}
		if r.tuf, err = own(p.TUF); err != nil {
			return r, err
		}
		if !bytes.Equal(twin, r.tuf.Uptane()) {
			return r, fmt.Errorf("comparing the proposed twin with the one that belongs to the proposal: %w", uptane.ErrTwins)
		}
	}
	before, err := canonical.Parse(visible.Signed, ascii)
	if err != nil {
		return r, err
	}
	r.Lines = differences(before, r.payload)
	return r, nil
}

// own is the payload of a document, read strictly.
func own(doc []byte) (canonical.Value, error) {
	v, err := canonical.Parse(doc, ascii)
	if err != nil {
		return v, fmt.Errorf("%w: %w", uptane.ErrMalformed, err)
	}
	signed := member(v, "signed")
	if signed == nil || signed.Kind() != canonical.Object {
		return v, fmt.Errorf("reading a proposal without signed: %w", uptane.ErrMalformed)
	}
	return *signed, nil
}

// Cosign signs what was reviewed with local keys and returns lists of signatures
// in either flavour, the second nil where there is no twin.
func (h *Home) Cosign(ctx context.Context, r Review, keys []string) (sigs, tuf []byte, err error) {
	h.warnStrangers(uptane.RoleTargets, keys)
	signer := h.keys.Signer(keys...)
	job := uptane.Job{Repository: uptane.ImageRepository, Role: uptane.RoleTargets}
	doc, err := uptane.SealPayload(ctx, uptane.Uptane, signer, job, r.payload.Uptane())
	if err != nil {
		return nil, nil, err
	}
	if sigs, err = signaturesOf(doc); err != nil || r.tuf.Kind() == canonical.Null {
		return sigs, nil, err
	}
	if doc, err = uptane.SealPayload(ctx, uptane.TUF, signer, job, r.tuf.Uptane()); err != nil {
		return nil, nil, err
	}
	tuf, err = signaturesOf(doc)
	return sigs, tuf, err
}

func signaturesOf(doc []byte) ([]byte, error) {
	v, err := canonical.Parse(doc, ascii)
	if err != nil {
		return nil, err
	}
	list, _ := v.Member("signatures")
	return list.Uptane(), nil
}

// differences tells two payloads of targets apart, in words.
func differences(before, after canonical.Value) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	m := merge{}
	for _, name := range m.names(before, after) {
		was, is := member(before, name), member(after, name)
		switch {
		case same(was, is), name == "version":
		case name == "targets":
			old, now := object(before, name), object(after, name)
			for _, file := range m.names(old, now) {
				lines = append(lines, difference("target "+file, member(old, file), member(now, file), describeFile)...)
			}
		case name == "delegations":
			old, now := rolesOf(was), rolesOf(is)
			for _, role := range roleNames(old, now) {
				lines = append(lines, difference("delegation "+role, named(old, role), named(now, role), describeRole)...)
			}
			if !slices.EqualFunc(old, now, func(a, b canonical.Value) bool { return text(a, "name") == text(b, "name") }) {
				say("order of delegations: %s", strings.Join(roleNames(now), ", "))
			}
			if !same(keysOf(was), keysOf(is)) {
				say("keys of delegations")
			}
		case name == "expires":
			say("valid until %s, before %s", text(after, name), text(before, name))
		default:
			lines = append(lines, difference(name, was, is, func(v canonical.Value) string { return string(v.Uptane()) })...)
		}
	}
	return lines
}

func keysOf(block *canonical.Value) *canonical.Value {
	if block == nil {
		return nil
	}
	return member(*block, "keys")
}

func roleNames(lists ...[]canonical.Value) []string {
	var names []string
	for _, list := range lists {
		for _, role := range list {
			if name := text(role, "name"); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func difference(what string, was, is *canonical.Value, describe func(canonical.Value) string) []string {
	switch {
	case same(was, is):
		return nil
	case was == nil:
		return []string{"+ " + what + ": " + describe(*is)}
	case is == nil:
		return []string{"- " + what + ": " + describe(*was)}
	}
	return []string{"- " + what + ": " + describe(*was), "+ " + what + ": " + describe(*is)}
}

func describeFile(v canonical.Value) string {
	return fmt.Sprintf("sha256 %s, %d bytes, %s", text(object(v, "hashes"), "sha256"), intOf(v, "length"), object(v, "custom").Uptane())
}

func describeRole(v canonical.Value) string { return string(v.Without("name").Uptane()) }
