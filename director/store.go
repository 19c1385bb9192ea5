package director

import (
	"context"
	"embed"
	"slices"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

//go:embed schema
var schema embed.FS

// store holds the statements about devices and their ECUs. A method that
// takes a transaction is part of a change; the others are lone reads.
type store struct{ db *db.DB }

// deviceRow is a device without its ECUs.
type deviceRow struct {
	Device       uptane.DeviceID  `db:"device"`
	OEMID        uptane.OEMID     `db:"oemid"`
	Primary      uptane.ECUSerial `db:"primary_serial"`
	Registration int64            `db:"registration"`
	Epoch        int64            `db:"epoch"`
	Document     int64            `db:"document"`
	Counter      int64            `db:"counter"`
	Manifest     string           `db:"manifest"`
	ManifestAt   int64            `db:"manifest_at"`
	CreatedAt    int64            `db:"created_at"`
	Floor        int64            `db:"version_floor"` // of documents, after a backup was restored
}

const deviceColumns = `device, oemid, primary_serial, registration, epoch, document, counter, manifest, manifest_at, created_at,
	version_floor`

func (s store) device(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) (deviceRow, error) {
	var row deviceRow
	err := s.db.GetContext(ctx, &row,
		`SELECT `+deviceColumns+` FROM director_device WHERE namespace = $1 AND device = $2`, ns, device)
	return row, db.Err(err)
}

func (s store) registered(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID) (bool, error) {
	var n int
	err := sqlx.GetContext(ctx, q, &n,
		`SELECT COUNT(*) FROM director_device WHERE namespace = $1 AND device = $2 AND primary_serial <> ''`, ns, device)
	return n > 0, err
}

// lock takes the device's row until the transaction ends and returns it.
func (s store) lock(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID) (deviceRow, error) {
	var row deviceRow
	err := tx.GetContext(ctx, &row,
		`UPDATE director_device SET epoch = epoch WHERE namespace = $1 AND device = $2 RETURNING `+deviceColumns, ns, device)
	return row, db.Err(err)
}

// addDevice inserts a device without ECUs unless it is there. It may have seen
// versions that a restored backup does not know.
func (s store) addDevice(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, oemid uptane.OEMID, now int64) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO director_device (namespace, device, oemid, primary_serial, registration, epoch, created_at, version_floor)
		VALUES ($1, $2, $3, '', 0, 0, $4, COALESCE((SELECT version_floor FROM director_recovery WHERE namespace = $1), 0))
		ON CONFLICT DO NOTHING`, ns, device, oemid, now)
	return err
}

// saveDevice writes what row says about registration, epoch and replay.
func (s store) saveDevice(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, row deviceRow) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE director_device SET oemid = $3, primary_serial = $4, registration = $5, epoch = $6,
			document = $7, counter = $8, manifest = $9, manifest_at = $10
		WHERE namespace = $1 AND device = $2`,
		ns, row.Device, row.OEMID, row.Primary, row.Registration, row.Epoch,
		row.Document, row.Counter, row.Manifest, row.ManifestAt)
	return err
}

// ecuRow is an ECU and what it last reported.
type ecuRow struct {
	Device       uptane.DeviceID   `db:"device"`
	Serial       uptane.ECUSerial  `db:"serial"`
	HardwareID   uptane.HardwareID `db:"hardware_id"`
	Key          string            `db:"key"`
	KeyID        uptane.KeyID      `db:"key_id"`
	ApprovedKey  uptane.KeyID      `db:"approved_key"`
	Active       bool              `db:"active"`
	RegisteredAt int64             `db:"registered_at"`
	Filename     string            `db:"filename"`
	SHA256       string            `db:"sha256"`
	Length       int64             `db:"length"`
	InstalledAt  int64             `db:"installed_at"`
	Attacks      string            `db:"attacks"`
}

const ecuColumns = `device, serial, hardware_id, key, key_id, approved_key, active, registered_at,
	filename, sha256, length, installed_at, attacks`

const ecuQuery = `SELECT ` + ecuColumns + ` FROM director_ecu WHERE namespace = $1 AND device = $2 AND (active OR $3) ORDER BY serial`

// ecus returns the active ECUs of a device, by serial; all of them, also
// those it no longer has, when all is set.
func (s store) ecus(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID, all bool) ([]ecuRow, error) {
	var rows []ecuRow
	err := sqlx.SelectContext(ctx, q, &rows, ecuQuery, ns, device, all)
	return rows, err
}

func (s store) saveECU(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, e ecuRow) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO director_ecu (namespace, device, serial, hardware_id, key, key_id, approved_key, active, registered_at,
			filename, sha256, length, installed_at, attacks)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (namespace, device, serial) DO UPDATE SET hardware_id = excluded.hardware_id, key = excluded.key,
			key_id = excluded.key_id, approved_key = excluded.approved_key, active = excluded.active,
			registered_at = excluded.registered_at, filename = excluded.filename, sha256 = excluded.sha256,
			length = excluded.length, installed_at = excluded.installed_at, attacks = excluded.attacks`,
		ns, e.Device, e.Serial, e.HardwareID, e.Key, e.KeyID, e.ApprovedKey, e.Active, e.RegisteredAt,
		e.Filename, e.SHA256, e.Length, e.InstalledAt, e.Attacks)
	return err
}

// bindKey enters a public key for a device unless it belongs to one already,
// and returns to which it belongs.
func (s store) bindKey(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, key uptane.KeyID, device uptane.DeviceID) (uptane.DeviceID, error) {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO director_ecu_key (namespace, key_id, device) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, ns, key, device)
	if err != nil {
		return "", err
	}
	var owner uptane.DeviceID
	err = tx.GetContext(ctx, &owner,
		`SELECT device FROM director_ecu_key WHERE namespace = $1 AND key_id = $2`, ns, key)
	return owner, err
}

// sightingRows is how many rows one statement has for sightings, always.
const sightingRows = 16

var sightingsQuery = `WITH seen (namespace, device, registration, counter, manifest, manifest_at) AS (` +
	db.Values(sightingRows, "TEXT", "TEXT", "BIGINT", "BIGINT", "TEXT", "BIGINT") + `)
	UPDATE director_device SET counter = seen.counter, manifest = seen.manifest, manifest_at = seen.manifest_at
	FROM seen
	WHERE director_device.namespace = seen.namespace AND director_device.device = seen.device
		AND director_device.registration = seen.registration AND director_device.manifest_at <= seen.manifest_at
		AND director_device.counter <= seen.counter`

// saveSightings writes the counters of manifests that changed nothing. A row
// that was registered anew or has a later manifest is left alone.
func (s store) saveSightings(ctx context.Context, batch []sighting) error {
	return s.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		for part := range slices.Chunk(batch, sightingRows) {
			args := make([]any, 0, sightingRows*6)
			for i := range sightingRows {
				x := part[min(i, len(part)-1)]
				args = append(args, x.ns, x.device, x.registration, x.counter, x.digest, x.at)
			}
			if _, err := tx.ExecContext(ctx, sightingsQuery, args...); err != nil {
				return err
			}
		}
		return nil
	})
}
