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

// markImported says that another server had the private half of a key.
func (s store) markImported(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, key uptane.Key, now time.Time) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE public_key_use SET imported = $3 WHERE namespace = $1 AND key_id = $2`, ns, key.ID(), now.UnixMilli())
	return err
}

// imported are the keys whose private halves another server had, and since when
// that is known.
func (s store) imported(ctx context.Context, ns uptane.Namespace, repo uptane.Repository) (map[uptane.KeyID]*int64, error) {
	var rows []struct {
		KeyID    uptane.KeyID `db:"key_id"`
		Imported *int64       `db:"imported"`
	}
	err := s.db.SelectContext(ctx, &rows,
		`SELECT key_id, imported FROM public_key_use WHERE namespace = $1 AND repository = $2 AND imported IS NOT NULL`, ns, repo)
	list := map[uptane.KeyID]*int64{}
	for _, r := range rows {
		list[r.KeyID] = r.Imported
	}
	return list, err
}
