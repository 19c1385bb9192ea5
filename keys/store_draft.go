package keys

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// draftRow is a root that people are signing.
type draftRow struct {
	Namespace  uptane.Namespace  `db:"namespace"`
	Repository uptane.Repository `db:"repository"`
	ID         string            `db:"id"`
	Version    int               `db:"version"`
	Model      string            `db:"model"`
	Document   []byte            `db:"document"`
	Twin       []byte            `db:"twin"`
	Made       string            `db:"made"`
	CreatedAt  int64             `db:"created"`
	EndsAt     int64             `db:"ends"`
	CreatedBy  string            `db:"created_by"`
}

func (s store) draftOf(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, repo uptane.Repository) (row draftRow, err error) {
	err = sqlx.GetContext(ctx, q, &row,
		`SELECT namespace, repository, id, version, model, document, twin, made, created, ends, created_by
		FROM root_draft WHERE namespace = $1 AND repository = $2`, ns, repo)
	return row, err
}

// holdDraft locks a draft for the rest of the transaction.
func (s store) holdDraft(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, id string) (row draftRow, err error) {
	err = tx.GetContext(ctx, &row,
		`UPDATE root_draft SET changes = changes + 1 WHERE namespace = $1 AND id = $2
		RETURNING namespace, repository, id, version, model, document, twin, made, created, ends, created_by`, ns, id)
	return row, err
}

// addDraft answers db.ErrExists where the repository has one.
func (s store) addDraft(ctx context.Context, tx *sqlx.Tx, r draftRow) error {
	var twin any // NULL where there is none
	if len(r.Twin) > 0 {
		twin = r.Twin
	}
	_, err := tx.ExecContext(ctx,
		`INSERT INTO root_draft (namespace, repository, id, version, model, document, twin, made, changes, created, ends, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, $11)`,
		r.Namespace, r.Repository, r.ID, r.Version, r.Model, r.Document, twin, r.Made, r.CreatedAt, r.EndsAt, r.CreatedBy)
	return db.Err(err)
}

func (s store) setSignatures(ctx context.Context, tx *sqlx.Tx, r draftRow) error {
	var twin any
	if len(r.Twin) > 0 {
		twin = r.Twin
	}
	_, err := tx.ExecContext(ctx,
		`UPDATE root_draft SET document = $3, twin = $4 WHERE namespace = $1 AND id = $2`, r.Namespace, r.ID, r.Document, twin)
	return err
}

// removeDraft reports whether it was there.
func (s store) removeDraft(ctx context.Context, tx *sqlx.Tx, r draftRow) (bool, error) {
	res, err := tx.ExecContext(ctx,
		`DELETE FROM root_draft WHERE namespace = $1 AND repository = $2 AND id = $3`, r.Namespace, r.Repository, r.ID)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// usedElsewhere reports whether a key is claimed for anything but k.
func (s store) usedElsewhere(ctx context.Context, tx *sqlx.Tx, k roleKey) (bool, error) {
	var n int
	err := tx.GetContext(ctx, &n,
		`SELECT COUNT(*) FROM public_key_use WHERE key_id = $1 AND NOT (namespace = $2 AND repository = $3 AND role = $4)`,
		k.Key.ID(), k.Namespace, k.Repository, k.Role)
	return n > 0, err
}

// removeOnlineKey reports whether it was there. What the key was for stays known.
func (s store) removeOnlineKey(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, id uptane.KeyID) (bool, error) {
	res, err := tx.ExecContext(ctx, `DELETE FROM online_key WHERE namespace = $1 AND key_id = $2`, ns, id)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}
