package repo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealift/uptane"
)

// Package is a target of the top level or of a delegated role, as searches show it.
type Package struct {
	Name        string
	Version     string
	Filename    string
	Origin      string // targets.json, or the delegated role
	Length      int64
	SHA256      string
	URI         string
	HardwareIDs []uptane.HardwareID
	CreatedAt   time.Time
	Proprietary map[string]json.RawMessage
}

// PackageQuery restricts a search; what is empty restricts nothing. Texts are
// compared whatever the case.
type PackageQuery struct {
	Origins      []string
	OriginNot    string
	NameContains string
	Name         string
	Version      string
	HardwareIDs  []uptane.HardwareID // any of them
	Hashes       []string
	Filenames    []string
	HasSBOM      *bool
}

// Packages returns what a query finds, in the order of filenames.
func (r *Repo) Packages(ctx context.Context, ns uptane.Namespace, q PackageQuery) ([]Package, error) {
	if !searchable(q.NameContains + q.Name + q.Version) {
		return nil, nil // nothing is called so
	}
	rows, err := r.store.packageRows(ctx, ns, q.Name, q.Version, q.NameContains)
	if err != nil {
		return nil, fmt.Errorf("searching packages of %s: %w", ns, err)
	}
	var boms map[string]bool
	if q.HasSBOM != nil {
		if boms, err = r.store.sbomFiles(ctx, ns); err != nil {
			return nil, fmt.Errorf("reading bills of materials of %s: %w", ns, err)
		}
	}
	var list []Package
	for _, row := range rows {
		if !q.takes(row, boms) {
			continue
		}
		p, err := packageOf(row)
		if err != nil {
			return nil, fmt.Errorf("reading target %q of %s: %w", row.Filename, ns, err)
		}
		if len(q.HardwareIDs) == 0 || slices.ContainsFunc(p.HardwareIDs, func(id uptane.HardwareID) bool { return slices.Contains(q.HardwareIDs, id) }) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b Package) int {
		return cmp.Or(strings.Compare(a.Filename, b.Filename), strings.Compare(a.Origin, b.Origin))
	})
	return list, nil
}

// takes applies what needs no more than the row.
func (q PackageQuery) takes(row delegatedTarget, boms map[string]bool) bool {
	origin := originOf(row.Role)
	return (len(q.Origins) == 0 || slices.Contains(q.Origins, origin)) && (q.OriginNot == "" || q.OriginNot != origin) &&
		(len(q.Hashes) == 0 || slices.Contains(q.Hashes, row.SHA256)) && (len(q.Filenames) == 0 || slices.Contains(q.Filenames, row.Filename)) &&
		(q.HasSBOM == nil || boms[row.Filename] == *q.HasSBOM)
}

// Package returns the package of a filename: of the top level first, then of the
// roles in the order of their names. originNot leaves one out. It answers
// ErrTargetMissing.
func (r *Repo) Package(ctx context.Context, ns uptane.Namespace, filename, originNot string) (Package, error) {
	if uptane.CheckFilename(filename) != nil {
		return Package{}, ErrTargetMissing
	}
	rows, err := r.store.packagesNamed(ctx, ns, filename)
	if err != nil {
		return Package{}, fmt.Errorf("reading package %q of %s: %w", filename, ns, err)
	}
	slices.SortFunc(rows, func(a, b delegatedTarget) int {
		top := func(t delegatedTarget) int {
			if t.Role == uptane.RoleTargets {
				return 0
			}
			return 1
		}
		return cmp.Or(top(a)-top(b), strings.Compare(string(a.Role), string(b.Role)))
	})
	for _, row := range rows {
		if originNot == "" || originOf(row.Role) != originNot {
			return packageOf(row)
		}
	}
	return Package{}, ErrTargetMissing
}

func originOf(role uptane.Role) string {
	if role == uptane.RoleTargets {
		return role.Filename(0)
	}
	return string(role)
}

func packageOf(row delegatedTarget) (Package, error) {
	p := Package{Name: row.Name, Version: row.targetRow.Version, Filename: row.Filename, Origin: originOf(row.Role), Length: row.Length,
		SHA256: row.SHA256, URI: row.URI, HardwareIDs: []uptane.HardwareID{}, CreatedAt: time.UnixMilli(row.AddedAt).UTC()}
	var entry struct {
		Custom json.RawMessage `json:"custom"`
	}
	if err := json.Unmarshal([]byte(row.Entry), &entry); err != nil || entry.Custom == nil {
		return p, err
	}
	var c uptane.Custom
	if err := c.UnmarshalJSON(entry.Custom); err != nil {
		return p, err
	}
	if c.HardwareIDs != nil {
		p.HardwareIDs = c.HardwareIDs
	}
	if !c.CreatedAt.IsZero() {
		p.CreatedAt = c.CreatedAt
	}
	p.Proprietary = c.Extra
	return p, nil
}
