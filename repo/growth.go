package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
)

// How many delegated roles a repository may have: all are in each snapshot. A
// branch is what is, or ever was, below one role of the top level: it is counted
// by itself, so that no supplier uses up what is there for all; and all branches
// together, so that the top level has the rest whatever suppliers agree upon.
const (
	maxRoles    = 4096
	maxBranch   = 256
	maxBranches = 3072
)

// growth is what a change of who delegates to whom does to the tables.
type growth struct {
	rows map[uptane.Role]delegationRow // those that become different
	anew map[uptane.Role]bool          // of these, those of which more than the place does
	gone []uptane.Role                 // who delegated to them does so no longer
}

func newGrowth() growth {
	return growth{rows: map[uptane.Role]delegationRow{}, anew: map[uptane.Role]bool{}}
}

// growTop finds out what a push makes of the delegations. Reasons to refuse it
// are added to those given; an error is an accident.
func (r *Repo) growTop(ctx context.Context, ns uptane.Namespace, p *push, repository repositoryRow, d uptane.Document[metadata.TargetsType], reasons []string) ([]string, error) {
	rows, err := r.store.delegations(ctx, ns)
	if err != nil {
		return nil, fmt.Errorf("reading delegations of %s: %w", ns, err)
	}
	p.base, p.listing = repository.visible(uptane.Uptane), listingOf(rows)
	g := grower{repo: r, ns: ns, rows: rows, changed: newGrowth()}
	if err := g.delegate(ctx, uptane.RoleTargets, d.Signed, true); err != nil {
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
	old, ok := g.rows[row.Role]
	if ok && old == row {
		return
	}
	if old.Parent != row.Parent || old.Trust != row.Trust || old.Valid != row.Valid {
		g.changed.anew[row.Role] = true
	}
	g.rows[row.Role], g.changed.rows[row.Role] = row, row
}

// delegate makes the delegations in a payload those of its role. What cannot be is
// a reason to refuse metadata that are pushed; in those that were visible before
// it is passed over, as a push must not fail for what somebody else has signed.
func (g *grower) delegate(ctx context.Context, parent uptane.Role, signed []byte, pushed bool) error {
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
			g.orphan(role, true)
		}
	}
	chain := chainOf(g.rows, parent)
	branch := branchOf(chain)
	taken := g.share(branch)
	for place, d := range list {
		row := g.rows[d.Role]
		if why := g.against(row, d.Role, parent, len(chain)+1, taken); why != "" {
			if pushed {
				g.reasons = append(g.reasons, fmt.Sprintf("delegation %s: %s", d.Role, why))
			}
			continue
		}
		if row.Parent != "" && row.Parent != parent {
			g.repo.log.WarnContext(ctx, "the top level takes a role's name from a role below it", "namespace", g.ns, "role", d.Role, "from", row.Parent)
			g.orphan(d.Role, true)
			row = g.rows[d.Role]
		}
		if row.Branch != branch {
			if row.Branch == "" {
				taken.all++
			}
			row.Branch = branch
			taken.own++
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

// share is how many roles there are in one branch and in all.
type share struct{ own, all int }

func (g *grower) share(branch uptane.Role) (s share) {
	for _, row := range g.rows {
		if row.Branch != "" {
			s.all++
		}
		if branch != "" && row.Branch == branch {
			s.own++
		}
	}
	return s
}

// against is why a role cannot be delegated to by a parent, or "". The top level
// may take any name: nobody below it keeps one from its owner.
func (g *grower) against(row delegationRow, role, parent uptane.Role, depth int, taken share) string {
	branch := branchOf(chainOf(g.rows, parent))
	switch {
	case row.Parent != "" && row.Parent != parent && parent != uptane.RoleTargets:
		return fmt.Sprintf("%s delegates to that name already; a name belongs to one role", row.Parent)
	case depth > uptane.MaxDelegationDepth:
		return fmt.Sprintf("it is %d roles below the top level, clients follow %d", depth, uptane.MaxDelegationDepth)
	case row.Role == "" && len(g.rows) >= maxRoles:
		return fmt.Sprintf("there are %d roles already, of at most %d", len(g.rows), maxRoles)
	case taken.own >= maxBranch && row.Branch != branch:
		return fmt.Sprintf("there are %d roles below %s already, of at most %d", taken.own, branch, maxBranch)
	case branch != "" && row.Branch == "" && taken.all >= maxBranches:
		return fmt.Sprintf("there are %d roles below others already, of at most %d; the rest is kept for those that targets delegate to", taken.all, maxBranches)
	}
	return ""
}

// branchOf is the role of the top level that a chain ends with, "" for the top
// level itself.
func branchOf(chain []delegationRow) uptane.Role {
	if len(chain) == 0 {
		return ""
	}
	return chain[len(chain)-1].Role
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
		g.orphanBelow(row.Role, false)
	case !was:
		return g.delegate(ctx, row.Role, opened.Signed, false)
	}
	return nil
}

// orphan takes a role, and those below it, out of the tree. What snapshot lists
// of them stays listed, and counted. gone says that it was taken back on purpose.
func (g *grower) orphan(role uptane.Role, gone bool) {
	row := g.rows[role]
	row.Parent, row.Trust, row.Valid, row.Place = "", "", false, 0
	g.save(row)
	if row.unheard() {
		delete(g.rows, role)
	}
	if gone {
		g.changed.gone = append(g.changed.gone, role)
	}
	g.orphanBelow(role, gone)
}

func (g *grower) orphanBelow(parent uptane.Role, gone bool) {
	for _, role := range slices.Sorted(maps.Keys(g.rows)) {
		if g.rows[role].Parent == parent {
			g.orphan(role, gone)
		}
	}
}

// unheard reports that a role is out of the tree and no client ever read of it.
func (r delegationRow) unheard() bool { return r.Parent == "" && r.Version == 0 && r.TUFVersion == 0 }

// applyGrowth writes it. What was stored of where the metadata of a role come from
// goes with the delegation: there are secrets in it.
func (r *Repo) applyGrowth(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, g growth) error {
	for _, role := range g.gone {
		if err := r.store.dropRemote(ctx, tx, ns, role); err != nil {
			return err
		}
	}
	for _, row := range g.rows {
		save := r.store.saveDelegation
		if row.unheard() {
			save = r.store.dropDelegation
		}
		if err := save(ctx, tx, ns, row); err != nil {
			return err
		}
	}
	return nil
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
