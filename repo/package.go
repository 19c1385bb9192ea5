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

// PackageQuery restricts a search; what is empty restricts nothing. Names, versions
// and hardware ids are compared whatever the case.
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

// PackageOrder is how a search is sorted. Ties are told apart by filename and
// origin, so that pages fit together.
type PackageOrder struct {
	ByName bool // of the file, or of the group; else by time
	Down   bool
}

// maxQueryList bounds each list of a query.
const maxQueryList = 500

// check answers ErrInvalid for a list that is too long. It leaves out of lists what
// no target has, and reports whether anything can be found at all.
func (q *PackageQuery) check() (some bool, err error) {
	if max(len(q.Origins), len(q.HardwareIDs), len(q.Hashes), len(q.Filenames)) > maxQueryList {
		return false, ErrInvalid.Withf("a list in a search has at most %d elements", maxQueryList)
	}
	some = searchable(q.OriginNot + q.NameContains + q.Name + q.Version)
	return keepSearchable(&q.Origins) && keepSearchable(&q.HardwareIDs) && keepSearchable(&q.Hashes) && keepSearchable(&q.Filenames) && some, nil
}

// keepSearchable reports whether a list that restricted something still does.
func keepSearchable[T ~string](list *[]T) bool {
	kept := slices.DeleteFunc(slices.Clone(*list), func(s T) bool { return !searchable(string(s)) })
	ok := len(kept) > 0 || len(*list) == 0
	*list = kept
	return ok
}

// Packages returns a page of what a query finds, and how many there are. It
// answers ErrInvalid.
func (r *Repo) Packages(ctx context.Context, ns uptane.Namespace, q PackageQuery, o PackageOrder, limit, offset int) ([]Package, int, error) {
	some, err := q.check()
	if !some {
		return nil, 0, err
	}
	total, err := r.store.countPackages(ctx, ns, q)
	if err != nil {
		return nil, 0, fmt.Errorf("counting packages of %s: %w", ns, err)
	}
	rows, err := r.store.packages(ctx, ns, q, o, limit, offset)
	if err != nil {
		return nil, 0, fmt.Errorf("searching packages of %s: %w", ns, err)
	}
	list := make([]Package, len(rows))
	for i, row := range rows {
		if list[i], err = packageOf(row); err != nil {
			return nil, 0, fmt.Errorf("reading target %q of %s: %w", row.Filename, ns, err)
		}
	}
	return list, total, nil
}

// PackageGroup is all packages of a name, what is listed of them sorted.
type PackageGroup struct {
	Name          string
	Versions      []string
	HardwareIDs   []uptane.HardwareID
	Origins       []string
	LastVersionAt time.Time
}

// PackageGroups returns a page of the names of what a query finds, and how many
// there are. It answers ErrInvalid.
func (r *Repo) PackageGroups(ctx context.Context, ns uptane.Namespace, q PackageQuery, o PackageOrder, limit, offset int) ([]PackageGroup, int, error) {
	some, err := q.check()
	if !some {
		return nil, 0, err
	}
	total, err := r.store.countPackageNames(ctx, ns, q)
	if err != nil {
		return nil, 0, fmt.Errorf("counting packages of %s: %w", ns, err)
	}
	names, err := r.store.packageNames(ctx, ns, q, o, limit, offset)
	if err != nil {
		return nil, 0, fmt.Errorf("searching packages of %s: %w", ns, err)
	}
	list, at := make([]PackageGroup, len(names)), map[string]int{}
	for i, n := range names {
		list[i], at[n.Name] = PackageGroup{Name: n.Name, LastVersionAt: moment(n.Last)}, i
	}
	rows, err := r.store.packagesCalled(ctx, ns, q, names)
	if err != nil {
		return nil, 0, fmt.Errorf("searching packages of %s: %w", ns, err)
	}
	for _, row := range rows {
		if i, ok := at[row.Name]; ok { // else it came in between
			g := &list[i]
			g.Versions, g.Origins = append(g.Versions, row.Version), append(g.Origins, originOf(row.Role))
			g.HardwareIDs = append(g.HardwareIDs, hardwareIn(row.Hardware)...)
		}
	}
	for i := range list {
		g := &list[i]
		g.Versions, g.HardwareIDs, g.Origins = distinct(g.Versions), distinct(g.HardwareIDs), distinct(g.Origins)
	}
	return list, total, nil
}

// PackageHardware lists the hardware ids that there are packages for.
func (r *Repo) PackageHardware(ctx context.Context, ns uptane.Namespace) ([]uptane.HardwareID, error) {
	texts, err := r.store.packageHardware(ctx, ns)
	if err != nil {
		return nil, fmt.Errorf("reading hardware ids of packages of %s: %w", ns, err)
	}
	var ids []uptane.HardwareID
	for _, text := range texts {
		ids = append(ids, hardwareIn(text)...)
	}
	return distinct(ids), nil
}

// distinct sorts a list and leaves each element once; it is never nil.
func distinct[T ~string](list []T) []T {
	slices.Sort(list)
	return append([]T{}, slices.Compact(list)...)
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
		SHA256: row.SHA256, URI: row.URI, HardwareIDs: []uptane.HardwareID{}, CreatedAt: moment(row.MadeAt)}
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
	p.Proprietary = c.Extra
	return p, nil
}
