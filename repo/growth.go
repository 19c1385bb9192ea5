package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
)

// maxRoles is how many delegated roles a repository may have: all are in each
// snapshot.
const maxRoles = 4096

// growth is what a change of who delegates to whom does to the tables: the rows
// that become different.
type growth map[uptane.Role]delegationRow

// growTop finds out what a push makes of the delegations. Reasons to refuse it
// are added to those given; an error is an accident.
func (r *Repo) growTop(ctx context.Context, ns uptane.Namespace, p *push, repository repositoryRow, d uptane.Document[metadata.TargetsType], reasons []string) ([]string, error) {
	rows, err := r.store.delegations(ctx, ns)
	if err != nil {
		return nil, fmt.Errorf("reading delegations of %s: %w", ns, err)
	}
	p.base, p.listing = repository.visible(uptane.Uptane), listingOf(rows)
	g := grower{repo: r, ns: ns, rows: rows, changed: growth{}}
	if err := g.delegate(ctx, uptane.RoleTargets, d.Signed); err != nil {
		return nil, err
	}
	p.grown = g.changed
	return append(reasons, g.reasons...), nil
}

func listingOf(rows map[uptane.Role]delegationRow) listing {
	l := listing{}
	for role, row := range rows {
		if row.Version > 0 {
			l[role] = row.Version
		}
	}
	return l
}

// grower follows a change of delegations down to where nothing changes.
type grower struct {
	repo    *Repo
	ns      uptane.Namespace
	rows    map[uptane.Role]delegationRow // as they become
	changed growth
	reasons []string
}

func (g *grower) save(row delegationRow) {
	if old, ok := g.rows[row.Role]; ok && old == row {
		return
	}
	g.rows[row.Role], g.changed[row.Role] = row, row
}

func (g *grower) refuse(format string, args ...any) {
	g.reasons = append(g.reasons, fmt.Sprintf(format, args...))
}

// delegate makes the delegations in a payload those of its role.
func (g *grower) delegate(ctx context.Context, parent uptane.Role, signed []byte) error {
	list, err := uptane.Delegations(uptane.Uptane, signed)
	if err != nil {
		return fmt.Errorf("reading delegations of %s: %w", parent, err)
	}
	named := map[uptane.Role]bool{}
	for _, d := range list {
		named[d.Role] = true
	}
	for _, role := range slices.Sorted(maps.Keys(g.rows)) {
		if g.rows[role].Parent == parent && !named[role] {
			g.orphan(role)
		}
	}
	depth := len(chainOf(g.rows, parent)) + 1
	for place, d := range list {
		row := g.rows[d.Role]
		switch {
		case row.Parent != "" && row.Parent != parent:
			g.refuse("delegation %s: %s delegates to that name already; a name belongs to one role", d.Role, row.Parent)
			continue
		case depth > uptane.MaxDelegationDepth:
			g.refuse("delegation %s: it is %d roles below the top level, clients follow %d", d.Role, depth, uptane.MaxDelegationDepth)
			continue
		case len(g.rows) >= maxRoles && row.Role == "":
			g.refuse("delegation %s: there are %d roles already, of at most %d", d.Role, len(g.rows), maxRoles)
			continue
		}
		trusted := row.Parent == parent && row.Trust == string(d.Raw) && row.Valid
		row.Role, row.Parent, row.Place, row.Trust = d.Role, parent, place, string(d.Raw)
		if trusted || row.Version == 0 {
			g.save(row)
			continue
		}
		if err := g.judge(ctx, row, d); err != nil {
			return err
		}
	}
	return nil
}

// judge opens the visible metadata of a role with the keys it has now.
func (g *grower) judge(ctx context.Context, row delegationRow, d uptane.Delegation) error {
	doc, err := g.repo.store.delegated(ctx, g.ns, row.Role, row.Version)
	if err != nil {
		return fmt.Errorf("reading metadata of %s: %w", row.Role, err)
	}
	opened, err := uptane.Open[metadata.TargetsType](uptane.Uptane, doc.Document, row.Role, d.Ring, time.Time{})
	was := g.rows[row.Role].Valid
	row.Valid = err == nil
	g.save(row)
	switch {
	case err != nil && !errors.Is(err, uptane.ErrSignature) && !errors.Is(err, uptane.ErrKey):
		return fmt.Errorf("reading metadata of %s: %w", row.Role, err)
	case err != nil:
		g.repo.log.WarnContext(ctx, "the keys of a delegated role change and its metadata are not signed by the new ones; devices refuse its images until they are",
			"namespace", g.ns, "role", row.Role, "version", row.Version)
		g.orphanBelow(row.Role)
	case !was:
		return g.delegate(ctx, row.Role, opened.Signed)
	}
	return nil
}

// orphan takes a role, and those below it, out of the tree. What snapshot lists
// of them stays listed.
func (g *grower) orphan(role uptane.Role) {
	row := g.rows[role]
	row.Parent, row.Trust, row.Valid, row.Place = "", "", false, 0
	g.save(row)
	g.orphanBelow(role)
}

func (g *grower) orphanBelow(parent uptane.Role) {
	for _, role := range slices.Sorted(maps.Keys(g.rows)) {
		if g.rows[role].Parent == parent {
			g.orphan(role)
		}
	}
}

// chainOf lists a role and the roles above it, the top level left out.
func chainOf(rows map[uptane.Role]delegationRow, role uptane.Role) []delegationRow {
	var chain []delegationRow
	for role != uptane.RoleTargets && role != "" && len(chain) <= uptane.MaxDelegationDepth {
		row := rows[role]
		chain = append(chain, row)
		role = row.Parent
	}
	return chain
}

// below lists the roles that a role delegates to, in their order of priority.
func below(rows map[uptane.Role]delegationRow, parent uptane.Role) []delegationRow {
	var list []delegationRow
	for _, row := range rows {
		if row.Parent == parent {
			list = append(list, row)
		}
	}
	slices.SortFunc(list, func(a, b delegationRow) int {
		if a.Place != b.Place {
			return a.Place - b.Place
		}
		return strings.Compare(string(a.Role), string(b.Role))
	})
	return list
}
