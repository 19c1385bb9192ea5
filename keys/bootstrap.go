package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/fault"
	"sealift/keys/pki"
	"sealift/uptane"
)

var errNoCertificateRow = fault.New(fault.NotFound, "no_such_certificate", "no such certificate in this namespace, or it is revoked already")

// BootstrapRequest asks for a certificate with which devices ask for theirs.
type BootstrapRequest struct {
	Namespace uptane.Namespace
	Name      string        // for people: which production line, which image
	Life      time.Duration // 0 is five years
	MaxUses   int64         // certificates it may ask for; 0 is no limit
	PerHour   int64         // certificates it may ask for within an hour; 0 is no limit
}

// Bootstrap is a bootstrap certificate and how it has been used.
type Bootstrap struct {
	Fingerprint      string
	Name             string
	NotAfter         time.Time
	Issued           time.Time
	Revoked          time.Time // zero: it is in force
	MaxUses, PerHour int64     // 0 is no limit
	Uses             int64
}

// IssueBootstrap makes a bootstrap certificate and returns it with its key as
// a PKCS#12 archive with an empty password, the server roots inside. The
// private key is not kept.
func (v *Vault) IssueBootstrap(ctx context.Context, r BootstrapRequest) ([]byte, Bootstrap, error) {
	if !r.Namespace.Valid() {
		return nil, Bootstrap{}, errNamespace.Withf("%.80q", r.Namespace)
	}
	if r.MaxUses < 0 || r.PerHour < 0 || r.Life < 0 {
		return nil, Bootstrap{}, errTTL.With("limits of a bootstrap certificate are not negative")
	}
	life := r.Life
	if life == 0 {
		life = pki.BootstrapLife
	}
	id := Identity{Namespace: r.Namespace, Kind: KindBootstrap}
	made, err := v.makeClient(ctx, &id, "sealift-provisioning", life)
	if err != nil {
		return nil, Bootstrap{}, fmt.Errorf("issuing bootstrap certificate: %w", err)
	}
	act, err := v.act(ctx, r.Namespace, "bootstrap.issue", "certificate %s, %q, until %s", id.Fingerprint, r.Name, id.NotAfter.Format(time.DateOnly))
	if err != nil {
		return nil, Bootstrap{}, err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		return errors.Join(
			v.store.addCertificate(ctx, tx, id, made.issuer, made.cert, act.At),
			v.store.addBootstrap(ctx, tx, id.Fingerprint, r),
			v.store.addAct(ctx, tx, act))
	})
	if err != nil {
		return nil, Bootstrap{}, fmt.Errorf("issuing bootstrap certificate: %w", err)
	}
	return made.p12, Bootstrap{Fingerprint: id.Fingerprint, Name: r.Name, NotAfter: id.NotAfter, Issued: act.At,
		MaxUses: r.MaxUses, PerHour: r.PerHour}, nil
}

// Bootstraps lists the bootstrap certificates of a namespace, oldest first.
func (v *Vault) Bootstraps(ctx context.Context, ns uptane.Namespace) ([]Bootstrap, error) {
	rows, err := v.store.bootstraps(ctx, ns)
	if err != nil {
		return nil, fmt.Errorf("reading bootstrap certificates: %w", err)
	}
	list := make([]Bootstrap, len(rows))
	for i, r := range rows {
		list[i] = Bootstrap{Fingerprint: r.Fingerprint, Name: r.Name, NotAfter: time.UnixMilli(r.NotAfter).UTC(),
			Issued: time.UnixMilli(r.Created).UTC(), Revoked: maybeTime(r.Revoked), MaxUses: r.MaxUses, PerHour: r.PerHour, Uses: r.Uses}
	}
	return list, nil
}

// Certificate is a row of the certificate table.
type Certificate struct {
	Identity
	Issuer    string // fingerprint of the CA
	Serial    string // hex; unique only within a CA that takes care
	NotBefore time.Time
	Issued    time.Time // or first seen
	Revoked   time.Time // zero: it is in force
}

// maxCertificates is the longest page of [Vault.Certificates].
const maxCertificates = 1000

// Certificates lists the client certificates of a device, or of the whole
// namespace where device is empty, in the order of their fingerprints: at
// most limit of those after a fingerprint, of all where it is empty.
func (v *Vault) Certificates(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, after string, limit int) ([]Certificate, error) {
	rows, err := v.store.certificates(ctx, ns, device, after, min(max(limit, 1), maxCertificates))
	if err != nil {
		return nil, fmt.Errorf("reading certificates: %w", err)
	}
	list := make([]Certificate, len(rows))
	for i, r := range rows {
		list[i] = Certificate{Issuer: r.Issuer, Serial: r.Serial, NotBefore: time.UnixMilli(r.NotBefore).UTC(),
			Issued: time.UnixMilli(r.Created).UTC(), Revoked: maybeTime(r.Revoked),
			Identity: Identity{Namespace: r.Namespace, Kind: r.Kind, Device: r.Device, OEMID: r.OEMID,
				Fingerprint: r.Fingerprint, NotAfter: time.UnixMilli(r.NotAfter).UTC()}}
	}
	return list, nil
}

// RevokeCertificate revokes one client certificate, of a device or for
// bootstrapping. Devices that a bootstrap certificate let in stay.
func (v *Vault) RevokeCertificate(ctx context.Context, ns uptane.Namespace, fingerprint string) error {
	act, err := v.act(ctx, ns, "certificate.revoke", "certificate %.80s", fingerprint)
	if err != nil {
		return err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if n, err := v.store.revokeCertificate(ctx, tx, ns, fingerprint, act.At); err != nil || n == 0 {
			return errOr(err, errNoCertificateRow)
		}
		return errors.Join(v.store.renewStamp(ctx, tx, ns, stampCertificates), v.store.addAct(ctx, tx, act))
	})
	if err != nil {
		return fmt.Errorf("revoking certificate: %w", err)
	}
	v.touched(ns)
	return nil
}
