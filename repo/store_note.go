package repo

import (
	"context"
	"slices"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// noteTable is a table with text about targets.
type noteTable string

const (
	comments noteTable = "repo_comment"
	sboms    noteTable = "repo_sbom"
)

// column is where the text is.
func (n noteTable) column() string {
	if n == sboms {
		return "uri"
	}
	return "comment"
}

func (s store) saveNote(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, n noteTable, filename, text string, now int64, by string) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO `+string(n)+` (namespace, filename, `+n.column()+`, updated_at, updated_by) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (namespace, filename) DO UPDATE SET `+n.column()+` = excluded.`+n.column()+`,
			updated_at = excluded.updated_at, updated_by = excluded.updated_by`, ns, filename, text, now, by)
	return err
}

func (s store) note(ctx context.Context, ns uptane.Namespace, n noteTable, filename string) (string, error) {
	var text string
	err := s.db.GetContext(ctx, &text, `SELECT `+n.column()+` FROM `+string(n)+` WHERE namespace = $1 AND filename = $2`, ns, filename)
	return text, err
}

func (s store) notes(ctx context.Context, ns uptane.Namespace, n noteTable, contains string, limit, offset int) ([]Note, error) {
	var rows []Note
	err := s.db.SelectContext(ctx, &rows,
		`SELECT filename, `+n.column()+` AS text FROM `+string(n)+`
		WHERE namespace = $1 AND lower(filename) LIKE $2 ESCAPE '!' ORDER BY filename LIMIT $3 OFFSET $4`,
		ns, pattern(contains), limit, offset)
	return rows, err
}

func (s store) countNotes(ctx context.Context, ns uptane.Namespace, n noteTable, contains string) (int64, error) {
	var total int64
	err := s.db.GetContext(ctx, &total,
		`SELECT count(*) FROM `+string(n)+` WHERE namespace = $1 AND lower(filename) LIKE $2 ESCAPE '!'`, ns, pattern(contains))
	return total, err
}

func (s store) notesOn(ctx context.Context, ns uptane.Namespace, n noteTable, filenames []string) ([]Note, error) {
	var found []Note
	for part := range slices.Chunk(filenames, chunk) {
		query, args, err := sqlx.In(
			`SELECT filename, `+n.column()+` AS text FROM `+string(n)+` WHERE namespace = ? AND filename IN (?) ORDER BY filename`, ns, part)
		if err != nil {
			return nil, err
		}
		var rows []Note
		if err := s.db.SelectContext(ctx, &rows, s.db.Rebind(query), args...); err != nil {
			return nil, err
		}
		found = append(found, rows...)
	}
	return found, nil
}

func (s store) dropNote(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, n noteTable, filename string) (bool, error) {
	done, err := tx.ExecContext(ctx, `DELETE FROM `+string(n)+` WHERE namespace = $1 AND filename = $2`, ns, filename)
	return affected(done, err)
}
