package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/fault"
	"sealift/uptane"
)

var errNoCertificateRow = fault.New(fault.NotFound, "no_such_certificate", "no such certificate in this namespace, or it is revoked already")

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
