package home

import (
	"errors"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// Published returns the newest targets that a server is known to have had, from
// a push or a pull, and their version; 0 where neither has happened. The document
// is empty where only the version is known here: somebody else signed it. What
// was signed and never pushed is not it.
func (h *Home) Published() (Signed, int64, error) {
	sum, err := h.Checksum()
	if err != nil || sum == "" {
		return Signed{}, 0, err
	}
	for _, path := range []string{h.signedPath(uptane.RoleTargets), h.publishedPath()} {
		v, err := readJSON(path, maxRoleFile)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return Signed{}, 0, err
		}
		s := Signed{Uptane: v.Uptane(), Version: versionOf(v)}
		if ChecksumOf(s.Uptane) != sum {
			continue
		}
		twin, err := readJSON(h.twinPath(uptane.RoleTargets), maxRoleFile)
		if err == nil && checkTwins(uptane.RoleTargets, v, twin) == nil {
			s.TUF = twin.Uptane()
		}
		return s, s.Version, nil
	}
	v, err := h.unsigned(uptane.RoleTargets) // of a home that kept no more than this
	if errors.Is(err, ErrNotFound) {
		return Signed{}, 0, nil
	}
	return Signed{}, intOf(v, "version"), err
}

// Edited reports whether the unsigned targets are others than those that were
// pulled or pushed last, but for version and expiry, which are given when they
// are signed. Where neither has happened they are.
func (h *Home) Edited() (bool, error) {
	unsigned, err := h.unsigned(uptane.RoleTargets)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	last, _, err := h.Published()
	if err != nil || last.Uptane == nil {
		return true, err
	}
	payload, err := payloadIn(last.Uptane)
	for _, v := range []*canonical.Value{&unsigned, &payload} {
		*v = v.Without("version").Without("expires")
	}
	return !same(&unsigned, &payload), err
}
