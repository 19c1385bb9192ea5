package repo

import (
	"context"
	"fmt"
	"time"

	"sealift/uptane"
)

// Delegation returns the visible metadata of a delegated role. It answers
// ErrDelegationMissing, or what [Repo.Metadata] answers.
func (r *Repo) Delegation(ctx context.Context, ns uptane.Namespace, role uptane.Role) (Document, error) {
	if !role.Delegation() {
		return Document{}, ErrDelegationMissing
	}
	s, err := r.current(ctx, tree{ns, uptane.Uptane})
	if err != nil {
		return Document{}, err
	}
	version := s.listing[role]
	if version == 0 {
		return Document{}, ErrDelegationMissing.With(string(role))
	}
	row, err := r.store.delegated(ctx, ns, role, version)
	if err != nil {
		return Document{}, fmt.Errorf("reading metadata of %s of %s: %w", role, ns, err)
	}
	return s.document(row.Document, row.Checksum), nil
}

// find returns the target that clients find under a name in delegated roles, and
// the role. It answers ErrTargetMissing.
func (r *Repo) find(ctx context.Context, ns uptane.Namespace, filename string) (targetRow, uptane.Role, error) {
	named, err := r.store.namedBy(ctx, ns, filename)
	if err != nil {
		return targetRow{}, "", err
	}
	if len(named) == 0 {
		return targetRow{}, "", ErrTargetMissing
	}
	rows, err := r.store.delegations(ctx, ns)
	if err != nil {
		return targetRow{}, "", err
	}
	s := search{rows: rows, named: named, filename: filename, now: r.now().UnixMilli()}
	role, _, err := s.in(uptane.RoleTargets)
	if err == nil && role == "" {
		err = ErrTargetMissing
		if s.expired != "" {
			err = ErrTargetExpired.Withf("%q is named by %s, whose metadata ended %s", filename, s.expired,
				moment(rows[s.expired].Expires).Format(time.RFC3339)).Wrap(ErrTargetMissing)
		}
	}
	return named[role], role, err
}

// search walks through delegated roles as clients do: in their order, depth first,
// where path patterns cover the name; a terminating role ends it.
type search struct {
	rows     map[uptane.Role]delegationRow
	named    map[uptane.Role]targetRow
	filename string
	now      int64
	expired  uptane.Role // a role that names the file and is passed over
}

func (s *search) in(parent uptane.Role) (found uptane.Role, ended bool, err error) {
	for _, row := range below(s.rows, parent) {
		trust, err := uptane.ParseDelegation(uptane.Uptane, []byte(row.Trust))
		if err != nil {
			return "", true, fmt.Errorf("reading trust in %s: %w", row.Role, err)
		}
		if !trust.Covers(s.filename) {
			continue
		}
		if !row.Valid || row.Expires <= s.now { // clients go no further here
			if _, ok := s.named[row.Role]; ok {
				s.expired = row.Role
			}
			return "", true, nil
		}
		if _, ok := s.named[row.Role]; ok {
			return row.Role, true, nil
		}
		found, ended, err := s.in(row.Role)
		if err != nil || ended || trust.Terminating {
			return found, true, err
		}
	}
	return "", false, nil
}

// requireSearched answers ErrTargetBuried for a role below a terminating one: by
// the standard the search goes there and then ends, aktualizr's ends above it.
func (r *Repo) requireSearched(ctx context.Context, ns uptane.Namespace, role uptane.Role) error {
	rows, err := r.store.delegations(ctx, ns)
	if err != nil {
		return err
	}
	for _, above := range chainOf(rows, rows[role].Parent) {
		trust, err := uptane.ParseDelegation(uptane.Uptane, []byte(above.Trust))
		if err != nil {
			return fmt.Errorf("reading trust in %s: %w", above.Role, err)
		}
		if trust.Terminating {
			return ErrTargetBuried.Withf("%s is below %s", role, above.Role)
		}
	}
	return nil
}

