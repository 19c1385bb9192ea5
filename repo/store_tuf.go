package repo

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// twinRow is a TUF document that says the same as an Uptane one.
type twinRow struct {
	Digest      string `db:"digest"`
	Version     int    `db:"version"`
	Document    []byte `db:"document"`
	CreatedAt   int64  `db:"created_at"`
	PublishedAt int64  `db:"published_at"`
}

// addTwin keeps the newest bytes for a digest, unless they are published.
func (s store) addTwin(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, role uptane.Role, t twinRow) error {
	_, err := q.ExecContext(ctx,
		`INSERT INTO repo_twin (namespace, role, digest, version, document, created_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (namespace, role, digest) DO UPDATE SET document = excluded.document, created_at = excluded.created_at
		WHERE repo_twin.published_at = 0`, ns, role, t.Digest, t.Version, t.Document, t.CreatedAt)
	return err
}

func (s store) twin(ctx context.Context, ns uptane.Namespace, role uptane.Role, digest string) (twinRow, error) {
	var row twinRow
	err := s.db.GetContext(ctx, &row,
		`SELECT digest, version, document, created_at, published_at FROM repo_twin
		WHERE namespace = $1 AND role = $2 AND digest = $3`, ns, role, digest)
	return row, err
}

// publishTwin keeps exactly this staged twin for good. It returns false when it
// is published already, or another was staged in its place.
func (s store) publishTwin(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, role uptane.Role, t twinRow, now int64) (bool, error) {
	done, err := q.ExecContext(ctx,
		`UPDATE repo_twin SET published_at = $5
		WHERE namespace = $1 AND role = $2 AND digest = $3 AND document = $4 AND published_at = 0`,
		ns, role, t.Digest, t.Document, now)
	return affected(done, err)
}

func (s store) publishedTwin(ctx context.Context, ns uptane.Namespace, role uptane.Role, version int) ([]byte, error) {
	var doc []byte
	err := s.db.GetContext(ctx, &doc,
		`SELECT document FROM repo_twin WHERE namespace = $1 AND role = $2 AND version = $3 AND published_at > 0`, ns, role, version)
	return doc, err
}

// dropTwins forgets staged twins whose document never came.
func (s store) dropTwins(ctx context.Context, ns uptane.Namespace, before int64) error {
	_, err := s.db.ExecContext(ctx,
		`DELETE FROM repo_twin WHERE namespace = $1 AND published_at = 0 AND created_at < $2`, ns, before)
	return err
}

// setTUF switches the TUF tree and tells every replica.
func (s store) setTUF(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, on, anonymous bool) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_repository SET tuf = $2, tuf_anonymous = $3, generation = generation + 1 WHERE namespace = $1`, ns, on, anonymous)
	return err
}

// setTUFPush makes a push the one that TUF clients see, and the images that are
// visible now theirs. It tells every replica.
func (s store) setTUFPush(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, push string) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_repository SET tuf_push = $2, generation = generation + 1 WHERE namespace = $1`, ns, push)
	if err != nil {
		return err
	}
	if _, err = tx.ExecContext(ctx, `DELETE FROM repo_tuf_target WHERE namespace = $1`, ns); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx,
		`INSERT INTO repo_tuf_target (namespace, filename, sha256, image)
		SELECT namespace, filename, sha256, image FROM repo_target WHERE namespace = $1 AND image <> ''`, ns)
	return err
}

// tufImage returns where the bytes are that TUF metadata lists by this name and
// hash.
func (s store) tufImage(ctx context.Context, ns uptane.Namespace, filename, sha256 string) (imageRow, error) {
	var row imageRow
	err := s.db.GetContext(ctx, &row,
		`SELECT `+imageColumns+` FROM repo_image WHERE namespace = $1 AND id IN (
			SELECT image FROM repo_tuf_target WHERE namespace = $1 AND filename = $2 AND sha256 = $3
			UNION SELECT t.image FROM repo_delegated_target t
				JOIN repo_delegation d ON d.namespace = t.namespace AND d.role = t.role AND d.tuf_version > 0
				WHERE t.namespace = $1 AND t.filename = $2 AND t.sha256 = $3) LIMIT 1`, ns, filename, sha256)
	return row, err
}

func (s store) pushVersion(ctx context.Context, ns uptane.Namespace, id string) (int, error) {
	var version int
	err := s.db.GetContext(ctx, &version, `SELECT version FROM repo_push WHERE namespace = $1 AND id = $2`, ns, id)
	return version, err
}
