package treehub

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// store holds the statements about objects. Those that take a tx belong into
// one transaction with their neighbours; the others stand alone.
type store struct{ db *db.DB }

// chunk bounds the rows of one statement: both engines limit placeholders.
const chunk = 500

// object is a row of treehub_object.
type object struct {
	Name       string `db:"name"`
	Generation string `db:"generation"`
	Size       int64  `db:"size"`
	Lacks      int64  `db:"lacks"`
	StoredAt   int64  `db:"stored_at"`
}

func (o object) stored() bool   { return o.Generation != "" }
func (o object) complete() bool { return o.Lacks == 0 }

// object returns db.ErrNoRows for a name nobody ever mentioned.
func (s store) object(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, name ostree.ObjectName) (object, error) {
	var o object
	err := sqlx.GetContext(ctx, q, &o, `
		SELECT name, generation, size, lacks FROM treehub_object
		WHERE namespace = $1 AND name = $2`, ns, name.String())
	return o, err
}

// complete returns which of names are complete.
func (s store) complete(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, names []string) (map[string]bool, error) {
	found := make(map[string]bool, len(names))
	for part := range slices.Chunk(names, chunk) {
		query, args, err := sqlx.In(`
			SELECT name FROM treehub_object
			WHERE namespace = ? AND lacks = 0 AND name IN (?)`, ns, part)
		if err != nil {
			return nil, err
		}
		var rows []string
		if err := sqlx.SelectContext(ctx, q, &rows, s.db.Rebind(query), args...); err != nil {
			return nil, err
		}
		for _, name := range rows {
			found[name] = true
		}
	}
	return found, nil
}

// enter makes the row of an object whose blob is in the bucket, or fills the
// row that a parent made, and locks it. It returns db.ErrExists if the object
// was stored before.
func (s store) enter(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, o object) error {
	var name string
	err := tx.GetContext(ctx, &name, `
		INSERT INTO treehub_object (namespace, name, generation, size, lacks, stored_at)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (namespace, name) DO UPDATE
		SET generation = excluded.generation, size = excluded.size, lacks = excluded.lacks, stored_at = excluded.stored_at
		WHERE treehub_object.generation = ''
		RETURNING name`, ns, o.Name, o.Generation, o.Size, o.Lacks, o.StoredAt)
	if errors.Is(err, sql.ErrNoRows) {
		return db.ErrExists
	}
	return err
}

// replace is enter for an object that may be written again. It returns the
// generation before, "" if there was none.
func (s store) replace(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, o object) (before string, err error) {
	err = s.enter(ctx, tx, ns, o)
	if !errors.Is(err, db.ErrExists) {
		return "", err
	}
	// The row is locked by an UPDATE that changes nothing: PostgreSQL would
	// let another replace come between the reading and the writing.
	err = tx.GetContext(ctx, &before, `
		UPDATE treehub_object SET size = size
		WHERE namespace = $1 AND name = $2 RETURNING generation`, ns, o.Name)
	if err != nil {
		return "", err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE treehub_object SET generation = $3, size = $4, stored_at = $5
		WHERE namespace = $1 AND name = $2`, ns, o.Name, o.Generation, o.Size, o.StoredAt)
	return before, err
}

// want locks the rows of names, making those that are absent, and returns
// which of them are incomplete. Whoever completes one of them afterwards waits
// for tx and then sees the edges of tx. names must be sorted, so that two
// transactions lock in the same order.
func (s store) want(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, names []string) (map[string]bool, error) {
	incomplete := make(map[string]bool, len(names))
	for part := range slices.Chunk(names, chunk) {
		args := []any{ns}
		var rows []string
		for _, name := range part {
			args = append(args, name)
			rows = append(rows, fmt.Sprintf("($1, $%d, '', 0, 1, 0)", len(args)))
		}
		var found []object
		err := tx.SelectContext(ctx, &found, `
			INSERT INTO treehub_object (namespace, name, generation, size, lacks, stored_at)
			VALUES `+strings.Join(rows, ", ")+`
			ON CONFLICT (namespace, name) DO UPDATE SET lacks = treehub_object.lacks
			RETURNING name, lacks`, args...)
		if err != nil {
			return nil, err
		}
		for _, o := range found {
			if !o.complete() {
				incomplete[o.Name] = true
			}
		}
	}
	return incomplete, nil
}

// link stores the edges from parent to children; those to a child in waiting
// are the ones finish will follow.
func (s store) link(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, parent string, children []string, waiting map[string]bool) error {
	for part := range slices.Chunk(children, chunk) {
		args := []any{ns, parent}
		var rows []string
		for _, child := range part {
			args = append(args, child, waiting[child])
			rows = append(rows, fmt.Sprintf("($1, $2, $%d, $%d)", len(args)-1, len(args)))
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO treehub_edge (namespace, parent, child, waiting)
			VALUES `+strings.Join(rows, ", "), args...)
		if err != nil {
			return err
		}
	}
	return nil
}

