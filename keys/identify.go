package keys

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

// Why a client certificate is refused. Codes are for programs, causes for
// people who read the log of a device.
var (
	ErrNoCertificate      = fault.New(fault.Unauthorized, "certificate_required", "a client certificate is required")
	ErrUnknownCertificate = fault.New(fault.Unauthorized, "unknown_certificate", "this server does not know the client certificate")
	errExpired            = fault.New(fault.Unauthorized, "certificate_expired", "the client certificate has expired")
	errNotYetValid        = fault.New(fault.Unauthorized, "certificate_not_yet_valid", "the client certificate is not valid yet")
	errRevoked            = fault.New(fault.Unauthorized, "certificate_revoked", "the client certificate was revoked")
	errIssuerRevoked      = fault.New(fault.Unauthorized, "certificate_issuer_revoked", "the CA of the client certificate is not trusted any more")
	errUntrusted          = fault.New(fault.Unauthorized, "certificate_untrusted", "the client certificate does not verify")
)

// Kind says what a client certificate is good for.
type Kind string

// The kinds of client certificates.
const (
	KindDevice    Kind = "device"    // a device's own
	KindBootstrap Kind = "bootstrap" // shared by devices, good for provisioning alone
)

// Identity is who presents a client certificate.
type Identity struct {
	Namespace   uptane.Namespace
	Kind        Kind
	Device      uptane.DeviceID // empty for a bootstrap certificate
	OEMID       uptane.OEMID    // empty for a bootstrap certificate
	Fingerprint string          // SHA-256 of the certificate, lower-case hex
	NotAfter    time.Time
}

// maxKnown bounds the certificates remembered, at about half a kilobyte each.
const maxKnown = 1 << 15

// knownCerts remembers what the table says about certificates.
type knownCerts struct {
	mu   sync.RWMutex
	byID map[[sha256.Size]byte]*knownCert

	issuers sync.Map // fingerprint -> *x509.Certificate
}

// issuer parses a CA certificate once, as many leaves have the same.
func (k *knownCerts) issuer(fingerprint string, der []byte) (*x509.Certificate, error) {
	if c, ok := k.issuers.Load(fingerprint); ok {
		return c.(*x509.Certificate), nil
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading issuer %s: %w", fingerprint, err)
	}
	k.issuers.Store(fingerprint, c)
	return c, nil
}

// knownCert is immutable but for verified.
type knownCert struct {
	id            Identity
	stamp         string    // holds while the namespace's stamp is this one
	refused       error     // it is in no table: holds until it is a second old
	read          time.Time // with refused
	revoked       bool
	issuerRevoked bool
	issuer        *x509.Certificate
	verified      atomic.Bool // the issuer's signature and the extensions
}

func (k *knownCerts) get(sum [sha256.Size]byte) *knownCert {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.byID[sum]
}

// forget makes the table be asked next time.
func (k *knownCerts) forget(leaf *x509.Certificate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.byID, sha256.Sum256(leaf.Raw))
}

// put makes room by forgetting any other: those in use come back with one read.
func (k *knownCerts) put(sum [sha256.Size]byte, c *knownCert) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byID == nil {
		k.byID = map[[sha256.Size]byte]*knownCert{}
	}
	for other := range k.byID {
		if len(k.byID) < maxKnown {
			break
		}
		delete(k.byID, other)
	}
	k.byID[sum] = c
}

// Identify says who presents the certificates of a TLS connection, leaf
// first; what follows the leaf is not looked at. The faults say why not, all
// 401 but for devices of a customer's own CA that may not be entered (403).
// A revocation is in force within a second on every replica.
func (v *Vault) Identify(ctx context.Context, certs []*x509.Certificate) (Identity, error) {
	if len(certs) == 0 {
		return Identity{}, ErrNoCertificate
	}
	leaf := certs[0]
	sum := sha256.Sum256(leaf.Raw)
	c, err := v.recall(ctx, sum, leaf)
	if err != nil {
		return Identity{}, err
	}
	if c.refused != nil {
		v.count(c.refused)
		return Identity{}, c.refused
	}
	if err := c.check(leaf, v.now()); err != nil {
		return Identity{}, err
	}
	return c.id, nil
}

func (v *Vault) recall(ctx context.Context, sum [sha256.Size]byte, leaf *x509.Certificate) (*knownCert, error) {
	if c := v.known.get(sum); c != nil && c.refused != nil {
		if age := v.now().Sub(c.read); age >= 0 && age < fresh {
			return c, nil
		}
	} else if c != nil {
		stamp, err := v.stamp(ctx, c.id.Namespace, stampCertificates)
		if err != nil {
			return nil, err
		}
		if stamp == c.stamp {
			return c, nil
		}
	}
	c, err := v.lookUp(ctx, hex.EncodeToString(sum[:]), leaf)
	if err != nil {
		return nil, fmt.Errorf("looking up client certificate: %w", err)
	}
	v.known.put(sum, c)
	return c, nil
}

