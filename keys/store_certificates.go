package keys

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// The kinds of authorities.
const (
	kindServerRoot     = "server_root"
	kindServerRootNext = "server_root_next"
	kindServerRootOld  = "server_root_old"
	kindServer         = "server"
	kindDeviceRoot     = "device_root"
	kindDevice         = "device"
	kindForeign        = "foreign"
)

// authorityRow is a CA certificate, with its sealed key where it is online.
type authorityRow struct {
	Fingerprint string           `db:"fingerprint"`
	Namespace   uptane.Namespace `db:"namespace"`
	Kind        string           `db:"kind"`
	Certificate []byte           `db:"certificate"`
	Sealed      []byte           `db:"sealed"`
	Number      *int64           `db:"sealing_key"`
	Created     int64            `db:"created"`
	Revoked     *int64           `db:"revoked"`
}

// addAuthority enters a CA; one that is there keeps its place in time and
// takes the kind. One of another namespace, or another certificate of the
// same key, is db.ErrExists.
func (s store) addAuthority(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, kind string, cert *x509.Certificate, box *sealed, now time.Time) error {
	var key, number any
	if box != nil {
		key, number = box.Bytes, box.Number
	}
	n, err := affected(tx.ExecContext(ctx,
		`INSERT INTO authority (fingerprint, namespace, kind, subject_sha256, public_key_sha256, certificate, sealed, sealing_key, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (fingerprint) DO UPDATE SET kind = excluded.kind WHERE authority.namespace = excluded.namespace`,
		hexSum(cert.Raw), ns, kind, hexSum(cert.RawSubject), hexSum(cert.RawSubjectPublicKeyInfo), cert.Raw, key, number, now.UnixMilli()))
	if err == nil && n == 0 {
		return db.ErrExists
	}
	return db.Err(err)
}

// retireServerRoots makes all server roots old ones.
func (s store) retireServerRoots(ctx context.Context, tx *sqlx.Tx) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE authority SET kind = $1 WHERE namespace = '' AND kind IN ($2, $3)`,
		kindServerRootOld, kindServerRoot, kindServerRootNext)
	return err
}

const authorityColumns = `SELECT fingerprint, namespace, kind, certificate, sealed, sealing_key, created, revoked FROM authority `

// lastAuthority returns the newest of a kind that is not revoked.
func (s store) lastAuthority(ctx context.Context, ns uptane.Namespace, kind string) (row authorityRow, err error) {
	err = s.db.GetContext(ctx, &row,
		authorityColumns+`WHERE namespace = $1 AND kind = $2 AND revoked IS NULL ORDER BY created DESC, fingerprint DESC LIMIT 1`, ns, kind)
	return row, db.Err(err)
}

// clientAuthorities returns the CAs of devices with that subject, in all
// namespaces: it is the CA that tells the namespace.
func (s store) clientAuthorities(ctx context.Context, subjectSHA256 string) (rows []authorityRow, err error) {
	err = s.db.SelectContext(ctx, &rows,
		authorityColumns+`WHERE subject_sha256 = $1 AND kind IN ('device', 'foreign')`, subjectSHA256)
	return rows, err
}

func (s store) authorityExists(ctx context.Context, tx *sqlx.Tx, publicKeySHA256 string) (bool, error) {
	var n int
	err := tx.GetContext(ctx, &n, `SELECT COUNT(*) FROM authority WHERE public_key_sha256 = $1`, publicKeySHA256)
	return n > 0, err
}

func (s store) foreignAuthorities(ctx context.Context, ns uptane.Namespace) (rows []authorityRow, err error) {
	err = s.db.SelectContext(ctx, &rows,
		authorityColumns+`WHERE namespace = $1 AND kind = 'foreign' ORDER BY created, fingerprint`, ns)
	return rows, err
}

func (s store) revokeAuthority(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, fingerprint string, now time.Time) (int64, error) {
	return affected(tx.ExecContext(ctx,
		`UPDATE authority SET revoked = $3 WHERE namespace = $1 AND fingerprint = $2 AND kind = 'foreign' AND revoked IS NULL`,
		ns, fingerprint, now.UnixMilli()))
}

// serverCertRow is a certificate of the server itself.
type serverCertRow struct {
	Certificate []byte `db:"certificate"`
	Issuer      string `db:"issuer"`
	sealed
}

func (s store) serverCertificate(ctx context.Context, names string) (row serverCertRow, err error) {
	err = s.db.GetContext(ctx, &row,
		`SELECT certificate, issuer, sealed, sealing_key FROM server_certificate
		WHERE names = $1 ORDER BY created DESC, fingerprint DESC LIMIT 1`, names)
	return row, db.Err(err)
}

func (s store) addServerCertificate(ctx context.Context, names, issuer string, cert *x509.Certificate, box sealed, now time.Time) error {
	_, err := s.db.ExecContext(ctx,
		`INSERT INTO server_certificate (fingerprint, names, issuer, certificate, sealed, sealing_key, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		hexSum(cert.Raw), names, issuer, cert.Raw, box.Bytes, box.Number, now.UnixMilli())
	return err
}

