package repo

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

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

// setMinLife changes the policy, and returns db.ErrNoRows where there is no
// repository.
func (s store) setMinLife(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, life time.Duration) error {
	var id string
	return tx.GetContext(ctx, &id, `UPDATE repo_repository SET min_targets_life = $2 WHERE namespace = $1 RETURNING id`, ns, life.Milliseconds())
}

// setNotBefore says before when nothing that is signed may end, and tells every
// replica. It returns db.ErrNoRows where there is no repository.
func (s store) setNotBefore(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, at int64) error {
	var id string
	return tx.GetContext(ctx, &id,
		`UPDATE repo_repository SET not_before = $2, generation = generation + 1 WHERE namespace = $1 RETURNING id`, ns, at)
}
