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
	"sealift/keys/pki"
	"sealift/uptane"
)

const (
	// reissueFor is how long after its first certificate a device may ask
	// again: the answer can get lost on the way.
	reissueFor = time.Hour
	day        = 24 * time.Hour
	maxDays    = int(pki.MaxDeviceLife / day)
)

var (
	errTTL     = fault.New(fault.Invalid, "invalid_ttl", "the ttl is a positive number of days")
	errUsedUp  = fault.New(fault.Forbidden, "bootstrap_used_up", "the bootstrap certificate has been used as often as it may")
	errTooFast = fault.New(fault.TooMany, "bootstrap_rate_exceeded", "the bootstrap certificate was used too often within an hour")
)

// IssueRequest asks for a device certificate.
type IssueRequest struct {
	Namespace uptane.Namespace
	Device    uptane.DeviceID
	// Enrol takes the place of Device: it finds or makes the device, in the
	// transaction, once the bootstrap certificate is known to permit one more.
	// A refused request leaves no device behind. It may be called more than once.
	Enrol func(ctx context.Context, tx *sqlx.Tx) (uptane.DeviceID, error)
	OEMID uptane.OEMID // becomes the common name
	TTL   int          // days; at most 20 years and the life of the CA
	// Bootstrap is the fingerprint of the bootstrap certificate that asks;
	// empty where a person does.
	Bootstrap string
	// Check is asked, in the transaction, before a device gets another
	// certificate soon after its first: an error such as
	// [ErrDeviceRegistered] refuses it. It may be called more than once.
	Check func(ctx context.Context, tx *sqlx.Tx) error
}

// IssueDevice makes a key and a certificate for a device and returns them as
// a PKCS#12 archive with an empty password, the server roots inside. The
// private key is not kept.
//
// A name that has a certificate gets another only after
// [Vault.ResetDevice], or from the same bootstrap certificate within an hour
// of the first and with the consent of Check; all earlier certificates of the
// device are revoked then. Otherwise it is [ErrDeviceRegistered].
func (v *Vault) IssueDevice(ctx context.Context, r IssueRequest) ([]byte, error) {
	p12, err := v.issueDevice(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("issuing certificate for device %.64q: %w", r.OEMID, err)
	}
	return p12, nil
}

func (v *Vault) issueDevice(ctx context.Context, r IssueRequest) ([]byte, error) {
	switch {
	case !r.Namespace.Valid():
		return nil, errNamespace
	case !r.OEMID.Valid() || r.Device == "" && r.Enrol == nil:
		return nil, errDeviceName
	case r.TTL <= 0:
		return nil, errTTL
	}
	if err := v.mayBootstrap(ctx, r); err != nil {
		return nil, err
	}
	life := time.Duration(min(r.TTL, maxDays)) * day
	id := Identity{Namespace: r.Namespace, Kind: KindDevice, OEMID: r.OEMID}
	made, err := v.makeClient(ctx, &id, string(r.OEMID), life)
	if err != nil {
		return nil, err
	}
	var again bool
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) (err error) {
		again, err = v.issue(ctx, tx, r, id, made)
		return err
	})
	if err != nil {
		return nil, err
	}
	if again {
		v.touched(r.Namespace)
	}
	return made.p12, nil
}

// issue enters the certificate that was made for a request. It tells whether
// the device had one before, which is revoked now.
func (v *Vault) issue(ctx context.Context, tx *sqlx.Tx, r IssueRequest, id Identity, made client) (again bool, err error) {
	now := v.now()
	if r.Bootstrap != "" {
		if err := v.useBootstrap(ctx, tx, r.Namespace, r.Bootstrap, now); err != nil {
			return false, err
		}
	}
	if r.Enrol != nil {
		if r.Device, err = r.Enrol(ctx, tx); err != nil {
			return false, err
		}
	}
	id.Device = r.Device
	if again, err = v.admit(ctx, tx, r, now); err != nil {
		return false, err
	}
	if again {
		act, err := v.act(ctx, r.Namespace, "device.reissue", "device %s got certificate %s, its earlier ones are revoked", r.Device, id.Fingerprint)
		if err != nil {
			return false, err
		}
		_, err = v.store.revokeDevice(ctx, tx, r.Namespace, r.Device, false, now)
		if err = errors.Join(err, v.store.renewStamp(ctx, tx, r.Namespace, stampCertificates), v.store.addAct(ctx, tx, act)); err != nil {
			return false, err
		}
	}
	return again, v.store.addCertificate(ctx, tx, id, made.issuer, made.cert, now)
}

