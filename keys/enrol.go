package keys

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/fault"
	"sealift/uptane"
)

// ErrDeviceRegistered: the OEMID belongs to a device that is at work. The code
// is the one word that provisioning clients understand.
var ErrDeviceRegistered = fault.New(fault.Conflict, "device_already_registered",
	"a device of this name is registered; reset it to let it in anew")

var (
	errDeviceName    = fault.New(fault.Invalid, "invalid_device_id", "the device id is not 1 to 64 of A-Z a-z 0-9 . _ : -")
	errDeviceRevoked = fault.New(fault.Forbidden, "device_revoked", "the device of this name was revoked")
	errHeld          = fault.New(fault.Forbidden, "device_held_by_other_issuer", "the device of this name belongs to another CA; reset it to let this one in")
	errNoEnrol       = fault.New(fault.Forbidden, "first_contact_refused", "devices of this CA are not entered at first contact")
)

// firstContact enters a leaf of a customer's own CA under its common name.
// The CA alone decides which of its certificates are of one device: a renewed
// one gets a second row.
func (v *Vault) firstContact(ctx context.Context, ca authorityRow, issuer *x509.Certificate, fingerprint string, leaf *x509.Certificate) (*knownCert, error) {
	now := v.now()
	if ca.Revoked != nil {
		return v.refuse(errIssuerRevoked.Withf("CA %s", ca.Fingerprint)), nil
	}
	for _, check := range []error{checkTime(leaf, now), checkTime(issuer, now), verifyLeaf(leaf, issuer, now)} {
		if check != nil {
			return v.refuse(check), nil
		}
	}
	oemid := uptane.OEMID(leaf.Subject.CommonName)
	if !oemid.Valid() {
		return v.refuse(errDeviceName.Withf("common name %q", clip(string(oemid)))), nil
	}
	if v.enrol == nil {
		return v.refuse(errNoEnrol), nil
	}
	device, err := v.enrol(ctx, ca.Namespace, oemid)
	if err != nil {
		return nil, fmt.Errorf("entering device %s: %w", oemid, err)
	}
	id := Identity{Namespace: ca.Namespace, Kind: KindDevice, Device: device, OEMID: oemid, Fingerprint: fingerprint}
	if err = v.enter(ctx, id, ca.Fingerprint, leaf, now); err != nil {
		if fault.Of(err) == nil {
			return nil, err
		}
		v.log.Warn("refused a device of a customer's CA", "namespace", ca.Namespace, "oemid", oemid, "issuer", ca.Fingerprint, "why", err)
		return v.refuse(err), nil
	}
	v.log.Info("a device of a customer's CA came for the first time with this certificate",
		"namespace", ca.Namespace, "oemid", oemid, "device", device, "fingerprint", fingerprint)
	return v.lookUp(ctx, fingerprint, leaf)
}

func (v *Vault) enter(ctx context.Context, id Identity, issuer string, leaf *x509.Certificate, now time.Time) error {
	return v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		want := enrolment{Namespace: id.Namespace, OEMID: id.OEMID, Device: id.Device, Issuer: issuer, FirstIssued: now.UnixMilli()}
		taken, err := v.take(ctx, tx, want)
		if err != nil {
			return err
		}
		if !taken {
			have, err := v.store.enrolment(ctx, tx, id.Namespace, id.OEMID)
			switch {
			case err != nil:
				return err
			case have.State == stateRevoked:
				return errDeviceRevoked
			case have.Issuer != issuer || have.Device != id.Device:
				return errHeld
			}
		}
		return v.store.addCertificate(ctx, tx, id, issuer, leaf, now)
	})
}

// take enrols an OEMID that is free or was opened.
func (v *Vault) take(ctx context.Context, tx *sqlx.Tx, e enrolment) (bool, error) {
	added, err := v.store.addEnrolment(ctx, tx, e)
	if err != nil || added {
		return added, err
	}
	return v.store.takeEnrolment(ctx, tx, e)
}

// RevokeDevice revokes all certificates of a device. Its name is not given
// out again until [Vault.ResetDevice].
func (v *Vault) RevokeDevice(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) error {
	return v.expel(ctx, ns, device, "device.revoke", stateRevoked, false)
}

// ResetDevice lets a device be provisioned anew, once: it revokes the
// certificates that were issued here and opens the device's name for the next
// request. Certificates of a customer's own CA stay good, because their
// device could get no other.
func (v *Vault) ResetDevice(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) error {
	return v.expel(ctx, ns, device, "device.reset", stateOpen, true)
}

func (v *Vault) expel(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, action, state string, oursOnly bool) error {
	act, err := v.act(ctx, ns, action, "device %s", device)
	if err != nil {
		return err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		// First: who issues a certificate at this moment waits for us, or we for him
		// and then revoke that, too.
		if err := v.store.setEnrolment(ctx, tx, ns, device, state); err != nil {
			return err
		}
		_, err := v.store.revokeDevice(ctx, tx, ns, device, oursOnly, act.At)
		return errors.Join(err,
			v.store.renewStamp(ctx, tx, ns, stampCertificates),
			v.store.addAct(ctx, tx, act))
	})
	if err != nil {
		return fmt.Errorf("revoking certificates of device %s: %w", device, err)
	}
	v.touched(ns)
	return nil
}
