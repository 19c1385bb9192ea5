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

var (
	errNoAuthority   = fault.New(fault.FailedDependency, "no_ca", "the server has no CA for this; import one")
	errIssuer        = fault.New(fault.Invalid, "invalid_issuer", "the CA certificate is not acceptable")
	errIssuerTaken   = fault.New(fault.Conflict, "issuer_exists", "the public key of this CA is known already; it serves one namespace only")
	errUnknownIssuer = fault.New(fault.NotFound, "unknown_issuer", "no such CA in this namespace")
)

// ServerTree is what a new server needs of its CA: the root in use, the one
// that will follow it, and an intermediate of the first with its key.
type ServerTree struct {
	Root, Next *x509.Certificate
	Issuer     pki.Authority
}

// ImportServerTree takes over the server's CA. Devices are told to trust both
// roots; the private keys of roots stay where they are. Importing again, with
// other roots or a new intermediate, replaces what was there.
func (v *Vault) ImportServerTree(ctx context.Context, t ServerTree) error {
	now := v.now()
	if err := checkTree(now, t.Issuer, t.Root, t.Next); err != nil {
		return fmt.Errorf("importing server CA: %w", err)
	}
	if t.Root.Equal(t.Next) {
		return fmt.Errorf("importing server CA: %w", errIssuer.With("the next root is the one in use"))
	}
	box, err := v.sealAuthority(ctx, "", kindServer, t.Issuer)
	if err != nil {
		return fmt.Errorf("importing server CA: %w", err)
	}
	act, err := v.act(ctx, "", "ca.import", "server CA %s", hexSum(t.Issuer.Cert.Raw))
	if err != nil {
		return err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		return errors.Join(
			v.store.retireServerRoots(ctx, tx),
			v.store.addAuthority(ctx, tx, "", kindServerRoot, t.Root, nil, now),
			v.store.addAuthority(ctx, tx, "", kindServerRootNext, t.Next, nil, now),
			v.store.addAuthority(ctx, tx, "", kindServer, t.Issuer.Cert, &box, now),
			v.store.addAct(ctx, tx, act))
	})
	if err != nil {
		return fmt.Errorf("importing server CA: %w", taken(err))
	}
	return nil
}

// ImportDeviceTree takes over the device CA of a namespace: its root, and an
// intermediate with its key, which issues from now on. Certificates of
// earlier intermediates stay good.
func (v *Vault) ImportDeviceTree(ctx context.Context, ns uptane.Namespace, root *x509.Certificate, issuer pki.Authority) error {
	if !ns.Valid() {
		return errNamespace.Withf("%.80q", ns)
	}
	now := v.now()
	if err := checkTree(now, issuer, root); err != nil {
		return fmt.Errorf("importing device CA: %w", err)
	}
	box, err := v.sealAuthority(ctx, ns, kindDevice, issuer)
	if err != nil {
		return fmt.Errorf("importing device CA: %w", err)
	}
	act, err := v.act(ctx, ns, "ca.import", "device CA %s", hexSum(issuer.Cert.Raw))
	if err != nil {
		return err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		return errors.Join(
			v.store.addAuthority(ctx, tx, ns, kindDeviceRoot, root, nil, now),
			v.store.addAuthority(ctx, tx, ns, kindDevice, issuer.Cert, &box, now),
			v.store.renewStamp(ctx, tx, ns, stampCertificates),
			v.store.addAct(ctx, tx, act))
	})
	if err != nil {
		return fmt.Errorf("importing device CA: %w", taken(err))
	}
	v.touched(ns)
	return nil
}

// checkTree wants the issuer to be of the first root.
func checkTree(now time.Time, issuer pki.Authority, roots ...*x509.Certificate) error {
	if issuer.Cert == nil || issuer.Key == nil {
		return errIssuer.With("no intermediate, or none with its private key")
	}
	for _, c := range append([]*x509.Certificate{issuer.Cert}, roots...) {
		if c == nil {
			return errIssuer.With("a root is missing")
		}
		if err := pki.CheckIssuer(c, now); err != nil {
			return errIssuer.Withf("%q: %v", c.Subject.CommonName, err)
		}
	}
	if err := issuer.CheckPair(roots[0]); err != nil {
		return errIssuer.With(err.Error())
	}
	return nil
}

func (v *Vault) sealAuthority(ctx context.Context, ns uptane.Namespace, kind string, a pki.Authority) (sealed, error) {
	return v.seals.seal(ctx, a.Key, string(ns), "authority", kind, hexSum(a.Cert.Raw))
}

