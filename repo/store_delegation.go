package repo

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// delegationRow is a role that was ever delegated to.
type delegationRow struct {
	Role       uptane.Role `db:"role"`
	Parent     uptane.Role `db:"parent"` // "" nobody any more
	Place      int         `db:"place"`
	Trust      string      `db:"trust"`
	Version    int         `db:"version"` // visible, 0 none
	Valid      bool        `db:"valid"`
	Expires    int64       `db:"expires"`
	TUFVersion int         `db:"tuf_version"`
	Branch     uptane.Role `db:"branch"` // below which role of the top level it was delegated to last, "" at the top level
}

const delegationColumns = `role, parent, place, trust, version, valid, expires, tuf_version, branch`

// delegations returns all roles that were ever delegated to.
func (s store) delegations(ctx context.Context, ns uptane.Namespace) (map[uptane.Role]delegationRow, error) {
	var rows []delegationRow
	err := s.db.SelectContext(ctx, &rows, `SELECT `+delegationColumns+` FROM repo_delegation WHERE namespace = $1`, ns)
	found := make(map[uptane.Role]delegationRow, len(rows))
	for _, row := range rows {
		found[row.Role] = row
	}
	return found, err
}

// saveDelegation writes all of a role but what TUF clients see of it: that is
// published by itself, at times between the reading of a row and its writing.
func (s store) saveDelegation(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, d delegationRow) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO repo_delegation (namespace, role, parent, place, trust, version, valid, expires, tuf_version, branch)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (namespace, role) DO UPDATE SET parent = excluded.parent, place = excluded.place, trust = excluded.trust,
			version = excluded.version, valid = excluded.valid, expires = excluded.expires, branch = excluded.branch`,
		ns, d.Role, d.Parent, d.Place, d.Trust, d.Version, d.Valid, d.Expires, d.TUFVersion, d.Branch)
	return err
}

// setTUFVersion says which version of a role TUF clients see.
func (s store) setTUFVersion(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role, version int) error {
	_, err := tx.ExecContext(ctx, `UPDATE repo_delegation SET tuf_version = $3 WHERE namespace = $1 AND role = $2`, ns, role, version)
	return err
}

func (s store) dropDelegation(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, d delegationRow) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM repo_delegation WHERE namespace = $1 AND role = $2`, ns, d.Role)
	return err
}

// listing returns which version of each role clients of a flavour see.
func (s store) listing(ctx context.Context, q sqlx.QueryerContext, t tree) (listing, error) {
	column := "version"
	if t.flavour == uptane.TUF {
		column = "tuf_version"
	}
	var rows []struct {
		Role    uptane.Role `db:"role"`
		Version int         `db:"version"`
	}
	err := sqlx.SelectContext(ctx, q, &rows,
		`SELECT role, `+column+` AS version FROM repo_delegation WHERE namespace = $1 AND `+column+` > 0`, t.ns)
	l := make(listing, len(rows))
	for _, row := range rows {
		l[row.Role] = row.Version
	}
	return l, err
}

