package keys

import (
	"context"
	"crypto"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// store is the SQL of the vault: this file has sealing keys, stamps, the
// record and the audit; its sisters have roots and certificates.
type store struct{ db *db.DB }

// newID returns a UUIDv7.
func newID() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}

func (s store) lastSealingKey(ctx context.Context) (n int64, err error) {
	err = s.db.GetContext(ctx, &n, `SELECT COALESCE(MAX(number), 0) FROM sealing_key`)
	return n, err
}

func (s store) sealingKey(ctx context.Context, number int64) (wrapped []byte, err error) {
	err = s.db.GetContext(ctx, &wrapped, `SELECT wrapped FROM sealing_key WHERE number = $1`, number)
	return wrapped, err
}

// addSealingKey does nothing where that number exists.
func (s store) addSealingKey(ctx context.Context, number int64, wrapped []byte, now time.Time) error {
	_, err := s.db.ExecContext(ctx,
		`INSERT INTO sealing_key (number, wrapped, created) VALUES ($1, $2, $3) ON CONFLICT (number) DO NOTHING`,
		number, wrapped, now.UnixMilli())
	return err
}

func (s store) stamps(ctx context.Context, ns uptane.Namespace) (map[string]string, error) {
	var rows []struct {
		Name  string `db:"name"`
		Stamp string `db:"stamp"`
	}
	err := s.db.SelectContext(ctx, &rows, `SELECT name, stamp FROM keys_stamp WHERE namespace = $1`, ns)
	words := make(map[string]string, len(rows))
	for _, r := range rows {
		words[r.Name] = r.Stamp
	}
	return words, err
}

func (s store) renewStamp(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, name string) error {
	stamp, err := newID()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx,
		`INSERT INTO keys_stamp (namespace, name, stamp) VALUES ($1, $2, $3)
		ON CONFLICT (namespace, name) DO UPDATE SET stamp = excluded.stamp`, ns, name, stamp)
	return err
}

// claimKey enters what a public key is for, and reports whether it is for
// that indeed.
func (s store) claimKey(ctx context.Context, tx *sqlx.Tx, k roleKey, now time.Time) (bool, error) {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO public_key_use (key_id, namespace, repository, role, created)
		VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key_id) DO NOTHING`,
		k.Key.ID(), k.Namespace, k.Repository, k.Role, now.UnixMilli())
	if err != nil {
		return false, err
	}
	var n int
	err = tx.GetContext(ctx, &n,
		`SELECT COUNT(*) FROM public_key_use WHERE key_id = $1 AND namespace = $2 AND repository = $3 AND role = $4`,
		k.Key.ID(), k.Namespace, k.Repository, k.Role)
	return n == 1, err
}

func (s store) addOnlineKey(ctx context.Context, tx *sqlx.Tx, k roleKey, box sealed, now time.Time) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO online_key (namespace, key_id, repository, role, spki, sealed, sealing_key, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		k.Namespace, k.Key.ID(), k.Repository, k.Role, k.Key.SPKI(), box.Bytes, box.Number, now.UnixMilli())
	return err
}

// onlineKeyRow is a sealed private key and its place.
type onlineKeyRow struct {
	Role uptane.Role `db:"role"`
	SPKI []byte      `db:"spki"`
	sealed
}

func (s store) onlineKeys(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, repo uptane.Repository) ([]onlineKeyRow, error) {
	var rows []onlineKeyRow
	err := sqlx.SelectContext(ctx, q, &rows,
		`SELECT role, spki, sealed, sealing_key FROM online_key
		WHERE namespace = $1 AND repository = $2 ORDER BY created, key_id`, ns, repo)
	return rows, err
}

// use is one use of one key.
type use struct {
	Job    uptane.Job
	KeyID  uptane.KeyID
	SHA256 string
	Signed time.Time
	Clock  int64
}

// addRecord enters r unless the root is no longer the one of the job: added
// is false then.
func (s store) addRecord(ctx context.Context, x sqlx.ExecerContext, r use) (added bool, err error) {
	id, err := newID()
	if err != nil {
		return false, err
	}
	res, err := x.ExecContext(ctx,
		`INSERT INTO signature_record (id, namespace, repository, role, key_id, root_version, message_sha256, signed, clock)
		SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT),
			CAST($6 AS BIGINT), CAST($7 AS TEXT), CAST($8 AS BIGINT), CAST($9 AS BIGINT)
		WHERE (SELECT MAX(version) FROM root WHERE namespace = $2 AND repository = $3) = $6`,
		id, r.Job.Namespace, r.Job.Repository, r.Job.Role, r.KeyID,
		r.Job.RootVersion, r.SHA256, r.Signed.UnixMilli(), r.Clock)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// clockState returns how often the clock was accepted and the time of the
// last signature since, which waits for the sealer or was sealed before.
func (s store) clockState(ctx context.Context) (number, last int64, err error) {
	var row struct {
		Clock   int64 `db:"clock"`
		Waiting int64 `db:"waiting"`
		Sealed  int64 `db:"sealed"`
	}
	err = s.db.GetContext(ctx, &row, `SELECT c.clock AS clock,
			COALESCE((SELECT MAX(signed) FROM signature_record WHERE clock = c.clock AND batch IS NULL), 0) AS waiting,
			COALESCE((SELECT last_signed FROM record_tree WHERE id = 1 AND last_clock = c.clock), 0) AS sealed
		FROM (SELECT COALESCE(MAX(clock), 0) AS clock FROM signature_clock) c`)
	return row.Clock, max(row.Waiting, row.Sealed), err
}

func (s store) acceptClock(ctx context.Context, tx *sqlx.Tx, number int64, now time.Time) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO signature_clock (clock, accepted) VALUES ($1, $2)`, number, now.UnixMilli())
	return err
}

func (s store) addAct(ctx context.Context, x sqlx.ExecerContext, a Act) error {
	_, err := x.ExecContext(ctx,
		`INSERT INTO audit (id, namespace, created, actor, action, detail) VALUES ($1, $2, $3, $4, $5, $6)`,
		a.ID, a.Namespace, a.At.UnixMilli(), a.Actor, a.Action, a.Detail)
	return err
}

type actRow struct {
	Act
	Created int64 `db:"created"`
}

func (s store) acts(ctx context.Context, ns uptane.Namespace, before string, limit int) ([]actRow, error) {
	var rows []actRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT id, namespace, created, actor, action, detail FROM audit
		WHERE namespace = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3`, ns, before, limit)
	return rows, err
}

// roleKey is a public key and what it is for.
type roleKey struct {
	Namespace  uptane.Namespace
	Repository uptane.Repository
	Role       uptane.Role
	Key        uptane.Key
}

// onlineSigner is an opened private key.
type onlineSigner struct {
	key    uptane.Key
	signer crypto.Signer
	uri    string // in a token or key service, else ""
}
