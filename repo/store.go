package repo

import (
	"context"
	"database/sql"
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
	TUF        bool   `db:"tuf"`           // its TUF flavour is served
	Anonymous  bool   `db:"tuf_anonymous"` // without credentials, too
	TUFPush    string `db:"tuf_push"`
	Listing    string `db:"listing"` // key of the visible listing of delegated roles
	TUFListing string `db:"tuf_listing"`
	NotBefore  int64  `db:"not_before"` // nothing signed here ends earlier; 0 none
	MinLife    int64  `db:"min_targets_life"`
	floors
}

const repositoryColumns = `id, push, generation, tuf, tuf_anonymous, tuf_push, listing, tuf_listing, not_before, min_targets_life, ` + floorColumns

// visible is what clients of a flavour see; its push is "" where there is none
// yet.
func (r repositoryRow) visible(f uptane.Flavour) stand {
	if f == uptane.TUF {
		return stand{r.TUFPush, r.TUFListing}
	}
	return stand{r.Push, r.Listing}
}

// addRepository returns db.ErrExists if the namespace has a repository.
func (s store) addRepository(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, id string, now int64) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO repo_repository (namespace, id, created_at) VALUES ($1, $2, $3)`, ns, id, now)
	return db.Err(err)
}

func (s store) repository(ctx context.Context, ns uptane.Namespace) (repositoryRow, error) {
	var row repositoryRow
	err := s.db.GetContext(ctx, &row, `SELECT `+repositoryColumns+` FROM repo_repository WHERE namespace = $1`, ns)
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
		`UPDATE repo_repository SET generation = generation WHERE namespace = $1 RETURNING `+repositoryColumns, ns)
	return row, err
}

// turn makes another edition the visible one and tells every replica.
func (s store) turn(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, to stand) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_repository SET push = $2, listing = $3, generation = generation + 1 WHERE namespace = $1`, ns, to.push, to.listing)
	return err
}

// touch tells every replica that other documents are to be served.
func (s store) touch(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace) error {
	_, err := tx.ExecContext(ctx, `UPDATE repo_repository SET generation = generation + 1 WHERE namespace = $1`, ns)
	return err
}

// affected reports whether a statement found any row.
func affected(done sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n > 0, err
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

// migrate brings the tables up to date.
func (s store) migrate(ctx context.Context) error {
	if err := db.Migrate(ctx, s.db, "repo", schema); err != nil {
		return fmt.Errorf("preparing tables of the Image repository: %w", err)
	}
	return nil
}
