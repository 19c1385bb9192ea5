package director

import (
	"context"

	"sealift/uptane"
)

// namespaces returns every namespace that has a device.
func (s store) namespaces(ctx context.Context) ([]uptane.Namespace, error) {
	var list []uptane.Namespace
	err := s.db.SelectContext(ctx, &list,
		`SELECT namespace FROM director_device UNION SELECT namespace FROM director_document
		UNION SELECT namespace FROM director_update ORDER BY namespace`)
	return list, err
}

// devicesAfter returns the next devices in the order of their ids, also those
// without ECUs.
func (s store) devicesAfter(ctx context.Context, ns uptane.Namespace, after uptane.DeviceID, limit int) ([]deviceRow, error) {
	var rows []deviceRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+deviceColumns+` FROM director_device WHERE namespace = $1 AND device > $2 ORDER BY device LIMIT $3`, ns, after, limit)
	return rows, err
}

// documentsOf returns all documents of a device, by role and version.
func (s store) documentsOf(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) ([]documentRow, error) {
	var rows []documentRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+documentColumns+` FROM director_document WHERE namespace = $1 AND device = $2 ORDER BY role, version`, ns, device)
	return rows, err
}

// allAssignments returns everything that a device ever had to install.
func (s store) allAssignments(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) ([]assignmentRow, error) {
	var rows []assignmentRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+assignmentColumns+` FROM director_assignment WHERE namespace = $1 AND device = $2 ORDER BY id`, ns, device)
	return rows, err
}

// strayDocument is a row of documents whose device is not known.
type strayDocument struct {
	Device uptane.DeviceID `db:"device"`
	N      int             `db:"n"`
}

func (s store) strayDocuments(ctx context.Context, ns uptane.Namespace) ([]strayDocument, error) {
	var rows []strayDocument
	err := s.db.SelectContext(ctx, &rows,
		`SELECT m.device, count(*) AS n FROM director_document m
		LEFT JOIN director_device d ON d.namespace = m.namespace AND d.device = m.device
		WHERE m.namespace = $1 AND d.device IS NULL GROUP BY m.device ORDER BY m.device`, ns)
	return rows, err
}

// storedReport is an installation report as it was kept.
type storedReport struct {
	Digest string `db:"digest"`
	Report string `db:"report"`
}

func (s store) reportsOf(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) ([]storedReport, error) {
	var rows []storedReport
	err := s.db.SelectContext(ctx, &rows,
		`SELECT digest, report FROM director_report WHERE namespace = $1 AND device = $2 ORDER BY digest`, ns, device)
	return rows, err
}

// keyOwners returns the device that each key of a device's ECUs is bound to.
func (s store) keyOwners(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) (map[uptane.KeyID]uptane.DeviceID, error) {
	var rows []struct {
		KeyID  uptane.KeyID    `db:"key_id"`
		Device uptane.DeviceID `db:"device"`
	}
	err := s.db.SelectContext(ctx, &rows,
		`SELECT k.key_id, k.device FROM director_ecu e JOIN director_ecu_key k ON k.namespace = e.namespace AND k.key_id = e.key_id
		WHERE e.namespace = $1 AND e.device = $2 AND e.key_id <> ''`, ns, device)
	owners := make(map[uptane.KeyID]uptane.DeviceID, len(rows))
	for _, r := range rows {
		owners[r.KeyID] = r.Device
	}
	return owners, err
}
