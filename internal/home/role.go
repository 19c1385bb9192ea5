package home

import (
	"errors"
	"fmt"
	"os"
	"time"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// timeLayout is the only form of time clients read.
const timeLayout = "2006-01-02T15:04:05Z"

var ascii = canonical.Options{ASCII: true}

func (h *Home) signedPath(r uptane.Role) string { return h.path("roles", string(r)+".json") }
func (h *Home) twinPath(r uptane.Role) string   { return h.path("roles", string(r)+".tuf.json") }
func (h *Home) unsignedPath(r uptane.Role) string {
	return h.path("roles", "unsigned", string(r)+".json")
}
func (h *Home) publishedPath() string { return h.path("roles", "targets.published.json") }
func (h *Home) checksumPath() string  { return h.path("roles", "targets.json.checksum") }

// Unsigned returns the payload being edited, in canonical form: the bytes an
// outside signer signs. Errors wrap ErrNotFound.
func (h *Home) Unsigned(r uptane.Role) ([]byte, error) {
	v, err := h.unsigned(r)
	if err != nil {
		return nil, err
	}
	return v.Uptane(), nil
}

func (h *Home) unsigned(r uptane.Role) (canonical.Value, error) {
	return readJSON(h.unsignedPath(r), maxRoleFile)
}

func (h *Home) setUnsigned(r uptane.Role, v canonical.Value) error {
	if err := os.MkdirAll(h.path("roles", "unsigned"), 0o700); err != nil {
		return fmt.Errorf("writing unsigned %s: %w", r, err)
	}
	return writeFile(h.unsignedPath(r), pretty(v), 0o600)
}

// Signed returns the documents of a role as they are sent: canonical, both
// flavours. TUF is nil where there is no twin. Errors wrap ErrNotFound.
func (h *Home) Signed(r uptane.Role) (Signed, error) {
	v, err := readJSON(h.signedPath(r), maxRoleFile)
	if err != nil {
		return Signed{}, err
	}
	s := Signed{Uptane: v.Uptane(), Version: versionOf(v)}
	twin, err := readJSON(h.twinPath(r), maxRoleFile)
	if errors.Is(err, ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return Signed{}, err
	}
	s.TUF = twin.Uptane()
	return s, checkTwins(r, v, twin)
}

// checkTwins catches a twin left over from another version, such as after the
// older tool has signed in this home.
func checkTwins(r uptane.Role, doc, twin canonical.Value) error {
	signed, _ := doc.Member("signed")
	twinSigned, _ := twin.Member("signed")
	if err := uptane.Twins(r, signed.Uptane(), twinSigned.Uptane()); err != nil {
		return fmt.Errorf("reading %s.json and %s.tuf.json, sign %s again: %w", r, r, r, err)
	}
	return nil
}

// setSigned stores the documents of a role, the twin first: a twin without its
// partner is noticed when they are read.
func (h *Home) setSigned(r uptane.Role, s Signed) error {
	if r == uptane.RoleRoot {
		if err := h.keepRoot(s); err != nil {
			return err
		}
	}
	if s.TUF == nil {
		if err := os.Remove(h.twinPath(r)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing old twin of %s: %w", r, err)
		}
	} else if err := h.writeDocument(h.twinPath(r), s.TUF); err != nil {
		return err
	}
	return h.writeDocument(h.signedPath(r), s.Uptane)
}

func (h *Home) writeDocument(path string, doc []byte) error {
	v, err := canonical.Parse(doc, ascii)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return writeFile(path, pretty(v), 0o600)
}

// versionOf is the version of a document, 0 when it has none.
func versionOf(doc canonical.Value) int64 {
	signed, _ := doc.Member("signed")
	return intOf(signed, "version")
}

func intOf(v canonical.Value, name string) int64 {
	m, _ := v.Member(name)
	n, _ := m.Int()
	return n
}

func withTime(v canonical.Value, name string, t time.Time) canonical.Value {
	return v.With(name, canonical.Text(t.UTC().Format(timeLayout)))
}

// timeOf reads a time of any RFC 3339 form, as other tools write fractions and
// offsets. The zero time stands for none.
func timeOf(v canonical.Value, name string) (time.Time, error) {
	s := text(v, name)
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, fmt.Errorf("reading %s %q: %w", name, s, uptane.ErrMalformed)
	}
	return t.UTC().Truncate(time.Second), nil
}

// IncrementVersion raises the version of the unsigned role by one and returns
// it; for roles that are signed elsewhere.
func (h *Home) IncrementVersion(r uptane.Role) (int64, error) {
	v, err := h.unsigned(r)
	if err != nil {
		return 0, err
	}
	next := intOf(v, "version") + 1
	return next, h.setUnsigned(r, v.With("version", canonical.Int(next)))
}
