package repo

import (
	"context"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// targetRow is a target of the visible metadata.
type targetRow struct {
	Filename  string `db:"filename"`
	SHA256    string `db:"sha256"`
	Length    int64  `db:"length"`
	Name      string `db:"name"`
	Version   string `db:"version"`
	Format    string `db:"format"`
	URI       string `db:"uri"`
	Entry     string `db:"entry"`
	Image     string `db:"image"`
	AddedAt   int64  `db:"added_at"`
	UpdatedAt int64  `db:"updated_at"`
	Hardware  string `db:"hardware"` // as hardwareText writes it
	MadeAt    int64  `db:"made_at"`
}

const targetColumns = `filename, sha256, length, name, version, format, uri, entry, image, added_at, updated_at, hardware, made_at`

func (s store) target(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, filename string) (targetRow, error) {
	var row targetRow
	err := sqlx.GetContext(ctx, q, &row,
		`SELECT `+targetColumns+` FROM repo_target WHERE namespace = $1 AND filename = $2`, ns, filename)
	return row, err
}

func (s store) allTargets(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace) (map[string]targetRow, error) {
	var rows []targetRow
	err := sqlx.SelectContext(ctx, q, &rows, `SELECT `+targetColumns+` FROM repo_target WHERE namespace = $1`, ns)
	found := make(map[string]targetRow, len(rows))
	for _, row := range rows {
		found[row.Filename] = row
	}
	return found, err
}

// match is the condition of a search: $2 is a LIKE pattern in lower case.
const match = `namespace = $1 AND (lower(filename) LIKE $2 ESCAPE '!' OR lower(name) LIKE $2 ESCAPE '!')`

// pattern matches what contains s, whatever the case.
func pattern(s string) string {
	return "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.ToLower(s)) + "%"
}

// targets returns a page of the targets whose filename or name contains s,
// least recently changed first.
func (s store) targets(ctx context.Context, ns uptane.Namespace, contains string, limit, offset int) ([]targetRow, error) {
	var rows []targetRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+targetColumns+` FROM repo_target WHERE `+match+` ORDER BY updated_at, filename LIMIT $3 OFFSET $4`,
		ns, pattern(contains), limit, offset)
	return rows, err
}

func (s store) countTargets(ctx context.Context, ns uptane.Namespace, contains string) (int64, error) {
	var n int64
	err := s.db.GetContext(ctx, &n, `SELECT count(*) FROM repo_target WHERE `+match, ns, pattern(contains))
	return n, err
}

// commits returns the commits that visible targets name.
func (s store) commits(ctx context.Context, ns uptane.Namespace) ([]string, error) {
	var sums []string
	err := s.db.SelectContext(ctx, &sums,
		`SELECT sha256 FROM repo_target WHERE namespace = $1 AND format = 'OSTREE'
		UNION SELECT sha256 FROM repo_delegated_target WHERE namespace = $1 AND format = 'OSTREE' ORDER BY sha256`, ns)
	return sums, err
}

func (s store) saveTarget(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, t targetRow) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO repo_target (namespace, filename, sha256, length, name, version, format, uri, entry, image, added_at, updated_at, hardware, made_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (namespace, filename) DO UPDATE SET sha256 = excluded.sha256, length = excluded.length,
			name = excluded.name, version = excluded.version, format = excluded.format, uri = excluded.uri,
			entry = excluded.entry, image = excluded.image, updated_at = excluded.updated_at,
			hardware = excluded.hardware, made_at = excluded.made_at`,
		ns, t.Filename, t.SHA256, t.Length, t.Name, t.Version, t.Format, t.URI, t.Entry, t.Image, t.AddedAt, t.UpdatedAt, t.Hardware, t.MadeAt)
	return err
}

func (s store) dropTarget(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, filename string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM repo_target WHERE namespace = $1 AND filename = $2`, ns, filename)
	return err
}

// content is what a filename stands for.
type content struct {
	Filename string `db:"filename"`
	SHA256   string `db:"sha256"`
	Length   int64  `db:"length"`
}

// chunk bounds the names of one statement: both engines limit placeholders.
const chunk = 500

// contents returns what those of the filenames that were ever published stood for.
func (s store) contents(ctx context.Context, ns uptane.Namespace, filenames []string) (map[string]content, error) {
	found := map[string]content{}
	for part := range slices.Chunk(filenames, chunk) {
		query, args, err := sqlx.In(
			`SELECT filename, sha256, length FROM repo_content WHERE namespace = ? AND filename IN (?)`, ns, part)
		if err != nil {
			return nil, err
		}
		var rows []content
		if err := s.db.SelectContext(ctx, &rows, s.db.Rebind(query), args...); err != nil {
			return nil, err
		}
		for _, row := range rows {
			found[row.Filename] = row
		}
	}
	return found, nil
}

func (s store) addContent(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, c content, version int) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO repo_content (namespace, filename, sha256, length, version) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`, ns, c.Filename, c.SHA256, c.Length, version)
	return err
}
