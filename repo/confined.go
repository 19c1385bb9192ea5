package repo

import (
	"context"
	"fmt"
	"slices"

	"sealift/internal/fault"
	"sealift/uptane"
)

// ErrConfined: who asks may touch some delegated roles only, and not these.
var ErrConfined = fault.New(fault.Forbidden, "delegation_forbidden", "the token is good for other delegated roles")

// MayDelegate answers ErrConfined unless a role is one of those to which somebody
// is confined, or below one. That it is delegated to at all is not asked here.
func (r *Repo) MayDelegate(ctx context.Context, ns uptane.Namespace, role uptane.Role, confined []uptane.Role) error {
	if slices.Contains(confined, role) {
		return nil
	}
	rows, err := r.store.delegations(ctx, ns)
	if err != nil {
		return fmt.Errorf("reading delegations of %s: %w", ns, err)
	}
	if slices.ContainsFunc(chainOf(rows, role), func(above delegationRow) bool { return slices.Contains(confined, above.Role) }) {
		return nil
	}
	return ErrConfined.Withf("%.60q is none of %q, nor below one", role, confined)
}

// MayBring answers ErrConfined unless one of the roles to which somebody is
// confined may sign for a target of that name.
func (r *Repo) MayBring(ctx context.Context, ns uptane.Namespace, filename string, confined []uptane.Role) error {
	rows, err := r.store.delegations(ctx, ns)
	if err != nil {
		return fmt.Errorf("reading delegations of %s: %w", ns, err)
	}
	for _, role := range confined {
		ok, err := maySign(rows, role, filename)
		if err != nil {
			return fmt.Errorf("looking who may sign in %s: %w", ns, err)
		}
		if ok {
			return nil
		}
	}
	return ErrConfined.Withf("none of %q may sign for %.253q", confined, filename)
}

// maySign reports whether the paths of a role, and those of all above it, cover a
// name.
func maySign(rows map[uptane.Role]delegationRow, role uptane.Role, filename string) (bool, error) {
	for _, above := range chainOf(rows, role) {
		if above.Parent == "" {
			return false, nil
		}
		trust, err := uptane.ParseDelegation(uptane.Uptane, []byte(above.Trust))
		if err != nil {
			return false, fmt.Errorf("reading trust in %s: %w", above.Role, err)
		}
		if !trust.Covers(filename) {
			return false, nil
		}
	}
	return true, nil
}
