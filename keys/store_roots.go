package keys

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

type rootRow struct {
	Version   int    `db:"version"`
	Document  []byte `db:"document"`
	KeysSince string `db:"keys_since"`
	LastTwin  int    `db:"last_twin"`
}

func (r rootRow) since() (m map[uptane.Role]int, err error) {
	err = json.Unmarshal([]byte(r.KeysSince), &m)
	return m, err
}

// lastRoot returns a row of version 0 where there is none.
func (s store) lastRoot(ctx context.Context, ns uptane.Namespace, repo uptane.Repository) (row rootRow, err error) {
	err = s.db.GetContext(ctx, &row,
		`SELECT version, document, keys_since,
			COALESCE((SELECT MAX(version) FROM root WHERE namespace = $1 AND repository = $2 AND twin IS NOT NULL), 0) AS last_twin
		FROM root WHERE namespace = $1 AND repository = $2 ORDER BY version DESC LIMIT 1`, ns, repo)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	return row, err
}

// rootDocument returns nothing where there is no such document.
func (s store) rootDocument(ctx context.Context, ns uptane.Namespace, repo uptane.Repository, f uptane.Flavour, version int) (doc []byte, err error) {
	query := `SELECT document FROM root WHERE namespace = $1 AND repository = $2 AND version = $3`
	if f == uptane.TUF {
		query = `SELECT twin FROM root WHERE namespace = $1 AND repository = $2 AND version = $3`
	}
	err = s.db.GetContext(ctx, &doc, query, ns, repo, version)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	return doc, err
}

// addRoot answers db.ErrExists where the version was published before.
func (s store) addRoot(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, repo uptane.Repository, r nextRoot, now time.Time) error {
	since, err := json.Marshal(r.since)
	if err != nil {
		return err
	}
	var twin any // NULL where there is none
	if len(r.twin) > 0 {
		twin = r.twin
	}
	_, err = tx.ExecContext(ctx,
		`INSERT INTO root (namespace, repository, version, document, twin, keys_since, expires, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		ns, repo, r.version, r.raw, twin, string(since), r.payload.Expires.UnixMilli(), now.UnixMilli())
	return db.Err(err)
}

// setTwin reports whether the root had none.
func (s store) setTwin(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, version int, twin []byte) (bool, error) {
	n, err := affected(tx.ExecContext(ctx,
		`UPDATE root SET twin = $3 WHERE namespace = $1 AND repository = 'image' AND version = $2 AND twin IS NULL`,
		ns, version, twin))
	return n == 1, err
}

// rootVersion is that of the last root, 0 where there is none.
func (s store) rootVersion(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, repo uptane.Repository) (version int, err error) {
	err = tx.GetContext(ctx, &version, `SELECT COALESCE(MAX(version), 0) FROM root WHERE namespace = $1 AND repository = $2`, ns, repo)
	return version, err
}
