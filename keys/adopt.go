package keys

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

// maxLost bounds the certificates that are kept for adoption in a namespace.
const maxLost = 100_000

var (
	errNotLost   = fault.New(fault.NotFound, "no_such_certificate", "no certificate of this fingerprint waits to be adopted")
	errOldByNow  = fault.New(fault.Conflict, "certificate_superseded", "the device has a newer certificate")
	errLostState = fault.New(fault.Conflict, "device_not_adoptable", "the device of this name was revoked or reset, or belongs to another CA")
)

// Lost is a certificate of our own device CA that is not in the table.
type Lost struct {
	Fingerprint string
	OEMID       uptane.OEMID
	Serial      string // hex
	NotBefore   time.Time
	NotAfter    time.Time
	FirstSeen   time.Time
	LastSeen    time.Time
}

// Lost lists them in the order of their fingerprints: at most limit of those
// after one.
func (v *Vault) Lost(ctx context.Context, ns uptane.Namespace, after string, limit int) ([]Lost, error) {
	rows, err := v.store.lostAfter(ctx, ns, after, min(max(limit, 1), maxCertificates))
	if err != nil {
		return nil, fmt.Errorf("reading lost certificates: %w", err)
	}
	list := make([]Lost, 0, len(rows))
	for _, r := range rows {
		leaf, err := x509.ParseCertificate(r.Certificate)
		if err != nil {
			return nil, fmt.Errorf("reading lost certificate %s: %w", r.Fingerprint, err)
		}
		list = append(list, Lost{Fingerprint: r.Fingerprint, OEMID: r.OEMID, Serial: leaf.SerialNumber.Text(16), NotBefore: leaf.NotBefore.UTC(),
			NotAfter: leaf.NotAfter.UTC(), FirstSeen: time.UnixMilli(r.FirstSeen).UTC(), LastSeen: time.UnixMilli(r.LastSeen).UTC()})
	}
	return list, nil
}

// noteLost keeps a stranger of our own CA for adoption, while the namespace is
// in recovery. What it fails to note comes again with the next poll. A bootstrap
// certificate is in many hands and must never become a device's.
func (v *Vault) noteLost(ctx context.Context, ca authorityRow, issuer *x509.Certificate, fingerprint string, leaf *x509.Certificate) {
	row, err := v.store.recovery(ctx, ca.Namespace)
	if err != nil || !row.lasts() {
		return
	}
	now := v.now()
	if name := leaf.Subject.CommonName; name == bootstrapName || !uptane.OEMID(name).Valid() ||
		checkTime(leaf, now) != nil || verifyLeaf(leaf, issuer, now) != nil {
		return
	}
	n, err := v.store.countLost(ctx, ca.Namespace)
	if err == nil && n < maxLost {
		err = v.store.addLost(ctx, ca.Namespace, ca.Fingerprint, fingerprint, leaf, now)
	}
	if err != nil {
		v.log.Warn("noting a lost certificate failed; it is noted when it comes again", "namespace", ca.Namespace, "error", err)
	}
}

// Adopt enters a certificate that came during recovery, as if it were issued
// now: whoever adopts vouches that it is no forgery. Enrol finds or makes the
// device, in the transaction. The device's earlier certificates are revoked,
// because it got this one in their place; one that is older than those is
// refused. It is audited.
func (v *Vault) Adopt(ctx context.Context, ns uptane.Namespace, fingerprint string, enrol func(context.Context, *sqlx.Tx, uptane.OEMID) (uptane.DeviceID, error)) (Identity, error) {
	id, err := v.adopt(ctx, ns, fingerprint, enrol)
	if err != nil {
		return id, fmt.Errorf("adopting certificate %.80s: %w", fingerprint, err)
	}
	v.touched(ns)
	return id, nil
}

func (v *Vault) adopt(ctx context.Context, ns uptane.Namespace, fingerprint string, enrol func(context.Context, *sqlx.Tx, uptane.OEMID) (uptane.DeviceID, error)) (Identity, error) {
	row, err := v.store.lost(ctx, ns, fingerprint)
	if errors.Is(err, db.ErrNoRows) {
		return Identity{}, errNotLost
	}
	if err != nil {
		return Identity{}, err
	}
	leaf, err := x509.ParseCertificate(row.Certificate)
	if err != nil {
		return Identity{}, fmt.Errorf("reading it: %w", err)
	}
	id := Identity{Namespace: ns, Kind: KindDevice, OEMID: row.OEMID, Fingerprint: fingerprint, NotAfter: leaf.NotAfter}
	act, err := v.act(ctx, ns, "device.adopt", "certificate %s of %s, valid from %s", fingerprint, row.OEMID, leaf.NotBefore.UTC().Format(time.RFC3339))
	if err != nil {
		return id, err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if id.Device, err = enrol(ctx, tx, row.OEMID); err != nil {
			return err
		}
		if err := v.replaceCertificates(ctx, tx, id, leaf, act.At); err != nil {
			return err
		}
		return errors.Join(
			v.store.addCertificate(ctx, tx, id, row.Issuer, leaf, act.At),
			v.store.dropLost(ctx, tx, fingerprint),
			v.store.renewStamp(ctx, tx, ns, stampCertificates),
			v.store.addAct(ctx, tx, act))
	})
	v.known.forget(leaf) // it was refused a moment ago
	return id, err
}

// replaceCertificates takes the name for the device and revokes what it had.
func (v *Vault) replaceCertificates(ctx context.Context, tx *sqlx.Tx, id Identity, leaf *x509.Certificate, now time.Time) error {
	e := enrolment{Namespace: id.Namespace, OEMID: id.OEMID, Device: id.Device, FirstIssued: now.UnixMilli()}
	added, err := v.store.addEnrolment(ctx, tx, e)
	if err != nil || added {
		return err
	}
	have, err := v.store.enrolment(ctx, tx, id.Namespace, id.OEMID)
	if err != nil {
		return err
	}
	if have.State != stateHeld || have.Device != id.Device || have.Issuer != "" {
		return errLostState
	}
	newest, err := v.store.newestOf(ctx, tx, id.Namespace, id.Device)
	if err != nil {
		return err
	}
	if leaf.NotBefore.UnixMilli() <= newest {
		return errOldByNow
	}
	_, err = v.store.revokeDevice(ctx, tx, id.Namespace, id.Device, true, now)
	return err
}
