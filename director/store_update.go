package director

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

type updateRow struct {
	ID          string `db:"id"`
	Name        string `db:"name"`
	Correlation string `db:"correlation"`
	CreatedAt   int64  `db:"created_at"`
	CreatedBy   string `db:"created_by"`
}

// updateTargetRow is what one hardware id gets. Target is JSON.
type updateTargetRow struct {
	Update       string            `db:"update_id"`
	HardwareID   uptane.HardwareID `db:"hardware_id"`
	Filename     string            `db:"filename"`
	Target       string            `db:"target"`
	URI          string            `db:"uri"`
	FromFilename string            `db:"from_filename"`
	FromSHA256   string            `db:"from_sha256"`
}

func (r updateTargetRow) updateTarget() (UpdateTarget, error) {
	to, err := storedImage(r.Filename, r.Target)
	t := UpdateTarget{To: to, URI: r.URI}
	if r.FromFilename != "" {
		t.From = &Image{Filename: r.FromFilename, SHA256: r.FromSHA256}
	}
	return t, err
}

func (s store) addUpdate(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, u Update, targets []updateTargetRow) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO director_update (namespace, id, name, correlation, created_at, created_by)
		VALUES ($1, $2, $3, $4, $5, $6)`, ns, u.ID, u.Name, u.Correlation, u.CreatedAt.UnixMilli(), u.CreatedBy)
	if err != nil {
		return err
	}
	for _, t := range targets {
		if err := s.addUpdateTarget(ctx, tx, ns, t); err != nil {
			return err
		}
	}
	return nil
}

func (s store) addUpdateTarget(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, t updateTargetRow) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO director_update_target (namespace, update_id, hardware_id, filename, target, uri, from_filename, from_sha256)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		ns, t.Update, t.HardwareID, t.Filename, t.Target, t.URI, t.FromFilename, t.FromSHA256)
	return err
}

// update returns an update whole.
func (s store) update(ctx context.Context, ns uptane.Namespace, id string) (Update, error) {
	var row updateRow
	err := s.db.GetContext(ctx, &row,
		`SELECT id, name, correlation, created_at, created_by FROM director_update WHERE namespace = $1 AND id = $2`, ns, id)
	if err != nil {
		return Update{}, db.Err(err)
	}
	return s.fill(ctx, ns, row)
}

// updates returns a page of updates, newest first, and how many there are.
func (s store) updates(ctx context.Context, ns uptane.Namespace, limit, offset int) ([]Update, int, error) {
	var total int
	err := s.db.GetContext(ctx, &total, `SELECT COUNT(*) FROM director_update WHERE namespace = $1`, ns)
	if err != nil {
		return nil, 0, err
	}
	var rows []updateRow
	err = s.db.SelectContext(ctx, &rows,
		`SELECT id, name, correlation, created_at, created_by FROM director_update
		WHERE namespace = $1 ORDER BY id DESC LIMIT $2 OFFSET $3`, ns, limit, offset)
	if err != nil {
		return nil, 0, err
	}
	list := make([]Update, len(rows))
	for i, row := range rows {
		if list[i], err = s.fill(ctx, ns, row); err != nil {
			return nil, 0, err
		}
	}
	return list, total, nil
}

// fill adds targets and counts to an update.
func (s store) fill(ctx context.Context, ns uptane.Namespace, row updateRow) (Update, error) {
	u := Update{
		ID: row.ID, Name: row.Name, Correlation: row.Correlation, CreatedBy: row.CreatedBy,
		CreatedAt: time.UnixMilli(row.CreatedAt), Targets: map[uptane.HardwareID]UpdateTarget{},
	}
	targets, err := s.updateTargets(ctx, ns, row.ID)
	if err != nil {
		return u, err
	}
	for _, t := range targets {
		if u.Targets[t.HardwareID], err = t.updateTarget(); err != nil {
			return u, err
		}
	}
	u.Counts, err = s.updateCounts(ctx, ns, row.ID)
	return u, err
}

func (s store) updateTargets(ctx context.Context, ns uptane.Namespace, id string) ([]updateTargetRow, error) {
	var rows []updateTargetRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT update_id, hardware_id, filename, target, uri, from_filename, from_sha256
		FROM director_update_target WHERE namespace = $1 AND update_id = $2 ORDER BY hardware_id`, ns, id)
	return rows, err
}

// updateCounts returns how many assignments of an update are in which status.
func (s store) updateCounts(ctx context.Context, ns uptane.Namespace, id string) (map[Status]int, error) {
	var rows []struct {
		Status Status `db:"status"`
		N      int    `db:"n"`
	}
	err := s.db.SelectContext(ctx, &rows,
		`SELECT status, COUNT(*) AS n FROM director_assignment
		WHERE namespace = $1 AND update_id = $2 GROUP BY status`, ns, id)
	counts := map[Status]int{}
	for _, r := range rows {
		counts[r.Status] = r.N
	}
	return counts, err
}
