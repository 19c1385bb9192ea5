package repo

import (
	"context"
	"slices"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// uploadRow is an upload in parts that is under way.
type uploadRow struct {
	Namespace uptane.Namespace `db:"namespace"`
	ID        string           `db:"id"`
	Filename  string           `db:"filename"`
	Size      int64            `db:"size"`
	PartSize  int64            `db:"part_size"`
	Secret    []byte           `db:"secret"`
	CreatedAt int64            `db:"created_at"`
	CreatedBy string           `db:"created_by"`
}

const uploadColumns = `namespace, id, filename, size, part_size, secret, created_at, created_by`

func (s store) addUpload(ctx context.Context, u uploadRow) error {
	_, err := s.db.ExecContext(ctx,
		`INSERT INTO repo_upload (namespace, id, filename, size, part_size, secret, created_at, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		u.Namespace, u.ID, u.Filename, u.Size, u.PartSize, u.Secret, u.CreatedAt, u.CreatedBy)
	return err
}

func (s store) upload(ctx context.Context, ns uptane.Namespace, id string) (uploadRow, error) {
	var row uploadRow
	err := s.db.GetContext(ctx, &row, `SELECT `+uploadColumns+` FROM repo_upload WHERE namespace = $1 AND id = $2`, ns, id)
	return row, err
}

// oldUploads returns uploads begun before a time, at most limit.
func (s store) oldUploads(ctx context.Context, ns uptane.Namespace, before int64, limit int) ([]uploadRow, error) {
	var rows []uploadRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+uploadColumns+` FROM repo_upload
		WHERE namespace = $1 AND created_at < $2 ORDER BY created_at LIMIT $3`, ns, before, limit)
	return rows, err
}

// dropUpload ends an upload and returns the blobs of its parts; db.ErrNoRows
// when it has ended already.
func (s store) dropUpload(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, id string) ([]string, error) {
	var found string
	err := tx.GetContext(ctx, &found, `DELETE FROM repo_upload WHERE namespace = $1 AND id = $2 RETURNING id`, ns, id)
	if err != nil {
		return nil, err
	}
	var blobs []string
	err = tx.SelectContext(ctx, &blobs, `DELETE FROM repo_part WHERE namespace = $1 AND upload = $2 RETURNING blob`, ns, id)
	return blobs, err
}

// partRow is one part of an upload, stored.
type partRow struct {
	Part int    `db:"part"`
	MD5  string `db:"md5"`
	Size int64  `db:"size"`
	Blob string `db:"blob"`
}

func (s store) parts(ctx context.Context, ns uptane.Namespace, upload string) ([]partRow, error) {
	var rows []partRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT part, md5, size, blob FROM repo_part WHERE namespace = $1 AND upload = $2 ORDER BY part`, ns, upload)
	return rows, err
}

// savePart enters a part of an upload that is still under way, and returns the
// blob of the same part sent before, "" if there was none.
func (s store) savePart(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, upload string, p partRow) (before string, err error) {
	var found string
	err = tx.GetContext(ctx, &found,
		`UPDATE repo_upload SET size = size WHERE namespace = $1 AND id = $2 RETURNING id`, ns, upload)
	if err != nil {
		return "", err
	}
	var blobs []string
	err = tx.SelectContext(ctx, &blobs,
		`DELETE FROM repo_part WHERE namespace = $1 AND upload = $2 AND part = $3 RETURNING blob`, ns, upload, p.Part)
	if err != nil {
		return "", err
	}
	if len(blobs) > 0 {
		before = blobs[0]
	}
	_, err = tx.ExecContext(ctx,
		`INSERT INTO repo_part (namespace, upload, part, md5, size, blob) VALUES ($1, $2, $3, $4, $5, $6)`,
		ns, upload, p.Part, p.MD5, p.Size, p.Blob)
	return before, err
}

// imageRow is an uploaded image.
type imageRow struct {
	Namespace uptane.Namespace `db:"namespace"`
	ID        string           `db:"id"`
	Filename  string           `db:"filename"`
	SHA256    string           `db:"sha256"`
	Length    int64            `db:"length"`
	Blob      string           `db:"blob"`
	CreatedAt int64            `db:"created_at"`
	CreatedBy string           `db:"created_by"`
	IdleSince int64            `db:"idle_since"`
}

// idle is the condition of images that no target names, neither a visible one
// nor one that TUF clients still see.
const idle = `idle_since > 0 AND NOT EXISTS (
	SELECT 1 FROM repo_tuf_target t WHERE t.namespace = repo_image.namespace AND t.image = repo_image.id)`

const imageColumns = `namespace, id, filename, sha256, length, blob, created_at, created_by, idle_since`

func (s store) addImage(ctx context.Context, tx *sqlx.Tx, i imageRow) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO repo_image (namespace, id, filename, sha256, length, blob, created_at, created_by, idle_since)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		i.Namespace, i.ID, i.Filename, i.SHA256, i.Length, i.Blob, i.CreatedAt, i.CreatedBy, i.IdleSince)
	return db.Err(err)
}

