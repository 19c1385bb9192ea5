package director

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// assignmentRow is an image for one ECU. Target is JSON.
type assignmentRow struct {
	Device      uptane.DeviceID   `db:"device"`
	ID          string            `db:"id"`
	Serial      uptane.ECUSerial  `db:"serial"`
	HardwareID  uptane.HardwareID `db:"hardware_id"`
	Update      string            `db:"update_id"`
	Correlation string            `db:"correlation"`
	Filename    string            `db:"filename"`
	Target      string            `db:"target"`
	URI         string            `db:"uri"`
	Status      Status            `db:"status"`
	Open        bool              `db:"open"`
	Code        string            `db:"code"`
	Description string            `db:"description"`
	CreatedAt   int64             `db:"created_at"`
	CreatedBy   string            `db:"created_by"`
	OfferedAt   int64             `db:"offered_at"`
	EndedAt     int64             `db:"ended_at"`
}

const assignmentColumns = `device, id, serial, hardware_id, update_id, correlation, filename, target, uri, status, open,
	code, description, created_at, created_by, offered_at, ended_at`

const openQuery = `SELECT ` + assignmentColumns + ` FROM director_assignment
	WHERE namespace = $1 AND device = $2 AND open ORDER BY serial`

// openAssignments returns what a device still has to install, by serial.
func (s store) openAssignments(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID) ([]assignmentRow, error) {
	var rows []assignmentRow
	err := sqlx.SelectContext(ctx, q, &rows, openQuery, ns, device)
	return rows, err
}

// assignments returns a page of all assignments of a device, newest first.
func (s store) assignments(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, limit, offset int) ([]assignmentRow, error) {
	var rows []assignmentRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+assignmentColumns+` FROM director_assignment
		WHERE namespace = $1 AND device = $2 ORDER BY id DESC LIMIT $3 OFFSET $4`, ns, device, limit, offset)
	return rows, err
}

// updateAssignments returns a page of the assignments an update led to.
func (s store) updateAssignments(ctx context.Context, ns uptane.Namespace, update string, limit, offset int) ([]assignmentRow, error) {
	var rows []assignmentRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+assignmentColumns+` FROM director_assignment
		WHERE namespace = $1 AND update_id = $2 ORDER BY device, id LIMIT $3 OFFSET $4`, ns, update, limit, offset)
	return rows, err
}

// openDevices returns the devices on which an update is still open, and how
// many of its assignments devices have been told.
func (s store) openDevices(ctx context.Context, ns uptane.Namespace, update string) (told int, devices []uptane.DeviceID, err error) {
	var rows []struct {
		Device uptane.DeviceID `db:"device"`
		Told   int             `db:"told"`
	}
	err = s.db.SelectContext(ctx, &rows,
		`SELECT device, SUM(CASE WHEN offered_at <> 0 THEN 1 ELSE 0 END) AS told FROM director_assignment
		WHERE namespace = $1 AND update_id = $2 AND open GROUP BY device ORDER BY device`, ns, update)
	for _, r := range rows {
		told += r.Told
		devices = append(devices, r.Device)
	}
	return told, devices, err
}

// lastEnded returns how the newest ended assignment of a device ended, "" for
// a device that never had one.
func (s store) lastEnded(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID) (Status, error) {
	var ended []Status
	err := sqlx.SelectContext(ctx, q, &ended,
		`SELECT status FROM director_assignment WHERE namespace = $1 AND device = $2 AND NOT open
		ORDER BY ended_at DESC, id DESC LIMIT 1`, ns, device)
	if err != nil || len(ended) == 0 {
		return "", err
	}
	return ended[0], nil
}

func (s store) addAssignment(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, a assignmentRow) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO director_assignment (namespace, device, id, serial, hardware_id, update_id, correlation, filename,
			target, uri, status, open, created_at, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		ns, a.Device, a.ID, a.Serial, a.HardwareID, a.Update, a.Correlation, a.Filename,
		a.Target, a.URI, a.Status, a.Open, a.CreatedAt, a.CreatedBy)
	return err
}

// saveAssignment writes how far an assignment has come.
func (s store) saveAssignment(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, a assignmentRow) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE director_assignment SET status = $4, open = $5, code = $6, description = $7, offered_at = $8, ended_at = $9
		WHERE namespace = $1 AND device = $2 AND id = $3`,
		ns, a.Device, a.ID, a.Status, a.Open, a.Code, a.Description, a.OfferedAt, a.EndedAt)
	return err
}