// admit decides whether the request may have the name, and whether the device
// had it before.
func (v *Vault) admit(ctx context.Context, tx *sqlx.Tx, r IssueRequest, now time.Time) (again bool, err error) {
	want := enrolment{Namespace: r.Namespace, OEMID: r.OEMID, Device: r.Device, Bootstrap: r.Bootstrap, FirstIssued: now.UnixMilli()}
	added, err := v.store.addEnrolment(ctx, tx, want)
	if err != nil || added {
		return false, err
	}
	if opened, err := v.store.takeEnrolment(ctx, tx, want); err != nil || opened {
		return true, err
	}
	have, err := v.store.enrolment(ctx, tx, r.Namespace, r.OEMID)
	if err != nil {
		return false, err
	}
	age := now.Sub(time.UnixMilli(have.FirstIssued))
	switch {
	case have.State == stateRevoked:
		return false, errDeviceRevoked
	case r.Bootstrap == "" || have.Bootstrap != r.Bootstrap || have.Device != r.Device || age > reissueFor:
		return false, ErrDeviceRegistered
	}
	if r.Check != nil {
		if err := r.Check(ctx, tx); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (v *Vault) useBootstrap(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, fingerprint string, now time.Time) error {
	if n, err := v.store.useBootstrap(ctx, tx, ns, fingerprint, now); err != nil || n == 1 {
		return err
	}
	row, err := v.store.bootstrap(ctx, tx, ns, fingerprint)
	if err = refuses(row, err, fingerprint, now); err != nil {
		return err
	}
	return errTooFast.Withf("%d uses an hour", row.PerHour) // it was the hour's until just now
}

// mayBootstrap refuses what the bootstrap certificate does not permit before work
// is done for it. The use itself is counted where it happens.
func (v *Vault) mayBootstrap(ctx context.Context, r IssueRequest) error {
	if r.Bootstrap == "" {
		return nil
	}
	row, err := v.store.bootstrap(ctx, v.store.db, r.Namespace, r.Bootstrap)
	return refuses(row, err, r.Bootstrap, v.now())
}

// refuses says why a bootstrap certificate permits nothing, or nil.
func refuses(row bootstrapRow, err error, fingerprint string, now time.Time) error {
	switch {
	case errors.Is(err, db.ErrNoRows):
		return ErrUnknownCertificate.With("it is no bootstrap certificate of this namespace")
	case err != nil:
		return err
	case row.Revoked != nil:
		return errRevoked.Withf("certificate %s", fingerprint)
	case now.UnixMilli() >= row.NotAfter:
		return errExpired.Withf("bootstrap certificate %s", fingerprint)
	case row.MaxUses > 0 && row.Uses >= row.MaxUses:
		return errUsedUp.Withf("%d uses", row.MaxUses)
	case row.PerHour > 0 && row.HourStart > now.Add(-time.Hour).UnixMilli() && row.HourUses >= row.PerHour:
		return errTooFast.Withf("%d uses an hour", row.PerHour)
	}
	return nil
}

// client is a client certificate just made.
type client struct {
	cert   *x509.Certificate
	issuer string
	p12    []byte
}

// makeClient issues a client certificate and completes id with its
// fingerprint and end. Nothing is stored.
func (v *Vault) makeClient(ctx context.Context, id *Identity, name string, life time.Duration) (client, error) {
	roots, err := v.ServerRoots(ctx)
	if err != nil {
		return client{}, err
	}
	ca, err := v.authority(ctx, id.Namespace, kindDevice)
	if err != nil {
		return client{}, err
	}
	key, err := pki.NewKey()
	if err != nil {
		return client{}, err
	}
	cert, err := ca.NewClient(v.now(), name, life, key.Public())
	if err != nil {
		return client{}, err
	}
	p12, err := pki.EncodeP12(key, cert, roots)
	if err != nil {
		return client{}, err
	}
	id.Fingerprint, id.NotAfter = hexSum(cert.Raw), cert.NotAfter
	return client{cert: cert, issuer: hexSum(ca.Cert.Raw), p12: p12}, nil
}
