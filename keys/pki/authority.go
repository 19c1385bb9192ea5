// Package pki makes the certificates of a Sealift installation. It is pure:
// no database, no file, no clock but the time it is given.
//
// There are two trees. Servers: a root kept offline, a second one for the
// day the first is replaced, an online intermediate for three years, leaves
// for 398 days. Devices, one tree a namespace: a root kept offline and an
// online intermediate, both for forty years, because a device in the field
// cannot renew what it was given and an issuer must outlive what it issued.
//
// Every key is ECDSA P-256, the curve that OpenSSL, GnuTLS and mbed TLS on
// devices all have. NotBefore lies 48 hours back, for boards without a
// clock. Serial numbers are 127 random bits.
package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// How long what is made here is valid, counted from the time given; and how
// far back its NotBefore lies.
const (
	Backdate                 = 48 * time.Hour
	RootLife                 = 40 * year
	ServerAuthorityLife      = 3 * year
	DeviceAuthorityLife      = 40 * year
	ServerLife               = 398 * 24 * time.Hour
	BootstrapLife            = 5 * year
	MaxDeviceLife            = 20 * year
	year                     = 365*24*time.Hour + 6*time.Hour
	maxName                  = 64 // of a common name, RFC 5280
	serialBits          uint = 127
)

// Authority is a certificate that issues others, with its private key.
// It is safe for concurrent use.
type Authority struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// NewServerRoot makes a self-signed root of the server tree. Name, at most 64
// bytes, is what people see; it decides nothing.
func NewServerRoot(now time.Time, name string) (Authority, error) {
	return newAuthority(now, name, RootLife, Authority{}, func(c *x509.Certificate) { c.MaxPathLen = 1 })
}

// NewDeviceRoot makes a self-signed root of the device tree of one namespace.
func NewDeviceRoot(now time.Time, name string) (Authority, error) {
	return newAuthority(now, name, RootLife, Authority{}, func(c *x509.Certificate) { c.MaxPathLen = 1 })
}

// NewServerIntermediate makes an intermediate below a server root that lasts for
// ServerAuthorityLife. It issues server certificates only.
func NewServerIntermediate(now time.Time, name string, root Authority) (Authority, error) {
	return NewServerIntermediateFor(now, name, root, ServerAuthorityLife)
}

// NewServerIntermediateFor is [NewServerIntermediate] for another life.
func NewServerIntermediateFor(now time.Time, name string, root Authority, life time.Duration) (Authority, error) {
	return newAuthority(now, name, life, root, func(c *x509.Certificate) {
		c.MaxPathLenZero = true
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
}

// NewDeviceIntermediate makes an intermediate below a device root. It issues
// client certificates only, so that no device can pose as a server.
func NewDeviceIntermediate(now time.Time, name string, root Authority) (Authority, error) {
	return newAuthority(now, name, DeviceAuthorityLife, root, func(c *x509.Certificate) {
		c.MaxPathLenZero = true
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
}

func newAuthority(now time.Time, name string, life time.Duration, parent Authority, set func(*x509.Certificate)) (Authority, error) {
	t, err := template(now, name, life)
	if err != nil {
		return Authority{}, err
	}
	t.BasicConstraintsValid = true
	t.IsCA = true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	set(t)
	key, err := NewKey()
	if err != nil {
		return Authority{}, err
	}
	if parent.Cert == nil {
		parent = Authority{Cert: t, Key: key}
	}
	cert, err := issue(t, parent, key.Public())
	if err != nil {
		return Authority{}, err
	}
	return Authority{Cert: cert, Key: key}, nil
}

// NewKey makes a P-256 private key.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating key: %w", err)
	}
	return key, nil
}

func template(now time.Time, name string, life time.Duration) (*x509.Certificate, error) {
	if name == "" || len(name) > maxName {
		return nil, fmt.Errorf("naming a certificate: %d bytes, want 1 to %d", len(name), maxName)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	now = now.UTC().Truncate(time.Second)
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), // zero is not allowed
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-Backdate),
		NotAfter:     now.Add(life),
	}, nil
}

// issue signs t; a child never outlives its parent.
func issue(t *x509.Certificate, parent Authority, pub crypto.PublicKey) (*x509.Certificate, error) {
	if t.NotAfter.After(parent.Cert.NotAfter) {
		t.NotAfter = parent.Cert.NotAfter
	}
	if !t.NotAfter.After(t.NotBefore.Add(Backdate)) {
		return nil, fmt.Errorf("issuing certificate %q: its issuer %q expired on %s",
			t.Subject.CommonName, parent.Cert.Subject.CommonName, parent.Cert.NotAfter.Format(time.DateOnly))
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent.Cert, pub, parent.Key)
	if err != nil {
		return nil, fmt.Errorf("issuing certificate %q: %w", t.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

// CheckIssuer returns an error unless cert may issue certificates: a CA with
// the certificate-signing usage, valid now, with a key of a size in use.
func CheckIssuer(cert *x509.Certificate, now time.Time) error {
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return errors.New("it is not a CA certificate (basic constraints)")
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("its key usage does not allow signing certificates")
	case len(cert.RawSubject) == 0 || cert.Subject.String() == "":
		return errors.New("its subject is empty")
	case now.Before(cert.NotBefore):
		return fmt.Errorf("it is valid only from %s", cert.NotBefore.UTC().Format(time.RFC3339))
	case now.After(cert.NotAfter):
		return fmt.Errorf("it expired on %s", cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// CheckPair returns an error unless the key of a belongs to its certificate
// and root issued it.
func (a Authority) CheckPair(root *x509.Certificate) error {
	pub, err := x509.MarshalPKIXPublicKey(a.Key.Public())
	if err != nil {
		return fmt.Errorf("reading public key: %w", err)
	}
	if !bytes.Equal(pub, a.Cert.RawSubjectPublicKeyInfo) {
		return errors.New("the private key does not belong to the certificate")
	}
	if err := a.Cert.CheckSignatureFrom(root); err != nil {
		return fmt.Errorf("certificate %q was not issued by %q: %w", a.Cert.Subject.CommonName, root.Subject.CommonName, err)
	}
	return nil
}
