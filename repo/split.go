package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// ErrSplit: targets cannot move into a delegated role.
var ErrSplit = fault.New(fault.Conflict, "split_refused", "the targets cannot move into the delegated role")

// Split is how targets move from the top level into a delegated role: the metadata
// of the role are signed and published first, the targets without them second, so
// that no device misses an image in between.
type Split struct {
	Moved       []string // filenames
	HardwareIDs []uptane.HardwareID
	Delegation  []byte // payload of the role, unsigned, canonical
	Targets     []byte // payload of the top level, unsigned, canonical
}

// Split proposes to move the targets of the top level that the patterns cover, or
// the role's own paths if there are none, into a delegated role. It answers
// ErrNotDelegated, ErrInvalid, or ErrSplit when nothing would move or the role may
// not sign for what would.
func (r *Repo) Split(ctx context.Context, ns uptane.Namespace, role uptane.Role, patterns []string) (Split, error) {
	for _, p := range patterns {
		if err := uptane.CheckPath(p); err != nil {
			return Split{}, ErrInvalid.With(err.Error())
		}
	}
	_, rows, err := r.delegations(ctx, ns)
	if err != nil {
		return Split{}, err
	}
	row, trust, err := trustIn(rows, role)
	if err != nil {
		return Split{}, err
	}
	if row.Parent != uptane.RoleTargets {
		return Split{}, ErrSplit.Withf("%s is below %s; targets move from the top level into roles right below it", role, row.Parent)
	}
	if len(patterns) == 0 {
		patterns = trust.Paths
	}
	top, _, err := r.draft(ctx, ns)
	if err != nil {
		return Split{}, err
	}
	next, err := r.draftOf(ctx, ns, row)
	if err != nil {
		return Split{}, err
	}
	return r.split(ctx, ns, trust, patterns, top, next)
}

func (r *Repo) split(ctx context.Context, ns uptane.Namespace, trust uptane.Delegation, patterns []string, top, next *draft) (Split, error) {
	var s Split
	by := uptane.Delegation{Paths: patterns}
	into := slices.Clone(next.targets().Members())
	for _, m := range top.targets().Members() {
		if !by.Covers(m.Name) {
			continue
		}
		if !trust.Covers(m.Name) {
			return s, ErrSplit.Withf("%s may not sign %q; its paths are %q", trust.Role, m.Name, trust.Paths)
		}
		c, _ := top.custom(m.Name)
		s.Moved, s.HardwareIDs = append(s.Moved, m.Name), append(s.HardwareIDs, c.HardwareIDs...)
		into = append(into, m)
	}
	if len(s.Moved) == 0 {
		return s, ErrSplit.Withf("no target of the top level is covered by %q", patterns)
	}
	slices.Sort(s.HardwareIDs)
	s.HardwareIDs = slices.Compact(s.HardwareIDs)
	next.setTargets(canonical.Fields(into...))
	s.Delegation = next.following()
	proposal := r.propose(ctx, ns, func(d *draft) error {
		d.drop(s.Moved)
		return nil
	})
	var p *Proposal
	if !errors.As(proposal, &p) {
		return s, proposal
	}
	s.Targets = p.Unsigned
	return s, nil
}

// draftOf reads the visible metadata of a role, empty ones where there are none.
func (r *Repo) draftOf(ctx context.Context, ns uptane.Namespace, row delegationRow) (*draft, error) {
	d := &draft{now: r.now().UTC().Truncate(time.Second)}
	d.signed = canonical.Fields().With("_type", canonical.Text("Targets")).With("targets", canonical.Fields()).
		With("version", canonical.Int(int64(row.Version))).With("expires", canonical.Text(d.now.AddDate(1, 0, 0).Format(time.RFC3339)))
	doc, err := r.store.delegated(ctx, ns, row.Role, row.Version)
	if errors.Is(err, db.ErrNoRows) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading metadata of %s of %s: %w", row.Role, ns, err)
	}
	e, err := uptane.ParseEnvelope(uptane.Uptane, doc.Document)
	if err == nil {
		d.signed, err = canonical.Parse(e.Signed, canonical.Options{ASCII: true})
	}
	if err != nil {
		return nil, fmt.Errorf("reading metadata of %s of %s: %w", row.Role, ns, err)
	}
	return d, nil
}

// following is the payload with the next version, which is to live long enough to
// be signed by people.
func (d *draft) following() []byte {
	version, _ := d.signed.Member("version")
	n, _ := version.Int()
	expires, _ := d.signed.Member("expires")
	text, _ := expires.Text()
	until, _ := time.Parse(time.RFC3339, text)
	if least := d.now.Add(proposalLife); until.Before(least) {
		until = least
	}
	return d.signed.With("version", canonical.Int(n+1)).With("expires", canonical.Text(until.UTC().Format(time.RFC3339))).Uptane()
}