func (s store) image(ctx context.Context, ns uptane.Namespace, id string) (imageRow, error) {
	var row imageRow
	err := s.db.GetContext(ctx, &row, `SELECT `+imageColumns+` FROM repo_image WHERE namespace = $1 AND id = $2`, ns, id)
	return row, err
}

// imagesOf returns what was uploaded under these filenames, oldest first.
func (s store) imagesOf(ctx context.Context, ns uptane.Namespace, filenames []string) (map[string][]imageRow, error) {
	found := map[string][]imageRow{}
	for part := range slices.Chunk(filenames, chunk) {
		query, args, err := sqlx.In(
			`SELECT `+imageColumns+` FROM repo_image WHERE namespace = ? AND filename IN (?) ORDER BY created_at, id`, ns, part)
		if err != nil {
			return nil, err
		}
		var rows []imageRow
		if err := s.db.SelectContext(ctx, &rows, s.db.Rebind(query), args...); err != nil {
			return nil, err
		}
		for _, row := range rows {
			found[row.Filename] = append(found[row.Filename], row)
		}
	}
	return found, nil
}

// uploaded reports whether the bytes of a target are here.
func (s store) uploaded(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, t targetRow) (bool, error) {
	var n int
	err := tx.GetContext(ctx, &n,
		`SELECT count(*) FROM repo_image WHERE namespace = $1 AND filename = $2 AND sha256 = $3 AND length = $4`, ns, t.Filename, t.SHA256, t.Length)
	return n > 0, err
}

// idleImages returns a page of the uploads that no target names, oldest first.
func (s store) idleImages(ctx context.Context, ns uptane.Namespace, limit, offset int) ([]imageRow, error) {
	var rows []imageRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+imageColumns+` FROM repo_image WHERE namespace = $1 AND `+idle+`
		ORDER BY idle_since, id LIMIT $2 OFFSET $3`, ns, limit, offset)
	return rows, err
}

func (s store) countIdleImages(ctx context.Context, ns uptane.Namespace) (int64, error) {
	var n int64
	err := s.db.GetContext(ctx, &n, `SELECT count(*) FROM repo_image WHERE namespace = $1 AND `+idle, ns)
	return n, err
}

// oldImages returns uploads that no target has named since before a time, at
// most limit.
func (s store) oldImages(ctx context.Context, ns uptane.Namespace, before int64, limit int) ([]imageRow, error) {
	var rows []imageRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+imageColumns+` FROM repo_image WHERE namespace = $1 AND idle_since < $2 AND `+idle+`
		ORDER BY idle_since LIMIT $3`, ns, before, limit)
	return rows, err
}

// setIdle says since when no target names an image, 0 when one does, and
// returns db.ErrNoRows when the image is gone.
func (s store) setIdle(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, id string, since int64) error {
	var found string
	return tx.GetContext(ctx, &found,
		`UPDATE repo_image SET idle_since = $3 WHERE namespace = $1 AND id = $2 RETURNING id`, ns, id, since)
}

// dropImage forgets an image that is still idle; db.ErrNoRows when it is not.
func (s store) dropImage(ctx context.Context, i imageRow) error {
	var found []string
	err := s.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &found,
			`DELETE FROM repo_image WHERE namespace = $1 AND id = $2 AND idle_since = $3 RETURNING id`, i.Namespace, i.ID, i.IdleSince)
	})
	if err == nil && len(found) == 0 {
		return db.ErrNoRows
	}
	return err
}
