package director

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// raiseFloors puts each device's versions so many above its highest one since a
// root, its floor and now, and makes what is signed be written anew. Devices that
// register later begin above all of them.
func (s store) raiseFloors(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, since int, now, by int64) error {
	// Versions above the bound only a thief can have made; no floor is above them.
	_, err := tx.ExecContext(ctx,
		`UPDATE director_device SET epoch = epoch + 1, version_floor = CAST($4 AS BIGINT) + (
			SELECT MAX(v) FROM (
				SELECT CAST($3 AS BIGINT) AS v
				UNION ALL SELECT director_device.version_floor
				UNION ALL SELECT version FROM director_document m
					WHERE m.namespace = director_device.namespace AND m.device = director_device.device
						AND m.root_version >= $2 AND m.version <= $5) known)
		WHERE namespace = $1`, ns, since, now, by, now+farAhead)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx,
		`INSERT INTO director_recovery (namespace, version_floor)
		SELECT $1, MAX(v) FROM (
			SELECT CAST($2 AS BIGINT) AS v
			UNION ALL SELECT version_floor FROM director_device WHERE namespace = $1
			UNION ALL SELECT version_floor + $3 FROM director_recovery WHERE namespace = $1) known
		WHERE true
		ON CONFLICT (namespace) DO UPDATE SET version_floor = excluded.version_floor`, ns, now+by, by)
	return err
}

// farAhead is more than versions can honestly be ahead of the clock, in minutes.
const farAhead = 10 * 365 * 24 * 60

// devicesWithOpen returns the devices that have something to install.
func (s store) devicesWithOpen(ctx context.Context, ns uptane.Namespace) ([]uptane.DeviceID, error) {
	var list []uptane.DeviceID
	err := s.db.SelectContext(ctx, &list,
		`SELECT DISTINCT device FROM director_assignment WHERE namespace = $1 AND open ORDER BY device`, ns)
	return list, err
}

// raiseFirst is where devices that register later begin at least.
func (s store) raiseFirst(ctx context.Context, ns uptane.Namespace, floor int64) error {
	_, err := s.db.ExecContext(ctx,
		`INSERT INTO director_recovery (namespace, version_floor) VALUES ($1, $2)
		ON CONFLICT (namespace) DO UPDATE SET version_floor = excluded.version_floor
		WHERE director_recovery.version_floor < excluded.version_floor`, ns, floor)
	return err
}
