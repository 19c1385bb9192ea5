package keys

import (
	"context"

	"sealift/uptane"
)

// storedRoot is a row of a root.
type storedRoot struct {
	Namespace  uptane.Namespace  `db:"namespace"`
	Repository uptane.Repository `db:"repository"`
	Version    int               `db:"version"`
	Document   []byte            `db:"document"`
	Twin       []byte            `db:"twin"`
	KeysSince  string            `db:"keys_since"`
	Expires    int64             `db:"expires"`
}

// allRoots returns every root, by namespace, repository and version.
func (s store) allRoots(ctx context.Context) (rows []storedRoot, err error) {
	err = s.db.SelectContext(ctx, &rows,
		`SELECT namespace, repository, version, document, twin, keys_since, expires FROM root ORDER BY namespace, repository, version`)
	return rows, err
}

// storedUse says what a public key is for.
type storedUse struct {
	KeyID      uptane.KeyID      `db:"key_id"`
	Namespace  uptane.Namespace  `db:"namespace"`
	Repository uptane.Repository `db:"repository"`
	Role       uptane.Role       `db:"role"`
}

func (s store) keyUses(ctx context.Context) (map[uptane.KeyID]storedUse, error) {
	var rows []storedUse
	err := s.db.SelectContext(ctx, &rows, `SELECT key_id, namespace, repository, role FROM public_key_use`)
	uses := make(map[uptane.KeyID]storedUse, len(rows))
	for _, r := range rows {
		uses[r.KeyID] = r
	}
	return uses, err
}

// storedKey is a sealed private key and its place.
type storedKey struct {
	storedUse
	SPKI []byte `db:"spki"`
	sealed
}

func (s store) allOnlineKeys(ctx context.Context) (rows []storedKey, err error) {
	err = s.db.SelectContext(ctx, &rows,
		`SELECT key_id, namespace, repository, role, spki, sealed, sealing_key FROM online_key ORDER BY namespace, key_id`)
	return rows, err
}

func (s store) allAuthorities(ctx context.Context) (rows []authorityRow, err error) {
	err = s.db.SelectContext(ctx, &rows, authorityColumns+`ORDER BY namespace, created, fingerprint`)
	return rows, err
}

// storedServerCert is a certificate of the server itself.
type storedServerCert struct {
	Fingerprint string `db:"fingerprint"`
	serverCertRow
}

func (s store) serverCertificates(ctx context.Context) (rows []storedServerCert, err error) {
	err = s.db.SelectContext(ctx, &rows,
		`SELECT fingerprint, certificate, issuer, sealed, sealing_key FROM server_certificate ORDER BY created, fingerprint`)
	return rows, err
}

// storedCert is a client certificate with what belongs to it; what is missing
// is nil.
type storedCert struct {
	certRow
	IssuerKind      *string           `db:"issuer_kind"`
	IssuerNamespace *uptane.Namespace `db:"issuer_namespace"`
	Holder          *uptane.DeviceID  `db:"holder"`    // of the OEMID
	Bootstrap       *string           `db:"bootstrap"` // the row that says what it may do
}

// certificatesAfter returns the next client certificates in the order of their
// fingerprints.
func (s store) certificatesAfter(ctx context.Context, after string, limit int) (rows []storedCert, err error) {
	err = s.db.SelectContext(ctx, &rows,
		`SELECT c.fingerprint, c.namespace, c.kind, c.device, c.oemid, c.issuer, c.serial, c.not_before, c.not_after, c.created, c.revoked,
			a.kind AS issuer_kind, a.namespace AS issuer_namespace, e.device AS holder, b.fingerprint AS bootstrap
		FROM certificate c
		LEFT JOIN authority a ON a.fingerprint = c.issuer
		LEFT JOIN enrolment e ON e.namespace = c.namespace AND e.oemid = c.oemid
		LEFT JOIN bootstrap b ON b.fingerprint = c.fingerprint
		WHERE c.fingerprint > $1 ORDER BY c.fingerprint LIMIT $2`, after, limit)
	return rows, err
}
