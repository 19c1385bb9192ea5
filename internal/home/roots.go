package home

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// rootFileName matches the roots that a home keeps by number.
var rootFileName = regexp.MustCompile(`^([1-9][0-9]{0,9})\.root\.json$`)

// keepRoot stores a root under its number too: a server that lost the newest ones
// gets all of them back from here. What has no version is no root and is left.
func (h *Home) keepRoot(s Signed) error {
	v, err := canonical.Parse(s.Uptane, ascii)
	if err != nil {
		return fmt.Errorf("keeping root: %w", err)
	}
	version := versionOf(v)
	if version < 1 {
		return nil
	}
	path := h.path("roles", uptane.RoleRoot.Filename(int(version)))
	if s.TUF != nil {
		if err := h.writeDocument(h.path("roles", fmt.Sprintf("%d.root.tuf.json", version)), s.TUF); err != nil {
			return err
		}
	}
	return writeFile(path, pretty(v), 0o600)
}

// Roots returns every root that was signed or pulled here, by version, with TUF
// twins where they say the same. They are as they were kept: whoever takes one
// verifies it.
func (h *Home) Roots() ([]Signed, error) {
	entries, err := os.ReadDir(h.path("roles"))
	if err != nil {
		return nil, fmt.Errorf("looking for roots: %w", err)
	}
	found := map[int64]Signed{}
	for _, e := range entries {
		m := rootFileName.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		s, err := h.numberedRoot(m[1])
		if err != nil {
			return nil, err
		}
		found[s.Version] = s
	}
	// A home of before has only the current one, under its plain name.
	current, err := h.Signed(uptane.RoleRoot)
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, uptane.ErrTwins) {
		return nil, err
	}
	if err == nil {
		found[current.Version] = current
	}
	var list []Signed
	for _, s := range found {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Signed) int { return int(a.Version - b.Version) })
	return list, nil
}

func (h *Home) numberedRoot(number string) (Signed, error) {
	v, err := readJSON(h.path("roles", number+".root.json"), maxRoleFile)
	if err != nil {
		return Signed{}, err
	}
	s := Signed{Uptane: v.Uptane(), Version: versionOf(v)}
	if strconv.FormatInt(s.Version, 10) != number {
		return s, fmt.Errorf("reading %s.root.json: it is version %d: %w", number, s.Version, uptane.ErrVersion)
	}
	twin, err := readJSON(h.path("roles", number+".root.tuf.json"), maxRoleFile)
	if err == nil && checkTwins(uptane.RoleRoot, v, twin) == nil {
		s.TUF = twin.Uptane()
	}
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return s, err
}
