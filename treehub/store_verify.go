package treehub

import (
	"context"
	"slices"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// namespaces returns every namespace that has a row of any kind.
func (s store) namespaces(ctx context.Context) ([]uptane.Namespace, error) {
	var list []uptane.Namespace
	err := s.db.SelectContext(ctx, &list, `
		SELECT namespace FROM treehub_object UNION SELECT namespace FROM treehub_commit
		UNION SELECT namespace FROM treehub_ref UNION SELECT namespace FROM treehub_manifest
		UNION SELECT namespace FROM treehub_edge ORDER BY namespace`)
	return list, err
}

// objectsAfter returns the next rows in the order of their names.
func (s store) objectsAfter(ctx context.Context, ns uptane.Namespace, after string, limit int) ([]object, error) {
	var rows []object
	err := s.db.SelectContext(ctx, &rows, `
		SELECT name, generation, size, lacks, stored_at FROM treehub_object
		WHERE namespace = $1 AND name > $2 ORDER BY name LIMIT $3`, ns, after, limit)
	return rows, err
}

// edgeRecord is an edge with what the rows of both its ends say at that moment.
type edgeRecord struct {
	Parent     string  `db:"parent"`
	Child      string  `db:"child"`
	Waiting    bool    `db:"waiting"`
	Generation *string `db:"generation"` // of the parent; nil without a row
	Lacks      *int64  `db:"lacks"`      // of the parent
	ChildLacks *int64  `db:"child_lacks"`
}

const edgeQuery = `
	SELECT e.parent, e.child, e.waiting, p.generation, p.lacks, c.lacks AS child_lacks
	FROM treehub_edge e
	LEFT JOIN treehub_object p ON p.namespace = e.namespace AND p.name = e.parent
	LEFT JOIN treehub_object c ON c.namespace = e.namespace AND c.name = e.child `

// edgesOf returns the edges from parents, by parent and child.
func (s store) edgesOf(ctx context.Context, ns uptane.Namespace, parents []string) (map[string][]edgeRecord, error) {
	found := map[string][]edgeRecord{}
	for part := range slices.Chunk(parents, chunk) {
		query, args, err := sqlx.In(edgeQuery+`WHERE e.namespace = ? AND e.parent IN (?) ORDER BY e.parent, e.child`, ns, part)
		if err != nil {
			return nil, err
		}
		var rows []edgeRecord
		if err := s.db.SelectContext(ctx, &rows, s.db.Rebind(query), args...); err != nil {
			return nil, err
		}
		for _, r := range rows {
			found[r.Parent] = append(found[r.Parent], r)
		}
	}
	return found, nil
}

// strayEdges returns edges whose parent is not stored or whose child has no row.
func (s store) strayEdges(ctx context.Context, ns uptane.Namespace) ([]edgeRecord, error) {
	var rows []edgeRecord
	err := s.db.SelectContext(ctx, &rows,
		edgeQuery+`WHERE e.namespace = $1 AND (p.name IS NULL OR p.generation = '' OR c.name IS NULL) ORDER BY e.parent, e.child`, ns)
	return rows, err
}

// generations returns the generation of those of names that have a row.
func (s store) generations(ctx context.Context, ns uptane.Namespace, names []string) (map[string]string, error) {
	found := map[string]string{}
	for part := range slices.Chunk(names, chunk) {
		query, args, err := sqlx.In(`SELECT name, generation FROM treehub_object WHERE namespace = ? AND name IN (?)`, ns, part)
		if err != nil {
			return nil, err
		}
		var rows []object
		if err := s.db.SelectContext(ctx, &rows, s.db.Rebind(query), args...); err != nil {
			return nil, err
		}
		for _, r := range rows {
			found[r.Name] = r.Generation
		}
	}
	return found, nil
}

// badCommits returns the commits whose object is not stored.
func (s store) badCommits(ctx context.Context, ns uptane.Namespace) ([]string, error) {
	var sums []string
	err := s.db.SelectContext(ctx, &sums, `
		SELECT c.checksum FROM treehub_commit c
		LEFT JOIN treehub_object o ON o.namespace = c.namespace AND o.name = c.checksum || '.commit'
		WHERE c.namespace = $1 AND (o.name IS NULL OR o.generation = '') ORDER BY c.checksum`, ns)
	return sums, err
}

// badRefs returns the refs whose commit is not complete.
func (s store) badRefs(ctx context.Context, ns uptane.Namespace) ([]refRecord, error) {
	var rows []refRecord
	err := s.db.SelectContext(ctx, &rows, `
		SELECT r.name, r.checksum, r.updated_at, r.updated_by FROM treehub_ref r
		LEFT JOIN treehub_object o ON o.namespace = r.namespace AND o.name = r.checksum || '.commit'
		WHERE r.namespace = $1 AND (o.name IS NULL OR o.lacks <> 0) ORDER BY r.name`, ns)
	return rows, err
}
