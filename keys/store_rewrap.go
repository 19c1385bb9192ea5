package keys

import (
	"context"

	"github.com/jmoiron/sqlx"
)

// wrappedRow is a data key as it is stored.
type wrappedRow struct {
	Number  int64  `db:"number"`
	Wrapped []byte `db:"wrapped"`
}

func (s store) sealingKeys(ctx context.Context) (rows []wrappedRow, err error) {
	err = s.db.SelectContext(ctx, &rows, `SELECT number, wrapped FROM sealing_key ORDER BY number`)
	return rows, err
}

// replaceWrapped reports whether the row was as it had been read.
func (s store) replaceWrapped(ctx context.Context, tx *sqlx.Tx, r rewrapped) (bool, error) {
	res, err := tx.ExecContext(ctx, `UPDATE sealing_key SET wrapped = $1 WHERE number = $2 AND wrapped = $3`, r.new, r.number, r.old)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}
