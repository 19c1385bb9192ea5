package repo

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// documentRow is a snapshot or timestamp, sealed when Document is not nil.
type documentRow struct {
	Version     int    `db:"version"`
	Push        string `db:"push"`
	Listing     string `db:"listing"`
	RootVersion int    `db:"root_version"`
	Snapshot    int    `db:"snapshot"`
	Payload     []byte `db:"payload"`
	Document    []byte `db:"document"`
	Expires     int64  `db:"expires"`
	Capped      bool   `db:"capped"`
	CreatedAt   int64  `db:"created_at"`
}

const documentColumns = `version, push, listing, root_version, snapshot, payload, document, expires, capped, created_at`

// documents are the snapshots and timestamps of one tree.
type documents struct {
	store
	tree
}

func (s store) of(t tree) documents { return documents{s, t} }

// served returns the newest sealed timestamp of an edition under a root, from the
// version floor on.
func (s documents) served(ctx context.Context, e stand, root, floor int) (documentRow, error) {
	var row documentRow
	err := s.db.GetContext(ctx, &row,
		`SELECT `+documentColumns+` FROM repo_document
		WHERE namespace = $1 AND flavour = $2 AND role = $3 AND push = $4 AND root_version = $5 AND version >= $6 AND listing = $7
			AND NOT void AND document IS NOT NULL
		ORDER BY version DESC LIMIT 1`, s.ns, s.flavour, uptane.RoleTimestamp, e.push, root, floor, e.listing)
	return row, err
}

// shown is the newest sealed timestamp of an edition, under whatever root.
func (s documents) shown(ctx context.Context, e stand) (documentRow, error) {
	var row documentRow
	err := s.db.GetContext(ctx, &row,
		`SELECT `+documentColumns+` FROM repo_document
		WHERE namespace = $1 AND flavour = $2 AND role = $3 AND push = $4 AND listing = $5 AND NOT void AND document IS NOT NULL
		ORDER BY root_version DESC, version DESC LIMIT 1`, s.ns, s.flavour, uptane.RoleTimestamp, e.push, e.listing)
	return row, err
}

func (s documents) document(ctx context.Context, role uptane.Role, version int) (documentRow, error) {
	var row documentRow
	err := s.db.GetContext(ctx, &row,
		`SELECT `+documentColumns+` FROM repo_document
		WHERE namespace = $1 AND flavour = $2 AND role = $3 AND version = $4 AND NOT void`, s.ns, s.flavour, role, version)
	return row, err
}

// newest returns the newest document of an edition under a root, sealed or not,
// from the version floor on.
func (s documents) newest(ctx context.Context, tx *sqlx.Tx, role uptane.Role, e stand, root, floor int) (documentRow, error) {
	var row documentRow
	err := tx.GetContext(ctx, &row,
		`SELECT `+documentColumns+` FROM repo_document
		WHERE namespace = $1 AND flavour = $2 AND role = $3 AND push = $4 AND root_version = $5 AND version >= $6 AND listing = $7 AND NOT void
		ORDER BY version DESC LIMIT 1`, s.ns, s.flavour, role, e.push, root, floor, e.listing)
	return row, err
}

// lastVersion is the highest version of a role since a root, 0 if there is none.
func (s documents) lastVersion(ctx context.Context, tx *sqlx.Tx, role uptane.Role, since int) (int, error) {
	var last int
	err := tx.GetContext(ctx, &last,
		`SELECT COALESCE(MAX(version), 0) FROM repo_document
		WHERE namespace = $1 AND flavour = $2 AND role = $3 AND root_version >= $4`, s.ns, s.flavour, role, since)
	return last, err
}

// lastServed is the highest version of a role that clients may have seen, or may
// yet see, of an edition; 0 if there is none.
func (s documents) lastServed(ctx context.Context, tx *sqlx.Tx, role uptane.Role, since int, e stand) (int, error) {
	var last int
	err := tx.GetContext(ctx, &last,
		`SELECT COALESCE(MAX(version), 0) FROM repo_document
		WHERE namespace = $1 AND flavour = $2 AND role = $3 AND root_version >= $4 AND push = $5 AND listing = $6 AND NOT void`,
		s.ns, s.flavour, role, since, e.push, e.listing)
	return last, err
}

// freeVersion is the lowest version from candidate on that no row ever had.
func (s documents) freeVersion(ctx context.Context, tx *sqlx.Tx, role uptane.Role, candidate int) (int, error) {
	rows, err := tx.QueryContext(ctx,
		`SELECT version FROM repo_document WHERE namespace = $1 AND flavour = $2 AND role = $3 AND version >= $4 ORDER BY version`,
		s.ns, s.flavour, role, candidate)
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

func (s documents) add(ctx context.Context, tx *sqlx.Tx, role uptane.Role, d documentRow) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO repo_document (namespace, flavour, role, version, push, listing, root_version, snapshot, payload, expires, capped, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		s.ns, s.flavour, role, d.Version, d.Push, d.Listing, d.RootVersion, d.Snapshot, d.Payload, d.Expires, d.Capped, d.CreatedAt)
	return err
}

// void gives up the unsealed documents of an edition; their versions stay used.
func (s documents) void(ctx context.Context, tx *sqlx.Tx, role uptane.Role, e stand) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_document SET void = TRUE
		WHERE namespace = $1 AND flavour = $2 AND role = $3 AND push = $4 AND listing = $5 AND document IS NULL AND NOT void`,
		s.ns, s.flavour, role, e.push, e.listing)
	return err
}

// voidOthers gives up every unsealed document that is not of this edition.
func (s documents) voidOthers(ctx context.Context, tx *sqlx.Tx, e stand) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_document SET void = TRUE
		WHERE namespace = $1 AND flavour = $2 AND (push <> $3 OR listing <> $4) AND document IS NULL AND NOT void`, s.ns, s.flavour, e.push, e.listing)
	return err
}

// seal stores the signed bytes where none are stored, so that the first win.
func (s documents) seal(ctx context.Context, tx *sqlx.Tx, role uptane.Role, version int, doc []byte) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_document SET document = $5
		WHERE namespace = $1 AND flavour = $2 AND role = $3 AND version = $4 AND document IS NULL AND NOT void`,
		s.ns, s.flavour, role, version, doc)
	return err
}
