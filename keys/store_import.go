package keys

import (
	"context"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// takeoverRow is how far a namespace was taken over from another server.
type takeoverRow struct {
	Begun    int64  `db:"begun"`
	Finished *int64 `db:"finished"`
}

// unfinished tells whether something is still to come.
func (r takeoverRow) unfinished() bool { return r.Begun > 0 && r.Finished == nil }

// takeover returns an empty row where nothing was ever taken over.
func (s store) takeover(ctx context.Context, ns uptane.Namespace) (row takeoverRow, err error) {
	err = s.db.GetContext(ctx, &row, `SELECT begun, finished FROM takeover WHERE namespace = $1`, ns)
	if errors.Is(err, db.ErrNoRows) {
		return takeoverRow{}, nil // what was scanned into is not empty then
	}
	return row, err
}

// beginTakeover answers db.ErrExists where one has begun.
func (s store) beginTakeover(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, now time.Time) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO takeover (namespace, begun) VALUES ($1, $2)`, ns, now.UnixMilli())
	return db.Err(err)
}

func (s store) finishTakeover(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, now time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE takeover SET finished = $2 WHERE namespace = $1 AND finished IS NULL`, ns, now.UnixMilli())
	return err
}

// markImported says that a private key came from another server.
func (s store) markImported(ctx context.Context, tx *sqlx.Tx, k roleKey, now time.Time) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE online_key SET imported = $3 WHERE namespace = $1 AND key_id = $2`, k.Namespace, k.Key.ID(), now.UnixMilli())
	return err
}
