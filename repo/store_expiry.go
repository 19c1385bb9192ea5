package repo

import (
	"context"
	"time"

	"sealift/uptane"
)

// targetsEnd returns when the visible targets of the top level end, and their
// version.
func (s store) targetsEnd(ctx context.Context, ns uptane.Namespace) (version int, ends time.Time, err error) {
	var row struct {
		Version int   `db:"version"`
		Expires int64 `db:"expires"`
	}
	err = s.db.GetContext(ctx, &row,
		`SELECT p.version, p.expires FROM repo_repository r JOIN repo_push p ON p.namespace = r.namespace AND p.id = r.push
		WHERE r.namespace = $1`, ns)
	return row.Version, time.UnixMilli(row.Expires).UTC(), err
}

// setMinLife changes the policy.
func (s store) setMinLife(ctx context.Context, ns uptane.Namespace, life time.Duration) (bool, error) {
	done, err := s.db.ExecContext(ctx, `UPDATE repo_repository SET min_targets_life = $2 WHERE namespace = $1`, ns, life.Milliseconds())
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n > 0, err
}
