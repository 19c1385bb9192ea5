package treehub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sealift/internal/db"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// Ref is a name that points to a commit.
type Ref struct {
	Name      string // short: "main" for refs/heads/main
	Commit    ostree.Checksum
	UpdatedAt time.Time
	UpdatedBy string
}

// RefUpdate says where a ref is to point.
type RefUpdate struct {
	Name   string // short: "main" for refs/heads/main
	Commit ostree.Checksum
	// Force moves the ref even if its old commit is not the new one's parent.
	Force bool
	// By names who asked.
	By string
}

// SetRef points a ref to a commit. It answers ErrInvalidRef, ErrCommitMissing
// unless the commit is complete, and ErrForcePush if the ref would lose the
// commit it points to. Setting a ref to where it points is no error.
func (t *TreeHub) SetRef(ctx context.Context, ns uptane.Namespace, u RefUpdate) error {
	if err := checkRef(u.Name); err != nil {
		return err
	}
	if err := t.RequireComplete(ctx, ns, u.Commit); err != nil {
		return err
	}
	c, err := t.store.commit(ctx, ns, u.Commit)
	if err != nil {
		return fmt.Errorf("reading commit %s of %s: %w", u.Commit, ns, err)
	}
	row := refRecord{Name: u.Name, Checksum: u.Commit.String(), UpdatedAt: t.now().UnixMilli(), UpdatedBy: u.By}
	moved, err := t.store.setRef(ctx, ns, row, c.Parent, u.Force)
	if err != nil {
		return fmt.Errorf("setting ref %s of %s: %w", u.Name, ns, err)
	}
	if !moved {
		return ErrForcePush.Withf("ref %s does not point to the parent of %s", u.Name, u.Commit)
	}
	return nil
}

func checkRef(name string) error {
	var rule *ostree.RuleError
	if err := ostree.CheckRef(name); errors.As(err, &rule) {
		return ErrInvalidRef.With(rule.Error())
	} else if err != nil {
		return err
	}
	return nil
}

// Ref answers ErrRefMissing, also for what cannot be a ref's name.
func (t *TreeHub) Ref(ctx context.Context, ns uptane.Namespace, name string) (ostree.Checksum, error) {
	if checkRef(name) != nil {
		return ostree.Checksum{}, ErrRefMissing
	}
	row, err := t.store.ref(ctx, ns, name)
	if errors.Is(err, db.ErrNoRows) {
		return ostree.Checksum{}, ErrRefMissing
	}
	if err != nil {
		return ostree.Checksum{}, fmt.Errorf("reading ref %s of %s: %w", name, ns, err)
	}
	return ostree.ParseChecksum(row.Checksum)
}

// Refs returns at most limit refs after offset, by name, and how many there are.
func (t *TreeHub) Refs(ctx context.Context, ns uptane.Namespace, offset, limit int) ([]Ref, int, error) {
	rows, err := t.store.refs(ctx, ns, offset, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("listing refs of %s: %w", ns, err)
	}
	total, err := t.store.countRefs(ctx, ns)
	if err != nil {
		return nil, 0, fmt.Errorf("counting refs of %s: %w", ns, err)
	}
	refs := make([]Ref, 0, len(rows))
	for _, row := range rows {
		commit, err := ostree.ParseChecksum(row.Checksum)
		if err != nil {
			return nil, 0, fmt.Errorf("reading ref %s of %s: %w", row.Name, ns, err)
		}
		refs = append(refs, Ref{Name: row.Name, Commit: commit,
			UpdatedAt: time.UnixMilli(row.UpdatedAt).UTC(), UpdatedBy: row.UpdatedBy})
	}
	return refs, total, nil
}