// setTUFListing makes another listing the one that TUF clients see and tells
// every replica.
func (s store) setTUFListing(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, key string) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_repository SET tuf_listing = $2, generation = generation + 1 WHERE namespace = $1`, ns, key)
	return err
}

// delegatedRow is metadata of a role as they were signed.
type delegatedRow struct {
	Role      uptane.Role `db:"role"`
	Version   int         `db:"version"`
	Checksum  string      `db:"checksum"`
	Document  []byte      `db:"document"`
	CreatedAt int64       `db:"created_at"`
	CreatedBy string      `db:"created_by"`
}

const delegatedColumns = `role, version, checksum, document, created_at, created_by`

func (s store) delegated(ctx context.Context, ns uptane.Namespace, role uptane.Role, version int) (delegatedRow, error) {
	var row delegatedRow
	err := s.db.GetContext(ctx, &row,
		`SELECT `+delegatedColumns+` FROM repo_delegated WHERE namespace = $1 AND role = $2 AND version = $3`, ns, role, version)
	return row, err
}

func (s store) addDelegated(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, d delegatedRow) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO repo_delegated (namespace, role, version, checksum, document, created_at, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, ns, d.Role, d.Version, d.Checksum, d.Document, d.CreatedAt, d.CreatedBy)
	return err
}

// delegatedTargets returns what the visible metadata of a role name.
func (s store) delegatedTargets(ctx context.Context, ns uptane.Namespace, role uptane.Role) (map[string]targetRow, error) {
	var rows []targetRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+targetColumns+` FROM repo_delegated_target WHERE namespace = $1 AND role = $2`, ns, role)
	found := make(map[string]targetRow, len(rows))
	for _, row := range rows {
		found[row.Filename] = row
	}
	return found, err
}

// delegatedTarget is a target of a role.
type delegatedTarget struct {
	Role uptane.Role `db:"role"`
	targetRow
}

// namedBy returns which roles name a file, and as what.
func (s store) namedBy(ctx context.Context, ns uptane.Namespace, filename string) (map[uptane.Role]targetRow, error) {
	var rows []delegatedTarget
	err := s.db.SelectContext(ctx, &rows,
		`SELECT role, `+targetColumns+` FROM repo_delegated_target WHERE namespace = $1 AND filename = $2`, ns, filename)
	found := make(map[uptane.Role]targetRow, len(rows))
	for _, row := range rows {
		found[row.Role] = row.targetRow
	}
	return found, err
}

// inForce is the condition of targets whose role's metadata clients trust.
const inForce = `EXISTS (SELECT 1 FROM repo_delegation d
	WHERE d.namespace = repo_delegated_target.namespace AND d.role = repo_delegated_target.role AND d.valid)`

// delegatedItems returns a page of the targets of all roles whose filename or
// name contains text, in the order of their filenames.
func (s store) delegatedItems(ctx context.Context, ns uptane.Namespace, text string, limit, offset int) ([]delegatedTarget, error) {
	var rows []delegatedTarget
	err := s.db.SelectContext(ctx, &rows,
		`SELECT role, `+targetColumns+` FROM repo_delegated_target WHERE `+match+` AND `+inForce+`
		ORDER BY filename, role LIMIT $3 OFFSET $4`, ns, pattern(text), limit, offset)
	return rows, err
}

func (s store) countDelegatedItems(ctx context.Context, ns uptane.Namespace, text string) (int64, error) {
	var n int64
	err := s.db.GetContext(ctx, &n, `SELECT count(*) FROM repo_delegated_target WHERE `+match+` AND `+inForce, ns, pattern(text))
	return n, err
}

func (s store) saveDelegatedTarget(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role, t targetRow) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO repo_delegated_target (namespace, role, filename, sha256, length, name, version, format, uri, entry, image, added_at, updated_at,
			hardware, made_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
		ON CONFLICT (namespace, role, filename) DO UPDATE SET sha256 = excluded.sha256, length = excluded.length,
			name = excluded.name, version = excluded.version, format = excluded.format, uri = excluded.uri,
			entry = excluded.entry, image = excluded.image, updated_at = excluded.updated_at,
			hardware = excluded.hardware, made_at = excluded.made_at`,
		ns, role, t.Filename, t.SHA256, t.Length, t.Name, t.Version, t.Format, t.URI, t.Entry, t.Image, t.AddedAt, t.UpdatedAt, t.Hardware, t.MadeAt)
	return err
}

func (s store) dropDelegatedTarget(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role, filename string) error {
	_, err := tx.ExecContext(ctx,
		`DELETE FROM repo_delegated_target WHERE namespace = $1 AND role = $2 AND filename = $3`, ns, role, filename)
	return err
}

// giveImage makes bytes that came late those of the targets of roles that mean
// them.
func (s store) giveImage(ctx context.Context, tx *sqlx.Tx, i imageRow) (given bool, err error) {
	done, err := tx.ExecContext(ctx,
		`UPDATE repo_delegated_target SET image = $5
		WHERE namespace = $1 AND filename = $2 AND sha256 = $3 AND length = $4 AND image = '' AND uri = '' AND format <> 'OSTREE'`,
		i.Namespace, i.Filename, i.SHA256, i.Length, i.ID)
	return affected(done, err)
}

// release says since when an image is idle, unless a target still names it.
func (s store) release(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, id string, since int64) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_image SET idle_since = $3 WHERE namespace = $1 AND id = $2
			AND NOT EXISTS (SELECT 1 FROM repo_target t WHERE t.namespace = $1 AND t.image = $2)
			AND NOT EXISTS (SELECT 1 FROM repo_delegated_target t WHERE t.namespace = $1 AND t.image = $2)`, ns, id, since)
	return err
}
