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
