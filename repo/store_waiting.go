package repo

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// waitingRow is targets metadata that wait for signatures.
type waitingRow struct {
	ID        string
	Version   int
	Base      string // id of the push it replaces
	Uptane    []byte
	TUF       []byte
	CreatedAt int64  `db:"created_at"`
	CreatedBy string `db:"created_by"`
}

func (s store) waiting(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace) (waitingRow, error) {
	var row waitingRow
	err := sqlx.GetContext(ctx, q, &row,
		`SELECT id, version, base, uptane, tuf, created_at, created_by FROM repo_waiting WHERE namespace = $1`, ns)
	return row, err
}

func (s store) saveWaiting(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, row waitingRow) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO repo_waiting (namespace, id, version, base, uptane, tuf, created_at, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (namespace) DO UPDATE SET id = excluded.id, version = excluded.version, base = excluded.base, uptane = excluded.uptane,
			tuf = excluded.tuf, created_at = excluded.created_at, created_by = excluded.created_by`,
		ns, row.ID, row.Version, row.Base, row.Uptane, row.TUF, row.CreatedAt, row.CreatedBy)
	return err
}

// dropWaiting reports whether it was there.
func (s store) dropWaiting(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, id string) (bool, error) {
	done, err := tx.ExecContext(ctx, `DELETE FROM repo_waiting WHERE namespace = $1 AND id = $2`, ns, id)
	return affected(done, err)
}
