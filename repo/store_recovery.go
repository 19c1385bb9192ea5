package repo

import (
	"context"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// floors is what holds of a repository after a backup was restored; all zero
// where none ever was.
type floors struct {
	Recovering   bool   `db:"recovering"`    // what devices show is taken note of
	Floor        int    `db:"version_floor"` // of snapshots and timestamps
	TargetsFloor int    `db:"targets_floor"` // targets that exist; 0 none known
	ShownBy      string `db:"targets_shown_by"`
}

const floorColumns = `recovering, version_floor, targets_floor, targets_shown_by`

// setFloors writes all of them and tells every replica.
func (s store) setFloors(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, f floors) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE repo_repository SET recovering = $2, version_floor = $3, targets_floor = $4, targets_shown_by = $5,
			generation = generation + 1
		WHERE namespace = $1`, ns, f.Recovering, f.Floor, f.TargetsFloor, f.ShownBy)
	return err
}
