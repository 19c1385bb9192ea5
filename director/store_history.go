package director

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// reportRow is an installation report. Report is JSON.
type reportRow struct {
	Digest      string
	Correlation string
	Success     bool
	Code        string
	Description string
	Report      string
}

// reportKnown tells whether exactly this report was received before.
func (s store) reportKnown(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID, digest string) (bool, error) {
	var n int
	err := sqlx.GetContext(ctx, q, &n,
		`SELECT COUNT(*) FROM director_report WHERE namespace = $1 AND device = $2 AND digest = $3`, ns, device, digest)
	return n > 0, err
}

func (s store) saveReport(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, r reportRow, now int64) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO director_report (namespace, device, digest, correlation, success, code, description, report, received_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (namespace, device, digest) DO UPDATE SET received_at = excluded.received_at`,
		ns, device, r.Digest, r.Correlation, r.Success, r.Code, r.Description, r.Report, now)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx,
		`DELETE FROM director_report WHERE namespace = $1 AND device = $2 AND digest IN (SELECT digest FROM director_report
			WHERE namespace = $1 AND device = $2 ORDER BY received_at DESC, digest LIMIT $3 OFFSET $4)`,
		ns, device, atOnce, keptReports)
	return err
}

// What is kept of what a device itself causes: it must not be able to fill
// the database. atOnce bounds what one statement deletes.
const (
	keptReports = 100
	keptEntries = 200
	atOnce      = 100
)

// forgetEntries drops the oldest of what the device itself caused. What people
// did stays.
func (s store) forgetEntries(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, device uptane.DeviceID) error {
	_, err := q.ExecContext(ctx,
		`DELETE FROM director_history WHERE namespace = $1 AND device = $2 AND id IN (SELECT id FROM director_history
			WHERE namespace = $1 AND device = $2 AND actor = $3 ORDER BY id DESC LIMIT $4 OFFSET $5)`,
		ns, device, byDevice, atOnce, keptEntries)
	return err
}

type historyRow struct {
	ID     string `db:"id"`
	At     int64  `db:"at"`
	Actor  string `db:"actor"`
	Action string `db:"action"`
	Detail string `db:"detail"`
}

func (s store) addHistory(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, device uptane.DeviceID, h historyRow) error {
	_, err := q.ExecContext(ctx,
		`INSERT INTO director_history (namespace, device, id, at, actor, action, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		ns, device, h.ID, h.At, h.Actor, h.Action, h.Detail)
	return err
}

// history returns a page of what happened to a device, newest first.
func (s store) history(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, limit, offset int) ([]historyRow, error) {
	var rows []historyRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT id, at, actor, action, detail FROM director_history
		WHERE namespace = $1 AND device = $2 ORDER BY id DESC LIMIT $3 OFFSET $4`, ns, device, limit, offset)
	return rows, err
}
