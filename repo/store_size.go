package repo

import (
	"context"

	"sealift/uptane"
)

// delegatedSize is how large the visible metadata of a delegated role are.
type delegatedSize struct {
	Role  uptane.Role `db:"role"`
	Bytes int         `db:"bytes"`
}

// delegatedSizes returns those that are at least so large.
func (s store) delegatedSizes(ctx context.Context, ns uptane.Namespace, least int) ([]delegatedSize, error) {
	var rows []delegatedSize
	err := s.db.SelectContext(ctx, &rows,
		`SELECT d.role, length(m.document) AS bytes FROM repo_delegation d
			JOIN repo_delegated m ON m.namespace = d.namespace AND m.role = d.role AND m.version = d.version
		WHERE d.namespace = $1 AND length(m.document) >= $2 ORDER BY d.role`, ns, least)
	return rows, err
}
