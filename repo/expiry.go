package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

// Ending is metadata that end.
type Ending struct {
	Role    uptane.Role
	Version int
	Ends    time.Time
	// Online says that the server signs it and renews it when somebody reads it,
	// to the end of the root.
	Online bool
}

// Endings are when the visible targets, snapshot, timestamp and the metadata of
// delegated roles end. What is not there is left out.
func (r *Repo) Endings(ctx context.Context, ns uptane.Namespace) ([]Ending, error) {
	s, err := r.current(ctx, tree{ns, uptane.Uptane})
	if fault.Of(err) != nil {
		return nil, nil // no repository, root or targets
	}
	if err != nil {
		return nil, err
	}
	list := []Ending{{Role: uptane.RoleTargets, Version: s.push.Version, Ends: moment(s.push.Expires)}}
	for role, d := range map[uptane.Role]documentRow{uptane.RoleSnapshot: s.snapshot, uptane.RoleTimestamp: s.timestamp} {
		if d.Document != nil {
			list = append(list, Ending{role, d.Version, moment(d.Expires), true})
		}
	}
	roles, err := r.Roles(ctx, ns)
	if err != nil {
		return nil, err
	}
	for _, role := range roles {
		if role.Version > 0 && role.InForce {
			list = append(list, Ending{Role: role.Name, Version: role.Version, Ends: role.Expires})
		}
	}
	return list, nil
}

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// Renew signs every snapshot and timestamp anew that is near its end, as reading
// them would. A server does so before it listens: what devices get after a long
// rest is ready. Errors are of those namespaces where it failed; the others are
// done.
func (r *Repo) Renew(ctx context.Context) error {
	list, err := r.store.namespaces(ctx)
	if err != nil {
		return fmt.Errorf("listing namespaces: %w", err)
	}
	var all error
	for _, ns := range list {
		for _, flavour := range []uptane.Flavour{uptane.Uptane, uptane.TUF} {
			s, err := r.current(ctx, tree{ns, flavour})
			switch {
			case err == nil && s.failed != nil:
				err = s.failed
			case err == nil:
				_, err = s.serve(s.timestamp, r.now()) // it ended with the root
			case fault.Status(err) == 404: // nothing to renew: no root, no targets, TUF is off
				continue
			}
			if err != nil {
				all = errors.Join(all, fmt.Errorf("renewing metadata of %s: %w", ns, err))
			}
		}
	}
	return all
}

// until is when the first of the metadata that lead to a target ends: those of the
// role that names it and of all above.
func (r *Repo) until(ctx context.Context, ns uptane.Namespace, role uptane.Role) (time.Time, error) {
	_, ends, err := r.store.targetsEnd(ctx, ns)
	if errors.Is(err, db.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil || role == uptane.RoleTargets {
		return ends, err
	}
	rows, err := r.store.delegations(ctx, ns)
	for _, row := range chainOf(rows, role) {
		if at := moment(row.Expires); row.Version > 0 && at.Before(ends) {
			ends = at
		}
	}
	return ends, err
}

// Policy is what people of a namespace want of what is pushed.
type Policy struct {
	// MinTargetsLife is how long pushed targets and delegated metadata must be good
	// at least; 0 takes any that have not expired.
	MinTargetsLife time.Duration
}

// MaxTargetsLife bounds [Policy].
const MaxTargetsLife = 3650 * 24 * time.Hour

// Policy returns that of a namespace. It answers ErrNoRepository.
func (r *Repo) Policy(ctx context.Context, ns uptane.Namespace) (Policy, error) {
	row, err := r.repository(ctx, ns)
	return row.policy(), err
}

func (row repositoryRow) policy() Policy {
	return Policy{MinTargetsLife: time.Duration(row.MinLife) * time.Millisecond}
}

// SetPolicy changes it for what is pushed from now on. It answers ErrInvalid and
// ErrNoRepository.
func (r *Repo) SetPolicy(ctx context.Context, ns uptane.Namespace, p Policy) error {
	if p.MinTargetsLife < 0 || p.MinTargetsLife > MaxTargetsLife {
		return ErrInvalid.Withf("a life is 0 to %d days", MaxTargetsLife/day)
	}
	detail := fmt.Sprintf("min-targets-life %d days", p.MinTargetsLife/day)
	err := r.acting(ctx, ns, actPolicy, detail, func(ctx context.Context, tx *sqlx.Tx) error { return r.store.setMinLife(ctx, tx, ns, p.MinTargetsLife) })
	return r.settled(ns, "setting the policy", err)
}

// SetNotBefore lets nothing that is signed here end before a time, the past for no
// such wish: for devices that will be without a network. What is online is signed
// anew, no longer than its root lives; what people sign is proposed so. It answers
// ErrNoRepository.
func (r *Repo) SetNotBefore(ctx context.Context, ns uptane.Namespace, at time.Time) error {
	detail := "nothing signed here ends before " + at.UTC().Format(time.RFC3339)
	err := r.acting(ctx, ns, actNotBefore, detail, func(ctx context.Context, tx *sqlx.Tx) error { return r.store.setNotBefore(ctx, tx, ns, at.UnixMilli()) })
	return r.settled(ns, "setting the earliest expiry", err)
}

// settled ends a change of a repository's settings.
func (r *Repo) settled(ns uptane.Namespace, doing string, err error) error {
	if errors.Is(err, db.ErrNoRows) {
		return ErrNoRepository
	}
	if err != nil {
		return fmt.Errorf("%s of %s: %w", doing, ns, err)
	}
	r.forget(ns)
	return nil
}

const day = 24 * time.Hour

// bornShort says why metadata of such an end are refused, "" if they are not.
func (p Policy) bornShort(now, expires time.Time) string {
	switch left := expires.Sub(now); {
	case left <= 0:
		return fmt.Sprintf("it expired %s", expires.Format(time.RFC3339))
	case left < p.MinTargetsLife:
		return fmt.Sprintf("it expires %s, in %s; the policy of this namespace demands %s at least: sign it with a later date",
			expires.Format(time.RFC3339), days(left), days(p.MinTargetsLife))
	}
	return ""
}

func days(d time.Duration) string {
	if d < 2*day {
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/day)
}

// remarkEnd tells the operator of what is allowed and may still surprise: metadata
// that end soon, and those that outlive their root, under which they count.
func (r *Repo) remarkEnd(ctx context.Context, ns uptane.Namespace, role uptane.Role, version int64, expires time.Time) {
	if left := expires.Sub(r.now()); left < shortLife {
		r.log.WarnContext(ctx, "pushed targets expire soon; no device updates after that until the next push",
			"namespace", ns, "role", role, "version", version, "expires", expires)
	}
	if root, err := r.root(ctx, ns); err == nil && expires.After(root.payload.Expires) {
		r.log.WarnContext(ctx, "pushed targets are good for longer than their root; sign a new root before it ends",
			"namespace", ns, "role", role, "version", version, "expires", expires, "root", root.version, "root_expires", root.payload.Expires)
	}
}
