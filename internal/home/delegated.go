package home

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// Delegated is metadata of a delegated role that is being edited: a file of
// whoever signs for it, who need not have a home.
type Delegated struct{ v canonical.Value }

// ErrSigned marks an unsigned document that has signatures.
var ErrSigned = errors.New("it is signed already")

// NewDelegated returns metadata without targets, version 1.
func NewDelegated(expires time.Time) Delegated {
	v := canonical.Fields(
		canonical.Member{Name: "_type", Value: canonical.Text("Targets")},
		canonical.Member{Name: "targets", Value: canonical.Fields()},
		canonical.Member{Name: "version", Value: canonical.Int(1)},
	)
	return Delegated{withTime(v, "expires", expires)}
}

// ReadDelegated reads a file that Delegated.Pretty or another tool wrote. Errors
// wrap ErrNotFound, ErrSigned or uptane.ErrMalformed.
func ReadDelegated(path string) (Delegated, error) {
	v, err := readJSON(path, maxRoleFile)
	if err != nil {
		return Delegated{}, err
	}
	if member(v, "signed") != nil || member(v, "signatures") != nil {
		return Delegated{}, fmt.Errorf("reading %s: %w", path, ErrSigned)
	}
	if v.Kind() != canonical.Object || text(v, "_type") != "Targets" {
		return Delegated{}, fmt.Errorf("reading %s: no targets metadata: %w", path, uptane.ErrMalformed)
	}
	return Delegated{v}, nil
}

// Next is the payload of a signed document with its version raised by one: where
// editing goes on.
func Next(doc uptane.Document[metadata.TargetsType]) (Delegated, error) {
	v, err := canonical.Parse(doc.Signed, ascii)
	return Delegated{v.With("version", canonical.Int(doc.Payload.Version+1))}, err
}

// Add puts a target into it as Home.AddTarget does.
func (d *Delegated) Add(t uptane.Target, now time.Time) (err error) {
	d.v, err = withTarget(d.v, t, now)
	return err
}

// Remove takes a target out of it. Errors wrap ErrNotFound.
func (d *Delegated) Remove(filename string) (err error) {
	d.v, err = withoutTarget(d.v, filename)
	return err
}

// Expire sets when it ends.
func (d *Delegated) Expire(at time.Time) { d.v = withTime(d.v, "expires", at) }

// Pretty is the text to write into a file.
func (d Delegated) Pretty() []byte { return append(pretty(d.v), '\n') }

// Sign signs it as it is with keys of ring, in both flavours. Errors are those of
// Home.SignTargets; one that has ended is refused with ErrPast.
func (d Delegated) Sign(ctx context.Context, ring *Keyring, keys []string, now time.Time) (Signed, error) {
	expires, err := timeOf(d.v, "expires")
	if err != nil {
		return Signed{}, err
	}
	if !expires.After(now) {
		return Signed{}, fmt.Errorf("signing: %s: %w", expires.Format(timeLayout), ErrPast)
	}
	job := uptane.Job{Repository: uptane.ImageRepository, Role: uptane.RoleTargets}
	s := Signed{Version: intOf(d.v, "version"), Expires: expires}
	payload, signer := withTime(d.v, "expires", expires).Uptane(), ring.Signer(keys...)
	if s.Uptane, err = uptane.SealPayload(ctx, uptane.Uptane, signer, job, payload); err != nil {
		return Signed{}, err
	}
	s.TUF, err = sealTwin(ctx, signer, job, payload, targetsTwin)
	return s, err
}

// twinFile is where TUF's flavour of a document lies.
func twinFile(path string) string { return strings.TrimSuffix(path, ".json") + ".tuf.json" }

// WriteSigned writes both flavours: one to path, TUF's beside it.
func WriteSigned(path string, s Signed) error {
	for file, doc := range map[string][]byte{path: s.Uptane, twinFile(path): s.TUF} {
		text, err := Pretty(doc)
		if err == nil {
			err = writeFile(file, text, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ReadSigned reads what WriteSigned or another tool wrote; TUF is nil where
// there is no twin. Errors wrap ErrNotFound, uptane.ErrMalformed or
// uptane.ErrTwins.
func ReadSigned(path string) (Signed, error) { return readSigned(path, uptane.RoleTargets) }

// ReadSignedRoot is ReadSigned for a root.
func ReadSignedRoot(path string) (Signed, error) { return readSigned(path, uptane.RoleRoot) }

func readSigned(path string, role uptane.Role) (Signed, error) {
	v, err := readJSON(path, maxRoleFile)
	if err != nil {
		return Signed{}, err
	}
	s := Signed{Uptane: v.Uptane(), Version: versionOf(v)}
	if _, err := uptane.ParseEnvelope(uptane.Uptane, s.Uptane); err != nil {
		return s, fmt.Errorf("reading %s: %w", path, err)
	}
	twin, err := readJSON(twinFile(path), maxRoleFile)
	if errors.Is(err, ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.TUF = twin.Uptane()
	return s, checkTwins(role, v, twin)
}

// Pretty writes a document the way the files of a home look.
func Pretty(doc []byte) ([]byte, error) {
	v, err := canonical.Parse(doc, ascii)
	if err != nil {
		return nil, err
	}
	return append(pretty(v), '\n'), nil
}

// WriteText writes a file in one step; others may read it.
func WriteText(path string, text []byte) error { return writeFile(path, text, 0o644) }

// OpenDelegated verifies metadata of a delegated role by targets that were
// verified. Errors are those of uptane.Open, or wrap ErrNotFound where targets do
// not delegate to it.
func OpenDelegated(targets *metadata.TargetsType, role uptane.Role, raw []byte) (uptane.Document[metadata.TargetsType], error) {
	ring, err := uptane.DelegationRing(uptane.Uptane, targets, role)
	if err != nil {
		return uptane.Document[metadata.TargetsType]{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return uptane.Open[metadata.TargetsType](uptane.Uptane, raw, role, ring, time.Time{})
}
