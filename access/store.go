package access

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// store holds the SQL of this package.
type store struct{ db *db.DB }

// row is a token as it is stored.
type row struct {
	Namespace uptane.Namespace `db:"namespace"`
	ID        string           `db:"id"`
	Name      string           `db:"name"`
	Scopes    string           `db:"scopes"`
	SHA256    string           `db:"sha256"`
	Created   int64            `db:"created_at"`
	Expires   int64            `db:"expires_at"`
	Revoked   int64            `db:"revoked_at"`
	LastUsed  int64            `db:"last_used"`
}

func (r row) token() Token {
	return Token{
		Namespace: r.Namespace, ID: r.ID, Name: r.Name, Scopes: splitScopes(r.Scopes),
		Created: fromMilli(r.Created), Expires: fromMilli(r.Expires), Revoked: fromMilli(r.Revoked), LastUsed: fromMilli(r.LastUsed),
	}
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func toMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func (s store) addNamespace(ctx context.Context, ns uptane.Namespace, now time.Time) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO access_namespace (namespace, created_at) VALUES ($1, $2)`, ns, toMilli(now))
	return db.Err(err)
}

func (s store) hasNamespace(ctx context.Context, ns uptane.Namespace) (bool, error) {
	var n int
	err := s.db.GetContext(ctx, &n, `SELECT count(*) FROM access_namespace WHERE namespace = $1`, ns)
	return n > 0, err
}

func (s store) namespaces(ctx context.Context) ([]uptane.Namespace, error) {
	var list []uptane.Namespace
	err := s.db.SelectContext(ctx, &list, `SELECT namespace FROM access_namespace ORDER BY namespace`)
	return list, err
}

func (s store) addToken(ctx context.Context, tx *sqlx.Tx, t Token, sum string) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO access_token (namespace, id, name, scopes, sha256, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		t.Namespace, t.ID, t.Name, joinScopes(t.Scopes), sum, toMilli(t.Created), toMilli(t.Expires))
	return err
}

func (s store) countTokens(ctx context.Context, ns uptane.Namespace) (n int, err error) {
	err = s.db.GetContext(ctx, &n, `SELECT count(*) FROM access_token WHERE namespace = $1`, ns)
	return n, err
}

// tokens: ids are UUIDv7, so their order is that of creation.
func (s store) tokens(ctx context.Context, ns uptane.Namespace, offset, limit int) ([]Token, error) {
	var rows []row
	err := s.db.SelectContext(ctx, &rows, `
		SELECT namespace, id, name, scopes, sha256, created_at, expires_at, revoked_at, last_used
		FROM access_token WHERE namespace = $1 ORDER BY id DESC LIMIT $2 OFFSET $3`, ns, limit, offset)
	list := make([]Token, len(rows))
	for i := range rows {
		list[i] = rows[i].token()
	}
	return list, err
}

// tokenNames are the names of those of ids that there are, by id.
func (s store) tokenNames(ctx context.Context, ns uptane.Namespace, ids []string) (map[string]string, error) {
	query, given, err := sqlx.In(`SELECT id, name FROM access_token WHERE namespace = ? AND id IN (?)`, ns, ids)
	if err != nil {
		return nil, err
	}
	var rows []struct {
		ID   string `db:"id"`
		Name string `db:"name"`
	}
	err = s.db.SelectContext(ctx, &rows, s.db.Rebind(query), given...)
	names := map[string]string{}
	for _, r := range rows {
		names[r.ID] = r.Name
	}
	return names, err
}

// token is the one question asked without a namespace: the answer is where
// the namespace comes from.
func (s store) token(ctx context.Context, id string) (t Token, sum string, err error) {
	var r row
	err = s.db.GetContext(ctx, &r, `
		SELECT namespace, id, name, scopes, sha256, created_at, expires_at, revoked_at, last_used
		FROM access_token WHERE id = $1`, id)
	return r.token(), r.SHA256, err
}

// revoke keeps the time of the first revocation and fails with db.ErrNoRows
// when there is no such token.
func (s store) revoke(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, id string, now time.Time) error {
	res, err := tx.ExecContext(ctx, `
		UPDATE access_token SET revoked_at = CASE WHEN revoked_at = 0 THEN $1 ELSE revoked_at END
		WHERE namespace = $2 AND id = $3`, toMilli(now), ns, id)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return db.ErrNoRows
	}
	return nil
}

func (s store) markUsed(ctx context.Context, ns uptane.Namespace, id string, now time.Time) error {
	_, err := s.db.ExecContext(ctx, `
		UPDATE access_token SET last_used = $1 WHERE namespace = $2 AND id = $3 AND last_used < $1`, toMilli(now), ns, id)
	return err
}

func (s store) addExchange(ctx context.Context, ns uptane.Namespace, token, sum string, expires time.Time) error {
	_, err := s.db.ExecContext(ctx, `
		INSERT INTO access_exchange (namespace, sha256, token, expires_at) VALUES ($1, $2, $3, $4)`,
		ns, sum, token, toMilli(expires))
	return err
}

func (s store) dropExchanges(ctx context.Context, ns uptane.Namespace, now time.Time) error {
	_, err := s.db.ExecContext(ctx, `DELETE FROM access_exchange WHERE namespace = $1 AND expires_at <= $2`, ns, toMilli(now))
	return err
}

// exchanged returns the API token behind an access token and when the access
// token expires.
func (s store) exchanged(ctx context.Context, sum string) (Token, time.Time, error) {
	var r struct {
		row
		Until int64 `db:"until"`
	}
	err := s.db.GetContext(ctx, &r, `
		SELECT t.namespace, t.id, t.name, t.scopes, t.sha256, t.created_at, t.expires_at, t.revoked_at, t.last_used,
			e.expires_at AS until
		FROM access_exchange e JOIN access_token t ON t.namespace = e.namespace AND t.id = e.token
		WHERE e.sha256 = $1`, sum)
	return r.token(), fromMilli(r.Until), err
}
