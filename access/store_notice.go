package access

import (
	"context"

	"sealift/uptane"
)

// addNotice reports whether nobody had added it before.
func (s store) addNotice(ctx context.Context, ns uptane.Namespace, thing string, ends, days, now int64) (bool, error) {
	done, err := s.db.ExecContext(ctx,
		`INSERT INTO access_notice (namespace, thing, ends, days, told_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
		ns, thing, ends, days, now)
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n == 1, err
}

type noticeRow struct {
	Thing  string `db:"thing"`
	Ends   int64  `db:"ends"`
	Days   int    `db:"days"`
	ToldAt int64  `db:"told_at"`
}

// notices are about what ends then or later, the oldest first.
func (s store) notices(ctx context.Context, ns uptane.Namespace, endsFrom int64) (rows []noticeRow, err error) {
	err = s.db.SelectContext(ctx, &rows,
		`SELECT thing, ends, days, told_at FROM access_notice WHERE namespace = $1 AND ends >= $2 ORDER BY told_at, thing, days DESC`, ns, endsFrom)
	return rows, err
}
