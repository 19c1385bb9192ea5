package repo

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// remoteRow is where metadata of a role are fetched from.
type remoteRow struct {
	Role         uptane.Role `db:"role"`
	URI          string      `db:"uri"`
	Headers      []byte      `db:"headers"`
	FriendlyName string      `db:"friendly_name"`
	FetchedAt    int64       `db:"fetched_at"`
}

func (r remoteRow) remote() Remote {
	out := Remote{URI: r.URI, FriendlyName: r.FriendlyName}
	if r.FetchedAt > 0 {
		out.FetchedAt = time.UnixMilli(r.FetchedAt).UTC()
	}
	return out
}

func (s store) remotes(ctx context.Context, ns uptane.Namespace) (map[uptane.Role]remoteRow, error) {
	var rows []remoteRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT role, uri, headers, friendly_name, fetched_at FROM repo_remote WHERE namespace = $1`, ns)
	found := make(map[uptane.Role]remoteRow, len(rows))
	for _, row := range rows {
		found[row.Role] = row
	}
	return found, err
}

// nameRole changes what people call a role that somebody delegates to, and nothing
// else. It reports whether anybody does.
func (s store) nameRole(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role, name string) (bool, error) {
	done, err := tx.ExecContext(ctx,
		`INSERT INTO repo_remote (namespace, role, friendly_name)
		SELECT namespace, role, $3 FROM repo_delegation WHERE namespace = $1 AND role = $2 AND parent <> ''
		ON CONFLICT (namespace, role) DO UPDATE SET friendly_name = excluded.friendly_name`, ns, role, name)
	return affected(done, err)
}

// fetchedRemote says when metadata came from an address, unless it is another now.
func (s store) fetchedRemote(ctx context.Context, ns uptane.Namespace, r remoteRow) error {
	_, err := s.db.ExecContext(ctx,
		`UPDATE repo_remote SET fetched_at = $4 WHERE namespace = $1 AND role = $2 AND uri = $3`, ns, r.Role, r.URI, r.FetchedAt)
	return err
}

// saveRemote keeps it of a role that somebody delegates to, and reports whether
// anybody does.
func (s store) saveRemote(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, r remoteRow) (bool, error) {
	done, err := tx.ExecContext(ctx,
		`INSERT INTO repo_remote (namespace, role, uri, headers, friendly_name, fetched_at)
		SELECT namespace, role, $3, $4, $5, $6 FROM repo_delegation WHERE namespace = $1 AND role = $2 AND parent <> ''
		ON CONFLICT (namespace, role) DO UPDATE SET uri = excluded.uri, headers = excluded.headers,
			friendly_name = excluded.friendly_name, fetched_at = excluded.fetched_at`,
		ns, r.Role, r.URI, r.Headers, r.FriendlyName, r.FetchedAt)
	return affected(done, err)
}

func (s store) dropRemote(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, role uptane.Role) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM repo_remote WHERE namespace = $1 AND role = $2`, ns, role)
	return err
}