// lookUp reads the table. An error is an accident, not a refusal.
func (v *Vault) lookUp(ctx context.Context, fingerprint string, leaf *x509.Certificate) (*knownCert, error) {
	row, err := v.store.certificate(ctx, fingerprint)
	if errors.Is(err, db.ErrNoRows) {
		return v.stranger(ctx, fingerprint, leaf)
	}
	if err != nil {
		return nil, err
	}
	// The row may be older than the stamp read now: read it again.
	stamp, err := v.stamp(ctx, row.Namespace, stampCertificates)
	if err != nil {
		return nil, err
	}
	if row, err = v.store.certificate(ctx, fingerprint); err != nil {
		return nil, err
	}
	issuer, err := v.known.issuer(row.Issuer, row.IssuerCert)
	if err != nil {
		return nil, err
	}
	return &knownCert{
		id: Identity{Namespace: row.Namespace, Kind: row.Kind, Device: row.Device, OEMID: row.OEMID,
			Fingerprint: fingerprint, NotAfter: time.UnixMilli(row.NotAfter).UTC()},
		stamp: stamp, revoked: row.Revoked != nil, issuerRevoked: row.IssuerRevoked != nil, issuer: issuer,
	}, nil
}

// check judges a certificate that is in the table.
func (c *knownCert) check(leaf *x509.Certificate, now time.Time) error {
	switch {
	case c.revoked:
		return errRevoked.Withf("certificate %s", c.id.Fingerprint)
	case c.issuerRevoked:
		return errIssuerRevoked.Withf("CA %s", hexSum(c.issuer.Raw))
	}
	if err := checkTime(leaf, now); err != nil {
		return err
	}
	if err := checkTime(c.issuer, now); err != nil {
		return err
	}
	if c.verified.Load() {
		return nil
	}
	if err := verifyLeaf(leaf, c.issuer, now); err != nil {
		return err
	}
	c.verified.Store(true)
	return nil
}

func checkTime(cert *x509.Certificate, now time.Time) error {
	if now.Before(cert.NotBefore) {
		return errNotYetValid.Withf("%q begins %s", clip(cert.Subject.CommonName), cert.NotBefore.UTC().Format(time.RFC3339))
	}
	if now.After(cert.NotAfter) {
		return errExpired.Withf("%q ended %s", clip(cert.Subject.CommonName), cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// verifyLeaf checks signature and extensions. A leaf need not name a usage;
// one that does must name clients.
func verifyLeaf(leaf, issuer *x509.Certificate, now time.Time) error {
	roots := x509.NewCertPool()
	roots.AddCert(issuer)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return errUntrusted.Withf("%q: %v", clip(leaf.Subject.CommonName), err)
	}
	return nil
}

// stranger judges a certificate that is not in the table, by its issuer.
func (v *Vault) stranger(ctx context.Context, fingerprint string, leaf *x509.Certificate) (*knownCert, error) {
	rows, err := v.store.clientAuthorities(ctx, hexSum(leaf.RawIssuer))
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		issuer, err := v.known.issuer(row.Fingerprint, row.Certificate)
		if err != nil {
			return nil, err
		}
		if leaf.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if row.Kind == kindDevice {
			v.log.Error("refused a certificate of our own device CA that was never issued here: the CA's key is in foreign hands, or an older backup was restored",
				"namespace", row.Namespace, "fingerprint", fingerprint, "common_name", clip(leaf.Subject.CommonName), "issuer", row.Fingerprint)
			v.noteLost(ctx, row, issuer, fingerprint, leaf)
			return v.refuse(forged), nil
		}
		return v.firstContact(ctx, row, issuer, fingerprint, leaf)
	}
	v.strangers.Do(func() {
		v.log.Warn("refused a client certificate that this server never issued; was the device provisioned at another server?",
			"fingerprint", fingerprint, "common_name", clip(leaf.Subject.CommonName), "issuer", clip(leaf.Issuer.CommonName))
	})
	return v.refuse(ErrUnknownCertificate.Withf("%q, issued by %q", clip(leaf.Subject.CommonName), clip(leaf.Issuer.CommonName))), nil
}

// forged looks to the caller like any unknown certificate.
var forged = ErrUnknownCertificate.With("it is not in the certificate table")

func (v *Vault) refuse(why error) *knownCert { return &knownCert{refused: why, read: v.now()} }

func (v *Vault) count(refused error) {
	switch {
	case refused == error(forged):
		v.forged.Add(1)
	case errors.Is(refused, ErrUnknownCertificate):
		v.unknown.Add(1)
	}
}

// clip shortens a name out of a certificate. The reader of the log or of the
// answer escapes what it contains.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
