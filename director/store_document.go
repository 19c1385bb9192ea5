package director

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// documentRow is one version of one role of a device. Document is nil until
// the row is sealed.
type documentRow struct {
	Device      uptane.DeviceID `db:"device"`
	Role        uptane.Role     `db:"role"`
	Version     int64           `db:"version"`
	RootVersion int64           `db:"root_version"`
	Epoch       int64           `db:"epoch"`
	Payload     []byte          `db:"payload"`
	Document    []byte          `db:"document"`
	Void        bool            `db:"void"`
	CreatedAt   int64           `db:"created_at"`
	Expires     int64           `db:"expires"`
	Capped      bool            `db:"capped"`
	Correlation string          `db:"correlation"`
	Assignments string          `db:"assignments"`
}

const documentColumns = `device, role, version, root_version, epoch, payload, document, void, created_at, expires, capped,
	correlation, assignments`

// served is what one poll reads: the device, and its newest document of a
// role if there is one. Version 0 is no document.
type served struct {
	Epoch       int64  `db:"epoch"`
	Registered  bool   `db:"registered"`
	Newest      int64  `db:"newest"`
	Version     int64  `db:"version"`
	RootVersion int64  `db:"root_version"`
	WrittenFor  int64  `db:"written_for"` // the epoch of the document
	Payload     []byte `db:"payload"`     // nil once there is a document
	Document    []byte `db:"document"`
	Void        bool   `db:"void"`
	CreatedAt   int64  `db:"created_at"`
	Expires     int64  `db:"expires"`
	Capped      bool   `db:"capped"`
}

// pollQuery is the whole of what an idle poll asks the database: two look-ups
// by primary key.
const pollQuery = `SELECT d.epoch, d.primary_serial <> '' AS registered, d.document AS newest,
		COALESCE(m.version, 0) AS version, COALESCE(m.root_version, 0) AS root_version,
		COALESCE(m.epoch, 0) AS written_for, m.document,
		CASE WHEN m.document IS NULL THEN m.payload END AS payload, COALESCE(m.void, FALSE) AS void,
		COALESCE(m.created_at, 0) AS created_at, COALESCE(m.expires, 0) AS expires, COALESCE(m.capped, FALSE) AS capped
	FROM director_device d LEFT JOIN director_document m
		ON m.namespace = d.namespace AND m.device = d.device AND m.role = $3 AND m.version = d.document
	WHERE d.namespace = $1 AND d.device = $2`

func (s store) poll(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, role uptane.Role) (served, error) {
	var row served
	err := s.db.GetContext(ctx, &row, pollQuery, ns, device, role)
	return row, db.Err(err)
}

// documentRow reads one version of one role.
func (s store) document(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID, role uptane.Role, version int64) (documentRow, error) {
	var row documentRow
	err := sqlx.GetContext(ctx, q, &row,
		`SELECT `+documentColumns+` FROM director_document
		WHERE namespace = $1 AND device = $2 AND role = $3 AND version = $4`, ns, device, role, version)
	return row, db.Err(err)
}

// lastVersion returns the highest version of a role written under since or a
// later root, 0 if there is none.
func (s store) lastVersion(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, role uptane.Role, since int) (int64, error) {
	var last sql.NullInt64
	err := tx.GetContext(ctx, &last,
		`SELECT MAX(version) FROM director_document
		WHERE namespace = $1 AND device = $2 AND role = $3 AND root_version >= $4`, ns, device, role, since)
	return last.Int64, err
}

// addDocument inserts a row and reports whether its version was free.
func (s store) addDocument(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, d documentRow) (bool, error) {
	res, err := q.ExecContext(ctx,
		`INSERT INTO director_document (namespace, device, role, version, root_version, epoch, payload, created_at, expires,
			capped, correlation, assignments)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING`,
		ns, d.Device, d.Role, d.Version, d.RootVersion, d.Epoch, d.Payload, d.CreatedAt, d.Expires,
		d.Capped, d.Correlation, d.Assignments)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// seal stores the signed bytes of a row unless others were stored first, the
// row is void, or the device has moved on.
func (s store) seal(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, role uptane.Role, version int64, document []byte) error {
	_, err := s.db.ExecContext(ctx,
		`UPDATE director_document SET document = $5
		WHERE namespace = $1 AND device = $2 AND role = $3 AND version = $4 AND document IS NULL AND NOT void
			AND epoch = (SELECT epoch FROM director_device WHERE namespace = $1 AND device = $2)`,
		ns, device, role, version, document)
	return err
}

// void marks the unsealed rows of a version: they are never sealed.
func (s store) void(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, device uptane.DeviceID, version int64) error {
	_, err := q.ExecContext(ctx,
		`UPDATE director_document SET void = TRUE
		WHERE namespace = $1 AND device = $2 AND version = $3 AND document IS NULL`, ns, device, version)
	return err
}

// offered returns the assignments of the newest signed targets with that
// correlation id as JSON, "" when there are none.
func (s store) offered(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID, correlation string) (string, error) {
	var ids string
	err := sqlx.GetContext(ctx, q, &ids,
		`SELECT assignments FROM director_document
		WHERE namespace = $1 AND device = $2 AND correlation = $3 AND correlation <> '' AND document IS NOT NULL
		ORDER BY created_at DESC, version DESC LIMIT 1`, ns, device, correlation)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return ids, err
}
