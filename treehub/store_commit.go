package treehub

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// commitRecord is a row of treehub_commit and whether its object is complete.
type commitRecord struct {
	Checksum    string `db:"checksum"`
	Parent      string `db:"parent"`
	Subject     string `db:"subject"`
	CommittedAt int64  `db:"committed_at"`
	PushedAt    int64  `db:"pushed_at"`
	PushedBy    string `db:"pushed_by"`
	Objects     int64  `db:"objects"`
	Size        int64  `db:"size"`
	Complete    bool   `db:"complete"`
}

// addCommit is given a commit that has just been entered. A row that is there
// already belongs to an upload of the same commit whose object was deleted.
func (s store) addCommit(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, c commitRecord) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO treehub_commit
			(namespace, checksum, parent, subject, committed_at, pushed_at, pushed_by, objects, size)
		VALUES ($1, $2, $3, $4, $5, $6, $7, -1, -1)
		ON CONFLICT (namespace, checksum) DO UPDATE
		SET pushed_at = excluded.pushed_at, pushed_by = excluded.pushed_by, objects = -1, size = -1`,
		ns, c.Checksum, c.Parent, c.Subject, c.CommittedAt, c.PushedAt, c.PushedBy)
	return err
}

// commits returns limit commits after offset, the last pushed first.
func (s store) commits(ctx context.Context, ns uptane.Namespace, offset, limit int) ([]commitRecord, error) {
	var rows []commitRecord
	err := s.db.SelectContext(ctx, &rows, `
		SELECT c.checksum, c.parent, c.subject, c.committed_at, c.pushed_at, c.pushed_by, c.objects, c.size,
			o.lacks = 0 AS complete
		FROM treehub_commit c
		JOIN treehub_object o ON o.namespace = c.namespace AND o.name = c.checksum || '.commit'
		WHERE c.namespace = $1
		ORDER BY c.pushed_at DESC, c.checksum DESC LIMIT $2 OFFSET $3`, ns, limit, offset)
	return rows, err
}

// commit returns db.ErrNoRows for a commit that was never pushed.
func (s store) commit(ctx context.Context, ns uptane.Namespace, commit ostree.Checksum) (commitRecord, error) {
	var row commitRecord
	err := s.db.GetContext(ctx, &row, `
		SELECT c.checksum, c.parent, c.subject, c.committed_at, c.pushed_at, c.pushed_by, c.objects, c.size,
			o.lacks = 0 AS complete
		FROM treehub_commit c
		JOIN treehub_object o ON o.namespace = c.namespace AND o.name = c.checksum || '.commit'
		WHERE c.namespace = $1 AND c.checksum = $2`, ns, commit.String())
	return row, err
}

func (s store) countCommits(ctx context.Context, ns uptane.Namespace) (n int, err error) {
	err = s.db.GetContext(ctx, &n, `SELECT count(*) FROM treehub_commit WHERE namespace = $1`, ns)
	return n, err
}

func (s store) setMeasure(ctx context.Context, ns uptane.Namespace, checksum string, objects, size int64) error {
	_, err := s.db.ExecContext(ctx, `
		UPDATE treehub_commit SET objects = $3, size = $4
		WHERE namespace = $1 AND checksum = $2`, ns, checksum, objects, size)
	return err
}

// refRecord is a row of treehub_ref.
type refRecord struct {
	Name      string `db:"name"`
	Checksum  string `db:"checksum"`
	UpdatedAt int64  `db:"updated_at"`
	UpdatedBy string `db:"updated_by"`
}

// setRef points a ref to a commit if the ref is new, points there already, or
// points to parent; with force always. moved is false if none of this holds.
func (s store) setRef(ctx context.Context, ns uptane.Namespace, r refRecord, parent string, force bool) (moved bool, err error) {
	res, err := s.db.ExecContext(ctx, `
		INSERT INTO treehub_ref (namespace, name, checksum, updated_at, updated_by)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (namespace, name) DO UPDATE
		SET checksum = excluded.checksum, updated_at = excluded.updated_at, updated_by = excluded.updated_by
		WHERE $7 OR treehub_ref.checksum = excluded.checksum OR treehub_ref.checksum = $6`,
		ns, r.Name, r.Checksum, r.UpdatedAt, r.UpdatedBy, parent, force)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

func (s store) ref(ctx context.Context, ns uptane.Namespace, name string) (refRecord, error) {
	var row refRecord
	err := s.db.GetContext(ctx, &row, `
		SELECT name, checksum, updated_at, updated_by FROM treehub_ref
		WHERE namespace = $1 AND name = $2`, ns, name)
	return row, err
}

func (s store) refs(ctx context.Context, ns uptane.Namespace, offset, limit int) ([]refRecord, error) {
	var rows []refRecord
	err := s.db.SelectContext(ctx, &rows, `
		SELECT name, checksum, updated_at, updated_by FROM treehub_ref
		WHERE namespace = $1 ORDER BY name LIMIT $2 OFFSET $3`, ns, limit, offset)
	return rows, err
}

func (s store) countRefs(ctx context.Context, ns uptane.Namespace) (n int, err error) {
	err = s.db.GetContext(ctx, &n, `SELECT count(*) FROM treehub_ref WHERE namespace = $1`, ns)
	return n, err
}

// refsTo returns the names of the refs that point to each of commits.
func (s store) refsTo(ctx context.Context, ns uptane.Namespace, commits []string) (map[string][]string, error) {
	if len(commits) == 0 {
		return nil, nil
	}
	query, args, err := sqlx.In(`
		SELECT name, checksum, updated_at, updated_by FROM treehub_ref
		WHERE namespace = ? AND checksum IN (?) ORDER BY name`, ns, commits)
	if err != nil {
		return nil, err
	}
	var rows []refRecord
	if err := s.db.SelectContext(ctx, &rows, s.db.Rebind(query), args...); err != nil {
		return nil, err
	}
	names := make(map[string][]string)
	for _, r := range rows {
		names[r.Checksum] = append(names[r.Checksum], r.Name)
	}
	return names, nil
}

func (s store) setManifest(ctx context.Context, ns uptane.Namespace, commit ostree.Checksum, doc string, at int64) error {
	_, err := s.db.ExecContext(ctx, `
		INSERT INTO treehub_manifest (namespace, checksum, document, updated_at)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (namespace, checksum) DO UPDATE
		SET document = excluded.document, updated_at = excluded.updated_at`, ns, commit.String(), doc, at)
	return err
}

func (s store) manifest(ctx context.Context, ns uptane.Namespace, commit ostree.Checksum) (string, error) {
	var doc string
	err := s.db.GetContext(ctx, &doc, `
		SELECT document FROM treehub_manifest WHERE namespace = $1 AND checksum = $2`, ns, commit.String())
	return doc, db.Err(err)
}
