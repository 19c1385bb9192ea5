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

// endings are the tokens that end at a time or later and live as long as life or
// longer, in milliseconds.
func (s store) endings(ctx context.Context, ns uptane.Namespace, from, life int64) ([]Token, error) {
	var rows []row
	err := s.db.SelectContext(ctx, &rows, `
		SELECT namespace, id, name, created_at, expires_at FROM access_token
		WHERE namespace = $1 AND revoked_at = 0 AND expires_at >= $2 AND expires_at - created_at >= $3
		ORDER BY expires_at, id LIMIT $4`, ns, from, life, maxTokens)
	list := make([]Token, len(rows))
	for i := range rows {
		list[i] = rows[i].token()
	}
	return list, err
}