// certRow is a client certificate and the CA that issued it.
type certRow struct {
	Fingerprint   string           `db:"fingerprint"`
	Namespace     uptane.Namespace `db:"namespace"`
	Kind          Kind             `db:"kind"`
	Device        uptane.DeviceID  `db:"device"`
	OEMID         uptane.OEMID     `db:"oemid"`
	Issuer        string           `db:"issuer"`
	Serial        string           `db:"serial"`
	NotBefore     int64            `db:"not_before"`
	NotAfter      int64            `db:"not_after"`
	Created       int64            `db:"created"`
	Revoked       *int64           `db:"revoked"`
	IssuerCert    []byte           `db:"issuer_certificate"`
	IssuerRevoked *int64           `db:"issuer_revoked"`
}

// certificate finds a client certificate in all namespaces: it is the
// certificate that tells the namespace.
func (s store) certificate(ctx context.Context, fingerprint string) (row certRow, err error) {
	err = s.db.GetContext(ctx, &row,
		`SELECT c.fingerprint, c.namespace, c.kind, c.device, c.oemid, c.issuer, c.serial, c.not_before, c.not_after, c.created, c.revoked,
			(SELECT a.certificate FROM authority a WHERE a.fingerprint = c.issuer) AS issuer_certificate,
			(SELECT a.revoked FROM authority a WHERE a.fingerprint = c.issuer) AS issuer_revoked
		FROM certificate c WHERE c.fingerprint = $1`, fingerprint)
	return row, db.Err(err)
}

func (s store) certificates(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, after string, limit int) (rows []certRow, err error) {
	err = s.db.SelectContext(ctx, &rows,
		`SELECT fingerprint, namespace, kind, device, oemid, issuer, serial, not_before, not_after, created, revoked
		FROM certificate WHERE namespace = $1 AND ($2 = '' OR device = $2) AND fingerprint > $3 ORDER BY fingerprint LIMIT $4`,
		ns, device, after, limit)
	return rows, err
}

// addCertificate does nothing where the certificate is known.
func (s store) addCertificate(ctx context.Context, tx *sqlx.Tx, id Identity, issuer string, cert *x509.Certificate, now time.Time) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO certificate (fingerprint, namespace, kind, device, oemid, issuer, serial, not_before, not_after, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (fingerprint) DO NOTHING`,
		id.Fingerprint, id.Namespace, id.Kind, id.Device, id.OEMID, issuer, cert.SerialNumber.Text(16),
		cert.NotBefore.UnixMilli(), cert.NotAfter.UnixMilli(), now.UnixMilli())
	return err
}

func (s store) revokeCertificate(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, fingerprint string, now time.Time) (int64, error) {
	return affected(tx.ExecContext(ctx,
		`UPDATE certificate SET revoked = $3 WHERE namespace = $1 AND fingerprint = $2 AND revoked IS NULL`,
		ns, fingerprint, now.UnixMilli()))
}

// revokeDevice revokes the certificates of a device; ours says: only those
// that were issued here.
func (s store) revokeDevice(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, ours bool, now time.Time) (int64, error) {
	return affected(tx.ExecContext(ctx,
		`UPDATE certificate SET revoked = $3 WHERE namespace = $1 AND kind = 'device' AND device = $2 AND revoked IS NULL
		AND (NOT $4 OR issuer IN (SELECT fingerprint FROM authority WHERE namespace = $1 AND kind = 'device'))`,
		ns, device, now.UnixMilli(), ours))
}

// bootstrapRow is what a bootstrap certificate may still do.
type bootstrapRow struct {
	Fingerprint string `db:"fingerprint"`
	Name        string `db:"name"`
	MaxUses     int64  `db:"max_uses"`
	PerHour     int64  `db:"per_hour"`
	Uses        int64  `db:"uses"`
	HourStart   int64  `db:"hour_start"`
	HourUses    int64  `db:"hour_uses"`
	NotAfter    int64  `db:"not_after"`
	Created     int64  `db:"created"`
	Revoked     *int64 `db:"revoked"`
}

func (s store) addBootstrap(ctx context.Context, tx *sqlx.Tx, fingerprint string, r BootstrapRequest) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO bootstrap (fingerprint, namespace, name, max_uses, per_hour, uses, hour_start, hour_uses)
		VALUES ($1, $2, $3, $4, $5, 0, 0, 0)`, fingerprint, r.Namespace, r.Name, r.MaxUses, r.PerHour)
	return err
}