// settle says how many children name lacks.
func (s store) settle(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, name string, lacks int) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE treehub_object SET lacks = $3 WHERE namespace = $1 AND name = $2`, ns, name, lacks)
	return err
}

// release takes the mark off the edges that wait for child, which has just
// become complete, and returns the parents they come from.
func (s store) release(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, child string) ([]string, error) {
	var parents []string
	err := tx.SelectContext(ctx, &parents, `
		UPDATE treehub_edge SET waiting = FALSE
		WHERE namespace = $1 AND child = $2 AND waiting
		RETURNING parent`, ns, child)
	slices.Sort(parents)
	return parents, err
}

// advance says that name lacks one child less, and returns how many are left.
func (s store) advance(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, name string) (lacks int, err error) {
	err = tx.GetContext(ctx, &lacks, `
		UPDATE treehub_object SET lacks = lacks - 1
		WHERE namespace = $1 AND name = $2 RETURNING lacks`, ns, name)
	return lacks, err
}

// gaps returns the names of objects below root that are referred to and not
// stored, at most limit of them, in order. CROSS JOIN makes SQLite take the
// tables in this order; else it reads all edges again for each object.
func (s store) gaps(ctx context.Context, ns uptane.Namespace, root string, limit int) ([]string, error) {
	var names []string
	err := s.db.SelectContext(ctx, &names, `
		WITH RECURSIVE below(name) AS (
			SELECT child FROM treehub_edge WHERE namespace = $1 AND parent = $2 AND waiting
			UNION
			SELECT e.child FROM below b CROSS JOIN treehub_edge e
			WHERE e.namespace = $1 AND e.parent = b.name AND e.waiting
		)
		SELECT o.name FROM below b CROSS JOIN treehub_object o
		WHERE o.namespace = $1 AND o.name = b.name AND o.generation = ''
		ORDER BY o.name LIMIT $3`, ns, root, limit)
	return names, err
}

// measure counts the closure of root and its stored bytes.
func (s store) measure(ctx context.Context, ns uptane.Namespace, root string) (objects, size int64, err error) {
	var sum struct {
		Objects int64 `db:"objects"`
		Size    int64 `db:"size"`
	}
	err = s.db.GetContext(ctx, &sum, `
		WITH RECURSIVE closure(name) AS (
			SELECT CAST($2 AS TEXT)
			UNION
			SELECT e.child FROM closure c CROSS JOIN treehub_edge e
			WHERE e.namespace = $1 AND e.parent = c.name
		)
		SELECT count(*) AS objects, CAST(COALESCE(sum(o.size), 0) AS BIGINT) AS size
		FROM closure c CROSS JOIN treehub_object o
		WHERE o.namespace = $1 AND o.name = c.name`, ns, root)
	return sum.Objects, sum.Size, err
}
