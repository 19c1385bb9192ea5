package repo

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// headersRow is what is sealed of a remote address.
type headersRow struct {
	Namespace uptane.Namespace `db:"namespace"`
	Role      uptane.Role      `db:"role"`
	Headers   []byte           `db:"headers"`
}

// sealedHeaders are those of all namespaces: one master key seals them.
func (s store) sealedHeaders(ctx context.Context, tx *sqlx.Tx) (rows []headersRow, err error) {
	err = tx.SelectContext(ctx, &rows, `SELECT namespace, role, headers FROM repo_remote WHERE headers IS NOT NULL AND LENGTH(headers) > 0`)
	return rows, err
}

func (s store) replaceHeaders(ctx context.Context, tx *sqlx.Tx, r headersRow) error {
	_, err := tx.ExecContext(ctx, `UPDATE repo_remote SET headers = $1 WHERE namespace = $2 AND role = $3`, r.Headers, r.Namespace, r.Role)
	return err
}