// useBootstrap counts one use, unless the certificate is revoked, over, used
// up or used too often in this hour: nothing is affected then.
func (s store) useBootstrap(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, fingerprint string, now time.Time) (int64, error) {
	return affected(tx.ExecContext(ctx,
		`UPDATE bootstrap SET uses = uses + 1,
			hour_uses = CASE WHEN hour_start > $4 THEN hour_uses + 1 ELSE 1 END,
			hour_start = CASE WHEN hour_start > $4 THEN hour_start ELSE $3 END
		WHERE namespace = $1 AND fingerprint = $2
			AND (max_uses = 0 OR uses < max_uses) AND (per_hour = 0 OR hour_start <= $4 OR hour_uses < per_hour)
			AND EXISTS (SELECT 1 FROM certificate WHERE namespace = $1 AND fingerprint = $2 AND revoked IS NULL AND not_after > $3)`,
		ns, fingerprint, now.UnixMilli(), now.Add(-time.Hour).UnixMilli()))
}

const bootstrapColumns = `SELECT b.fingerprint, b.name, b.max_uses, b.per_hour, b.uses, b.hour_start, b.hour_uses, c.not_after, c.created, c.revoked
	FROM bootstrap b JOIN certificate c ON c.fingerprint = b.fingerprint `

func (s store) bootstrap(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, fingerprint string) (row bootstrapRow, err error) {
	err = sqlx.GetContext(ctx, q, &row, bootstrapColumns+`WHERE b.namespace = $1 AND b.fingerprint = $2`, ns, fingerprint)
	return row, db.Err(err)
}

func (s store) bootstraps(ctx context.Context, ns uptane.Namespace) (rows []bootstrapRow, err error) {
	err = s.db.SelectContext(ctx, &rows, bootstrapColumns+`WHERE b.namespace = $1 ORDER BY c.created, b.fingerprint`, ns)
	return rows, err
}

// The states of an enrolment.
const (
	stateHeld    = "held"
	stateOpen    = "open"
	stateRevoked = "revoked"
)

// enrolment says which device holds an OEMID and by what right.
type enrolment struct {
	Namespace   uptane.Namespace `db:"namespace"`
	OEMID       uptane.OEMID     `db:"oemid"`
	Device      uptane.DeviceID  `db:"device"`
	Bootstrap   string           `db:"bootstrap"`
	Issuer      string           `db:"issuer"`
	FirstIssued int64            `db:"first_issued"`
	State       string           `db:"state"`
}

// addEnrolment reports whether the OEMID was free.
func (s store) addEnrolment(ctx context.Context, tx *sqlx.Tx, e enrolment) (bool, error) {
	n, err := affected(tx.ExecContext(ctx,
		`INSERT INTO enrolment (namespace, oemid, device, bootstrap, issuer, first_issued, state)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (namespace, oemid) DO NOTHING`,
		e.Namespace, e.OEMID, e.Device, e.Bootstrap, e.Issuer, e.FirstIssued, stateHeld))
	return n == 1, err
}

// takeEnrolment takes an OEMID that was opened.
func (s store) takeEnrolment(ctx context.Context, tx *sqlx.Tx, e enrolment) (bool, error) {
	n, err := affected(tx.ExecContext(ctx,
		`UPDATE enrolment SET device = $3, bootstrap = $4, issuer = $5, first_issued = $6, state = 'held'
		WHERE namespace = $1 AND oemid = $2 AND state = 'open'`,
		e.Namespace, e.OEMID, e.Device, e.Bootstrap, e.Issuer, e.FirstIssued))
	return n == 1, err
}

// enrolment locks the row against other writers: on PostgreSQL the UPDATE
// does, on SQLite there is one writer.
func (s store) enrolment(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, oemid uptane.OEMID) (e enrolment, err error) {
	err = tx.GetContext(ctx, &e,
		`UPDATE enrolment SET state = state WHERE namespace = $1 AND oemid = $2
		RETURNING namespace, oemid, device, bootstrap, issuer, first_issued, state`, ns, oemid)
	return e, err
}

func (s store) setEnrolment(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, state string) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE enrolment SET state = $3 WHERE namespace = $1 AND device = $2`, ns, device, state)
	return err
}

func affected(res interface{ RowsAffected() (int64, error) }, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}
