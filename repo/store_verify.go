package repo

import (
	"context"
	"slices"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// pushesAfter returns the next pushes in the order of their ids, staged ones too.
func (s store) pushesAfter(ctx context.Context, ns uptane.Namespace, after string, limit int) ([]pushRow, error) {
	var rows []pushRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+pushColumns+` FROM repo_push WHERE namespace = $1 AND id > $2 ORDER BY id LIMIT $3`, ns, after, limit)
	return rows, err
}

// pushVersions returns the version of every push by its id.
func (s store) pushVersions(ctx context.Context, ns uptane.Namespace) (map[string]int, error) {
	var rows []pushRow
	err := s.db.SelectContext(ctx, &rows, `SELECT id, version FROM repo_push WHERE namespace = $1`, ns)
	versions := make(map[string]int, len(rows))
	for _, r := range rows {
		versions[r.ID] = r.Version
	}
	return versions, err
}

// storedDocument is a document, void ones too.
type storedDocument struct {
	documentRow
	Void bool `db:"void"`
}

// after returns the next documents of a role in the order of their versions.
func (s documents) after(ctx context.Context, role uptane.Role, version, limit int) ([]storedDocument, error) {
	var rows []storedDocument
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+documentColumns+`, void FROM repo_document
		WHERE namespace = $1 AND flavour = $2 AND role = $3 AND version > $4 ORDER BY version LIMIT $5`,
		s.ns, s.flavour, role, version, limit)
	return rows, err
}

// twins returns the published TUF documents of targets.
func (s store) twins(ctx context.Context, ns uptane.Namespace) ([]twinRow, error) {
	var rows []twinRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT digest, version, document, created_at, published_at FROM repo_twin
		WHERE namespace = $1 AND role = $2 AND published_at > 0 ORDER BY version`, ns, uptane.RoleTargets)
	return rows, err
}

// publishedPush returns the push of that version that was published.
func (s store) publishedPush(ctx context.Context, ns uptane.Namespace, version int) (pushRow, error) {
	var row pushRow
	err := s.db.GetContext(ctx, &row,
		`SELECT `+pushColumns+` FROM repo_push WHERE namespace = $1 AND version = $2 AND published_at > 0`, ns, version)
	return row, err
}

// tufTargetRow is an image that the TUF document of the visible push lists.
type tufTargetRow struct {
	Filename string `db:"filename"`
	SHA256   string `db:"sha256"`
	Image    string `db:"image"`
}

func (s store) tufTargets(ctx context.Context, ns uptane.Namespace) ([]tufTargetRow, error) {
	var rows []tufTargetRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT filename, sha256, image FROM repo_tuf_target WHERE namespace = $1 ORDER BY filename`, ns)
	return rows, err
}

// imagesAfter returns the next uploaded images in the order of their ids.
func (s store) imagesAfter(ctx context.Context, ns uptane.Namespace, after string, limit int) ([]imageRow, error) {
	var rows []imageRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+imageColumns+` FROM repo_image WHERE namespace = $1 AND id > $2 ORDER BY id LIMIT $3`, ns, after, limit)
	return rows, err
}

// partOf is a part and the upload it belongs to.
type partOf struct {
	Upload string `db:"upload"`
	partRow
}

func (s store) allParts(ctx context.Context, ns uptane.Namespace) ([]partOf, error) {
	var rows []partOf
	err := s.db.SelectContext(ctx, &rows,
		`SELECT upload, part, md5, size, blob FROM repo_part WHERE namespace = $1 ORDER BY upload, part`, ns)
	return rows, err
}

// hasBlob tells whether a row still names a blob.
func (s store) hasBlob(ctx context.Context, key string) (bool, error) {
	named, err := s.named(ctx, []string{key})
	return named[key], err
}

// named returns which of the keys images or parts name.
func (s store) named(ctx context.Context, keys []string) (map[string]bool, error) {
	found := make(map[string]bool, len(keys))
	for part := range slices.Chunk(keys, chunk) {
		query, args, err := sqlx.In(
			`SELECT blob FROM repo_image WHERE blob IN (?) UNION ALL SELECT blob FROM repo_part WHERE blob IN (?)`, part, part)
		if err != nil {
			return nil, err
		}
		var rows []string
		if err := s.db.SelectContext(ctx, &rows, s.db.Rebind(query), args...); err != nil {
			return nil, err
		}
		for _, key := range rows {
			found[key] = true
		}
	}
	return found, nil
}

// blobs returns the keys of all blobs that rows name.
func (s store) blobs(ctx context.Context) ([]string, error) {
	var keys []string
	err := s.db.SelectContext(ctx, &keys, `SELECT blob FROM repo_image UNION ALL SELECT blob FROM repo_part ORDER BY blob`)
	return keys, err
}
