package keys

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// recoveryRow is a namespace after a restored backup.
type recoveryRow struct {
	BackupAt   int64  `db:"backup_at"`
	RestoredAt int64  `db:"restored_at"`
	EndedAt    *int64 `db:"ended_at"`
}

// lasts tells whether it has begun and not been ended.
func (r recoveryRow) lasts() bool { return r.RestoredAt > 0 && r.EndedAt == nil }

// recovery returns an empty row where no backup was ever restored.
func (s store) recovery(ctx context.Context, ns uptane.Namespace) (row recoveryRow, err error) {
	err = s.db.GetContext(ctx, &row, `SELECT backup_at, restored_at, ended_at FROM recovery WHERE namespace = $1`, ns)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	return row, err
}

func (s store) beginRecovery(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, backup, now time.Time) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO recovery (namespace, backup_at, restored_at) VALUES ($1, $2, $3)
		ON CONFLICT (namespace) DO UPDATE SET backup_at = excluded.backup_at, restored_at = excluded.restored_at, ended_at = NULL`,
		ns, backup.UnixMilli(), now.UnixMilli())
	return err
}

// holdRecovery locks a recovery for the rest of the transaction, and reports
// whether it lasts.
func (s store) holdRecovery(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace) (bool, error) {
	n, err := affected(tx.ExecContext(ctx, `UPDATE recovery SET ended_at = ended_at WHERE namespace = $1 AND ended_at IS NULL`, ns))
	return n == 1, err
}

// endRecovery also forgets what was known of elsewhere.
func (s store) endRecovery(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, now time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE recovery SET ended_at = $2 WHERE namespace = $1 AND ended_at IS NULL`, ns, now.UnixMilli())
	if err == nil {
		_, err = tx.ExecContext(ctx, `DELETE FROM root_floor WHERE namespace = $1`, ns)
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, `DELETE FROM lost_certificate WHERE namespace = $1`, ns)
	}
	return err
}

// floorRow is the highest root that is known to exist.
type floorRow struct {
	Repository uptane.Repository `db:"repository"`
	Version    int               `db:"version"`
	ShownBy    string            `db:"shown_by"`
	ShownAt    int64             `db:"shown_at"`
}

// rootFloor returns version 0 where none is known.
func (s store) rootFloor(ctx context.Context, ns uptane.Namespace, repo uptane.Repository) (row floorRow, err error) {
	err = s.db.GetContext(ctx, &row,
		`SELECT repository, version, shown_by, shown_at FROM root_floor WHERE namespace = $1 AND repository = $2`, ns, repo)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	return row, err
}

// raiseRootFloor reports whether it was lower.
func (s store) raiseRootFloor(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, f floorRow) (bool, error) {
	n, err := affected(tx.ExecContext(ctx,
		`INSERT INTO root_floor (namespace, repository, version, shown_by, shown_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (namespace, repository) DO UPDATE
		SET version = excluded.version, shown_by = excluded.shown_by, shown_at = excluded.shown_at
		WHERE root_floor.version < excluded.version`, ns, f.Repository, f.Version, f.ShownBy, f.ShownAt))
	return n == 1, err
}

// lostRow is a certificate that is not in the table.
type lostRow struct {
	Fingerprint string       `db:"fingerprint"`
	OEMID       uptane.OEMID `db:"oemid"`
	Issuer      string       `db:"issuer"`
	Certificate []byte       `db:"certificate"`
	FirstSeen   int64        `db:"first_seen"`
	LastSeen    int64        `db:"last_seen"`
}

const lostColumns = `SELECT fingerprint, oemid, issuer, certificate, first_seen, last_seen FROM lost_certificate `

// addLost notes a certificate, and when it was seen last, to a minute.
func (s store) addLost(ctx context.Context, ns uptane.Namespace, issuer, fingerprint string, leaf *x509.Certificate, now time.Time) error {
	_, err := s.db.ExecContext(ctx,
		`INSERT INTO lost_certificate (fingerprint, namespace, oemid, issuer, certificate, first_seen, last_seen)
		VALUES ($1, $2, $3, $4, $5, $6, $6)
		ON CONFLICT (fingerprint) DO UPDATE SET last_seen = excluded.last_seen WHERE lost_certificate.last_seen < $7`,
		fingerprint, ns, leaf.Subject.CommonName, issuer, leaf.Raw, now.UnixMilli(), now.Add(-time.Minute).UnixMilli())
	return err
}

func (s store) lost(ctx context.Context, ns uptane.Namespace, fingerprint string) (row lostRow, err error) {
	err = s.db.GetContext(ctx, &row, lostColumns+`WHERE namespace = $1 AND fingerprint = $2`, ns, fingerprint)
	return row, db.Err(err)
}

// lostAfter returns the next of them in the order of their fingerprints.
func (s store) lostAfter(ctx context.Context, ns uptane.Namespace, after string, limit int) (rows []lostRow, err error) {
	err = s.db.SelectContext(ctx, &rows,
		lostColumns+`WHERE namespace = $1 AND fingerprint > $2 ORDER BY fingerprint LIMIT $3`, ns, after, limit)
	return rows, err
}

func (s store) countLost(ctx context.Context, ns uptane.Namespace) (n int, err error) {
	err = s.db.GetContext(ctx, &n, `SELECT count(*) FROM lost_certificate WHERE namespace = $1`, ns)
	return n, err
}

func (s store) dropLost(ctx context.Context, tx *sqlx.Tx, fingerprint string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM lost_certificate WHERE fingerprint = $1`, fingerprint)
	return err
}

// newestOf returns when the newest certificate of a device in the table begins,
// 0 if it has none.
func (s store) newestOf(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID) (ms int64, err error) {
	err = tx.GetContext(ctx, &ms,
		`SELECT COALESCE(MAX(not_before), 0) FROM certificate WHERE namespace = $1 AND device = $2 AND kind = 'device'`, ns, device)
	return ms, err
}