// authority opens the newest online CA of a kind.
func (v *Vault) authority(ctx context.Context, ns uptane.Namespace, kind string) (pki.Authority, error) {
	row, err := v.store.lastAuthority(ctx, ns, kind)
	if errors.Is(err, db.ErrNoRows) {
		return pki.Authority{}, errNoAuthority.Withf("%s CA of namespace %q", kind, ns)
	}
	if err != nil || row.Number == nil {
		return pki.Authority{}, fmt.Errorf("reading %s CA: %w", kind, errOr(err, errNoAuthority))
	}
	cert, err := x509.ParseCertificate(row.Certificate)
	if err != nil {
		return pki.Authority{}, fmt.Errorf("reading %s CA: %w", kind, err)
	}
	key, err := v.seals.open(ctx, sealed{row.Sealed, *row.Number}, string(ns), "authority", kind, row.Fingerprint)
	if err != nil {
		return pki.Authority{}, fmt.Errorf("opening %s CA: %w", kind, err)
	}
	return pki.Authority{Cert: cert, Key: key}, nil
}

// ServerRoots returns the current and the next root of the server's CA: what
// devices and tools are to trust.
func (v *Vault) ServerRoots(ctx context.Context) ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	for _, kind := range []string{kindServerRoot, kindServerRootNext} {
		cert, err := v.rootCA(ctx, "", kind)
		if err != nil {
			return nil, fmt.Errorf("reading server roots: %w", err)
		}
		roots = append(roots, cert)
	}
	return roots, nil
}

// DeviceRoot returns the root of the device CA of a namespace.
func (v *Vault) DeviceRoot(ctx context.Context, ns uptane.Namespace) (*x509.Certificate, error) {
	cert, err := v.rootCA(ctx, ns, kindDeviceRoot)
	if err != nil {
		return nil, fmt.Errorf("reading device root: %w", err)
	}
	return cert, nil
}

func (v *Vault) rootCA(ctx context.Context, ns uptane.Namespace, kind string) (*x509.Certificate, error) {
	row, err := v.store.lastAuthority(ctx, ns, kind)
	if errors.Is(err, db.ErrNoRows) {
		err = errNoAuthority.Withf("%s", kind)
	}
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(row.Certificate)
}

// Issuer is a customer's own CA whose devices are let in.
type Issuer struct {
	Fingerprint string
	Certificate *x509.Certificate
	Added       time.Time
	Revoked     time.Time // zero: it is in force
}

// AddIssuer lets the devices of a customer's own CA into a namespace; a leaf
// of it is entered at first contact under its common name. The certificate
// must be the one that signs devices directly. There is no proof here that
// the caller holds its key: see [Vault.AddProvenIssuer].
func (v *Vault) AddIssuer(ctx context.Context, ns uptane.Namespace, cert *x509.Certificate) error {
	if !ns.Valid() {
		return errNamespace.Withf("%.80q", ns)
	}
	now := v.now()
	if err := pki.CheckIssuer(cert, now); err != nil {
		return errIssuer.With(err.Error())
	}
	act, err := v.act(ctx, ns, "issuer.add", "CA %s, %s", hexSum(cert.Raw), cert.Subject)
	if err != nil {
		return err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		known, err := v.store.authorityExists(ctx, tx, hexSum(cert.RawSubjectPublicKeyInfo))
		if err != nil || known {
			return errOr(err, errIssuerTaken)
		}
		return errors.Join(
			v.store.addAuthority(ctx, tx, ns, kindForeign, cert, nil, now),
			v.store.renewStamp(ctx, tx, ns, stampCertificates),
			v.store.addAct(ctx, tx, act))
	})
	if err != nil {
		return fmt.Errorf("adding issuer: %w", taken(err))
	}
	v.touched(ns)
	return nil
}

// RevokeIssuer shuts out all devices that a customer's own CA let in, for good.
func (v *Vault) RevokeIssuer(ctx context.Context, ns uptane.Namespace, fingerprint string) error {
	act, err := v.act(ctx, ns, "issuer.revoke", "CA %.80s", fingerprint)
	if err != nil {
		return err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if n, err := v.store.revokeAuthority(ctx, tx, ns, fingerprint, act.At); err != nil || n == 0 {
			return errOr(err, errUnknownIssuer)
		}
		return errors.Join(v.store.renewStamp(ctx, tx, ns, stampCertificates), v.store.addAct(ctx, tx, act))
	})
	if err != nil {
		return fmt.Errorf("revoking issuer: %w", err)
	}
	v.touched(ns)
	return nil
}

// Issuers lists the customer's own CAs of a namespace, oldest first.
func (v *Vault) Issuers(ctx context.Context, ns uptane.Namespace) ([]Issuer, error) {
	rows, err := v.store.foreignAuthorities(ctx, ns)
	if err != nil {
		return nil, fmt.Errorf("reading issuers: %w", err)
	}
	list := make([]Issuer, len(rows))
	for i, r := range rows {
		cert, err := x509.ParseCertificate(r.Certificate)
		if err != nil {
			return nil, fmt.Errorf("reading issuers: %w", err)
		}
		list[i] = Issuer{Fingerprint: r.Fingerprint, Certificate: cert, Added: time.UnixMilli(r.Created).UTC(), Revoked: maybeTime(r.Revoked)}
	}
	return list, nil
}

func taken(err error) error {
	if errors.Is(err, db.ErrExists) {
		return errIssuerTaken.Wrap(err)
	}
	return err
}

// maybeTime is the zero time for NULL.
func maybeTime(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms).UTC()
}
