package repo

import (
	"context"
	"embed"
	"fmt"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

//go:embed schema
var schema embed.FS

// store holds the statements. A method that takes a transaction is part of a
// change; the others are lone reads or writes.
type store struct{ db *db.DB }

// repositoryRow is the Image repository of a namespace.
type repositoryRow struct {
	ID         string `db:"id"`
	Push       string `db:"push"`
	Generation int64  `db:"generation"`
}

// addRepository returns db.ErrExists if the namespace has a repository.
func (s store) addRepository(ctx context.Context, ns uptane.Namespace, id string, now int64) error {
	_, err := s.db.ExecContext(ctx,
		`INSERT INTO repo_repository (namespace, id, created_at) VALUES ($1, $2, $3)`, ns, id, now)
	return db.Err(err)
}

func (s store) repository(ctx context.Context, ns uptane.Namespace) (repositoryRow, error) {
	var row repositoryRow
	err := s.db.GetContext(ctx, &row, `SELECT id, push, generation FROM repo_repository WHERE namespace = $1`, ns)
	return row, err
}

func (s store) namespaces(ctx context.Context) ([]uptane.Namespace, error) {
	var list []uptane.Namespace
	err := s.db.SelectContext(ctx, &list, `SELECT namespace FROM repo_repository ORDER BY namespace`)
	return list, err
}

// lock takes the repository until the transaction ends and returns it.
func (s store) lock(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace) (repositoryRow, error) {
	var row repositoryRow
	err := tx.GetContext(ctx, &row,
		`UPDATE repo_repository SET generation = generation WHERE namespace = $1 RETURNING id, push, generation`, ns)
	return row, err
}

// turn makes another push the visible one and tells every replica.
func (s store) turn(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, push string) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_repository SET push = $2, generation = generation + 1 WHERE namespace = $1`, ns, push)
	return err
}

// touch tells every replica that other documents are to be served.
func (s store) touch(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace) error {
	_, err := tx.ExecContext(ctx, `UPDATE repo_repository SET generation = generation + 1 WHERE namespace = $1`, ns)
	return err
}

// pushRow is targets metadata as it was signed.
type pushRow struct {
	ID          string `db:"id"`
	Base        string `db:"base"`
	Version     int    `db:"version"`
	Checksum    string `db:"checksum"`
	Document    []byte `db:"document"`
	Expires     int64  `db:"expires"`
	CreatedAt   int64  `db:"created_at"`
	CreatedBy   string `db:"created_by"`
	PublishedAt int64  `db:"published_at"`
}

const pushColumns = `id, base, version, checksum, document, expires, created_at, created_by, published_at`

func (s store) push(ctx context.Context, ns uptane.Namespace, id string) (pushRow, error) {
	var row pushRow
	err := s.db.GetContext(ctx, &row, `SELECT `+pushColumns+` FROM repo_push WHERE namespace = $1 AND id = $2`, ns, id)
	return row, err
}

// stage inserts a push unless the same bytes are staged on the same base
// already, and returns the one that is there.
func (s store) stage(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, p pushRow) (pushRow, error) {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO repo_push (namespace, id, base, version, checksum, document, expires, created_at, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
		ns, p.ID, p.Base, p.Version, p.Checksum, p.Document, p.Expires, p.CreatedAt, p.CreatedBy)
	if err != nil {
		return pushRow{}, err
	}
	var row pushRow
	err = tx.GetContext(ctx, &row,
		`SELECT `+pushColumns+` FROM repo_push WHERE namespace = $1 AND base = $2 AND checksum = $3`, ns, p.Base, p.Checksum)
	return row, err
}

// published marks a push as the one that became visible and drops all that
// were staged beside it.
func (s store) published(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, p pushRow, now int64) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_push SET published_at = $3 WHERE namespace = $1 AND id = $2`, ns, p.ID, now)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx,
		`DELETE FROM repo_push WHERE namespace = $1 AND base = $2 AND published_at = 0`, ns, p.Base)
	return err
}

// documentRow is a snapshot or timestamp, sealed when Document is not nil.
type documentRow struct {
	Version     int    `db:"version"`
	Push        string `db:"push"`
	RootVersion int    `db:"root_version"`
	Snapshot    int    `db:"snapshot"`
	Payload     []byte `db:"payload"`
	Document    []byte `db:"document"`
	Expires     int64  `db:"expires"`
	Capped      bool   `db:"capped"`
	CreatedAt   int64  `db:"created_at"`
}