// DelegatedItems returns a page of the targets of delegated roles whose filename
// or name contains text, in any case, and how many there are.
func (r *Repo) DelegatedItems(ctx context.Context, ns uptane.Namespace, text string, limit, offset int) ([]Item, int, error) {
	if !searchable(text) {
		return nil, 0, nil // nothing has such a name
	}
	total, err := r.store.countDelegatedItems(ctx, ns, text)
	if err != nil {
		return nil, 0, fmt.Errorf("counting delegated targets of %s: %w", ns, err)
	}
	rows, err := r.store.delegatedItems(ctx, ns, text, limit, offset)
	if err != nil {
		return nil, 0, fmt.Errorf("reading delegated targets of %s: %w", ns, err)
	}
	items := make([]Item, len(rows))
	for i, row := range rows {
		items[i] = itemOf(row.targetRow)
		items[i].Role = row.Role
	}
	return items, int(total), nil
}

// DelegatedItem returns the targets of that name, of all delegated roles.
func (r *Repo) DelegatedItem(ctx context.Context, ns uptane.Namespace, filename string) ([]Item, error) {
	if uptane.CheckFilename(filename) != nil {
		return nil, nil
	}
	named, err := r.store.namedBy(ctx, ns, filename)
	if err != nil {
		return nil, fmt.Errorf("reading delegated target %q of %s: %w", filename, ns, err)
	}
	rows, err := r.store.delegations(ctx, ns)
	if err != nil {
		return nil, fmt.Errorf("reading delegations of %s: %w", ns, err)
	}
	var items []Item
	for role, row := range named {
		if rows[role].Valid {
			item := itemOf(row)
			item.Role = role
			items = append(items, item)
		}
	}
	return items, nil
}

// Role is a delegated role as people see it.
type Role struct {
	Name    uptane.Role
	Parent  uptane.Role // targets or a role; "" nobody delegates to it any more
	Trust   uptane.Delegation
	Version int       // of the visible metadata, 0 none
	InForce bool      // they are signed as Trust demands
	Expires time.Time // zero without metadata
	TUF     int       // the version that TUF clients see, 0 none
	Remote  Remote
}

// Roles lists the delegated roles, in the order in which clients search them;
// those that nobody delegates to any more are left out.
func (r *Repo) Roles(ctx context.Context, ns uptane.Namespace) ([]Role, error) {
	_, rows, err := r.delegations(ctx, ns)
	if err != nil {
		return nil, err
	}
	remotes, err := r.store.remotes(ctx, ns)
	if err != nil {
		return nil, fmt.Errorf("reading remote delegations of %s: %w", ns, err)
	}
	var list []Role
	var walk func(parent uptane.Role) error
	walk = func(parent uptane.Role) error {
		for _, row := range below(rows, parent) {
			trust, err := uptane.ParseDelegation(uptane.Uptane, []byte(row.Trust))
			if err != nil {
				return fmt.Errorf("reading trust in %s of %s: %w", row.Role, ns, err)
			}
			role := Role{Name: row.Role, Parent: row.Parent, Trust: trust, Version: row.Version, InForce: row.Valid, TUF: row.TUFVersion, Remote: remotes[row.Role].remote()}
			if row.Version > 0 {
				role.Expires = time.UnixMilli(row.Expires).UTC()
			}
			list = append(list, role)
			if err := walk(row.Role); err != nil {
				return err
			}
		}
		return nil
	}
	return list, walk(uptane.RoleTargets)
}

// Role returns one of Roles. It answers ErrNotDelegated.
func (r *Repo) Role(ctx context.Context, ns uptane.Namespace, name uptane.Role) (Role, error) {
	list, err := r.Roles(ctx, ns)
	if err != nil {
		return Role{}, err
	}
	for _, role := range list {
		if role.Name == name {
			return role, nil
		}
	}
	return Role{}, ErrNotDelegated.Withf("%.60q", name)
}
