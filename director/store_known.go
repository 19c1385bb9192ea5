package director

import (
	"context"
	"strings"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// knownRow is an ECU with its device.
type knownRow struct {
	Device deviceRow `db:"d"`
	ECU    ecuRow    `db:"e"`
	Open   int       `db:"open"` // assignments of the device
}

// knownQuery is all that an idle manifest asks the database.
var knownQuery = `SELECT ` + columnsOf("d", deviceColumns) + `, ` + columnsOf("e", ecuColumns) + `,
		(SELECT COUNT(*) FROM director_assignment a WHERE a.namespace = d.namespace AND a.device = d.device AND a.open) AS open
	FROM director_device d JOIN director_ecu e ON e.namespace = d.namespace AND e.device = d.device
	WHERE d.namespace = $1 AND d.device = $2 AND d.primary_serial <> '' AND e.active ORDER BY e.serial`

// columnsOf names the columns of one of several tables so that they end up in
// the field of that name.
func columnsOf(table, columns string) string {
	var list []string
	for name := range strings.SplitSeq(columns, ",") {
		name = table + "." + strings.TrimSpace(name)
		list = append(list, name+` AS "`+name+`"`)
	}
	return strings.Join(list, ", ")
}

// withECUs returns a device with its active ECUs, by serial, at one moment, or no
// rows where it has none.
func (s store) withECUs(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID) ([]knownRow, error) {
	var rows []knownRow
	err := sqlx.SelectContext(ctx, q, &rows, knownQuery, ns, device)
	return rows, err
}

// advance writes epoch, counter and manifest of a device, and with that takes its
// lock, if it is still the one that was read. It tells whether it was.
func (s store) advance(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, read, to deviceRow) (bool, error) {
	res, err := tx.ExecContext(ctx,
		`UPDATE director_device SET epoch = $3, counter = $4, manifest = $5, manifest_at = $6
		WHERE namespace = $1 AND device = $2 AND registration = $7 AND epoch = $8 AND document = $9
			AND counter = $10 AND manifest = $11 AND manifest_at = $12`,
		ns, read.Device, to.Epoch, to.Counter, to.Manifest, to.ManifestAt,
		read.Registration, read.Epoch, read.Document, read.Counter, read.Manifest, read.ManifestAt)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// saveInstalled writes what an ECU has reported.
func (s store) saveInstalled(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, e ecuRow) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE director_ecu SET filename = $4, sha256 = $5, length = $6, installed_at = $7, attacks = $8
		WHERE namespace = $1 AND device = $2 AND serial = $3`,
		ns, e.Device, e.Serial, e.Filename, e.SHA256, e.Length, e.InstalledAt, e.Attacks)
	return err
}