const documentColumns = `version, push, root_version, snapshot, payload, document, expires, capped, created_at`

// served returns the newest sealed timestamp of a push under a root.
func (s store) served(ctx context.Context, ns uptane.Namespace, push string, root int) (documentRow, error) {
	var row documentRow
	err := s.db.GetContext(ctx, &row,
		`SELECT `+documentColumns+` FROM repo_document
		WHERE namespace = $1 AND role = $2 AND push = $3 AND root_version = $4 AND NOT void AND document IS NOT NULL
		ORDER BY version DESC LIMIT 1`, ns, uptane.RoleTimestamp, push, root)
	return row, err
}

func (s store) document(ctx context.Context, ns uptane.Namespace, role uptane.Role, version int) (documentRow, error) {
	var row documentRow
	err := s.db.GetContext(ctx, &row,
		`SELECT `+documentColumns+` FROM repo_document WHERE namespace = $1 AND role = $2 AND version = $3 AND NOT void`,
		ns, role, version)
	return row, err
}

// newest returns the newest document of a push under a root, sealed or not.
func (s store) newest(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role, push string, root int) (documentRow, error) {
	var row documentRow
	err := tx.GetContext(ctx, &row,
		`SELECT `+documentColumns+` FROM repo_document
		WHERE namespace = $1 AND role = $2 AND push = $3 AND root_version = $4 AND NOT void
		ORDER BY version DESC LIMIT 1`, ns, role, push, root)
	return row, err
}

// lastVersion is the highest version of a role since a root, 0 if there is none.
func (s store) lastVersion(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role, since int) (int, error) {
	var last int
	err := tx.GetContext(ctx, &last,
		`SELECT COALESCE(MAX(version), 0) FROM repo_document WHERE namespace = $1 AND role = $2 AND root_version >= $3`,
		ns, role, since)
	return last, err
}

// lastServed is the highest version of a role that devices may have seen, or may
// yet see, of a push; 0 if there is none.
func (s store) lastServed(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role, since int, push string) (int, error) {
	var last int
	err := tx.GetContext(ctx, &last,
		`SELECT COALESCE(MAX(version), 0) FROM repo_document
		WHERE namespace = $1 AND role = $2 AND root_version >= $3 AND push = $4 AND NOT void`, ns, role, since, push)
	return last, err
}

// freeVersion is the lowest version from candidate on that no row ever had.
func (s store) freeVersion(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role, candidate int) (int, error) {
	rows, err := tx.QueryContext(ctx,
		`SELECT version FROM repo_document WHERE namespace = $1 AND role = $2 AND version >= $3 ORDER BY version`,
		ns, role, candidate)
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var taken int
		if err := rows.Scan(&taken); err != nil {
			return 0, err
		}
		if taken > candidate {
			break
		}
		candidate++
	}
	return candidate, rows.Err()
}

func (s store) addDocument(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role, d documentRow) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO repo_document (namespace, role, version, push, root_version, snapshot, payload, expires, capped, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		ns, role, d.Version, d.Push, d.RootVersion, d.Snapshot, d.Payload, d.Expires, d.Capped, d.CreatedAt)
	return err
}

// void gives up the unsealed documents of a push; their versions stay used.
func (s store) void(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role, push string) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_document SET void = TRUE
		WHERE namespace = $1 AND role = $2 AND push = $3 AND document IS NULL AND NOT void`, ns, role, push)
	return err
}

// voidOthers gives up every unsealed document that is not of this push.
func (s store) voidOthers(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, push string) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_document SET void = TRUE WHERE namespace = $1 AND push <> $2 AND document IS NULL AND NOT void`, ns, push)
	return err
}

// seal stores the signed bytes where none are stored, so that the first win.
func (s store) seal(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role, version int, doc []byte) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_document SET document = $4
		WHERE namespace = $1 AND role = $2 AND version = $3 AND document IS NULL AND NOT void`, ns, role, version, doc)
	return err
}

// migrate brings the tables up to date.
func (s store) migrate(ctx context.Context) error {
	if err := db.Migrate(ctx, s.db, "repo", schema); err != nil {
		return fmt.Errorf("preparing tables of the Image repository: %w", err)
	}
	return nil
}
