package director

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// known tells whether there is a row for a device, with ECUs or without.
func (s store) known(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID) (bool, error) {
	var n int
	err := sqlx.GetContext(ctx, q, &n,
		`SELECT COUNT(*) FROM director_device WHERE namespace = $1 AND device = $2`, ns, device)
	return n > 0, err
}

// retireECUs makes a device have no ECUs; their serials may bring any key.
func (s store) retireECUs(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE director_ecu SET active = FALSE, key = '', key_id = '', approved_key = ''
		WHERE namespace = $1 AND device = $2`, ns, device)
	return err
}

// registeredDevices is shared by the page and the count of it. $2 is the
// hardware id of the Primary, ” for any.
const registeredDevices = ` FROM director_device d
	WHERE d.namespace = $1 AND d.primary_serial <> '' AND ($2 = '' OR EXISTS (SELECT 1 FROM director_ecu e
		WHERE e.namespace = d.namespace AND e.device = d.device AND e.serial = d.primary_serial AND e.hardware_id = $2))`

func (s store) devices(ctx context.Context, ns uptane.Namespace, primary uptane.HardwareID, limit, offset int) ([]deviceRow, int, error) {
	var total int
	if err := s.db.GetContext(ctx, &total, `SELECT COUNT(*)`+registeredDevices, ns, primary); err != nil {
		return nil, 0, err
	}
	var rows []deviceRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+deviceColumns+registeredDevices+` ORDER BY created_at, device LIMIT $3 OFFSET $4`, ns, primary, limit, offset)
	return rows, total, err
}

// ecuOfDevice is an ECU with the serial of its device's Primary.
type ecuOfDevice struct {
	ecuRow
	Primary uptane.ECUSerial `db:"primary_serial"`
}

func (s store) allECUs(ctx context.Context, ns uptane.Namespace, limit, offset int) ([]ecuOfDevice, int, error) {
	var total int
	err := s.db.GetContext(ctx, &total, `SELECT COUNT(*) FROM director_ecu WHERE namespace = $1 AND active`, ns)
	if err != nil {
		return nil, 0, err
	}
	var rows []ecuOfDevice
	err = s.db.SelectContext(ctx, &rows,
		`SELECT e.device, e.serial, e.hardware_id, e.key, e.key_id, e.approved_key, e.active, e.registered_at,
			e.filename, e.sha256, e.length, e.installed_at, e.attacks, d.primary_serial
		FROM director_ecu e JOIN director_device d ON d.namespace = e.namespace AND d.device = e.device
		WHERE e.namespace = $1 AND e.active ORDER BY e.device, e.serial LIMIT $2 OFFSET $3`, ns, limit, offset)
	return rows, total, err
}

func (s store) hardwareIDs(ctx context.Context, ns uptane.Namespace, limit, offset int) ([]uptane.HardwareID, int, error) {
	var total int
	err := s.db.GetContext(ctx, &total,
		`SELECT COUNT(DISTINCT hardware_id) FROM director_ecu WHERE namespace = $1 AND active`, ns)
	if err != nil {
		return nil, 0, err
	}
	var ids []uptane.HardwareID
	err = s.db.SelectContext(ctx, &ids,
		`SELECT DISTINCT hardware_id FROM director_ecu
		WHERE namespace = $1 AND active ORDER BY hardware_id LIMIT $2 OFFSET $3`, ns, limit, offset)
	return ids, total, err
}

// installed counts the ECUs that run a file.
func (s store) installed(ctx context.Context, ns uptane.Namespace, filename string) (int, error) {
	var n int
	err := s.db.GetContext(ctx, &n,
		`SELECT COUNT(*) FROM director_ecu WHERE namespace = $1 AND filename = $2 AND active AND installed_at <> 0`, ns, filename)
	return n, err
}

// hardwareWithSecondaries returns the hardware ids of all ECUs of devices that
// have more than one.
func (s store) hardwareWithSecondaries(ctx context.Context, ns uptane.Namespace) ([]uptane.HardwareID, error) {
	var ids []uptane.HardwareID
	err := s.db.SelectContext(ctx, &ids,
		`SELECT DISTINCT e.hardware_id FROM director_ecu e
		JOIN director_device d ON d.namespace = e.namespace AND d.device = e.device
		WHERE e.namespace = $1 AND e.active AND d.primary_serial <> '' AND EXISTS (SELECT 1 FROM director_ecu o
			WHERE o.namespace = e.namespace AND o.device = e.device AND o.active AND o.serial <> e.serial)
		ORDER BY e.hardware_id`, ns)
	return ids, err
}
