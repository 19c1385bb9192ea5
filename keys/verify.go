package keys

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/fsck"
	"sealift/keys/pki"
	"sealift/uptane"
)

// verifyPage is how many certificates are looked at between two looks at the
// table.
const verifyPage = 500

// Known tells whether a device is known to whoever keeps the list of devices.
type Known func(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) (bool, error)

// Verify checks everything that is stored, of all namespaces, and writes what
// it finds into a: each root follows from the one before, in both flavours; no
// key serves two masters; every sealed key opens and is the one of its public
// key; every CA and server certificate can be read and chained; every row of
// the certificate table has its issuer, its device and its enrolment. It
// changes nothing and may run while others sign. Errors are accidents.
func (v *Vault) Verify(ctx context.Context, a *fsck.Account, known Known) error {
	k := &verification{Vault: v, account: a, known: known}
	for what, step := range map[string]func(context.Context) error{
		"roots": k.verifyRoots, "online keys": k.verifyKeys, "CAs": k.verifyAuthorities, "certificates": k.verifyCertificates,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("verifying %s: %w", what, err)
		}
	}
	return nil
}

type verification struct {
	*Vault
	account *fsck.Account
	known   Known
}

// verifyRoots goes through each chain from its beginning.
func (k *verification) verifyRoots(ctx context.Context) error {
	rows, err := k.store.allRoots(ctx)
	if err != nil {
		return err
	}
	uses, err := k.store.keyUses(ctx)
	if err != nil {
		return err
	}
	var c chain
	for _, row := range rows {
		if key := (repoKey{row.Namespace, row.Repository}); c.key != key {
			c = chain{key: key, state: &rootState{ns: row.Namespace, repo: row.Repository}}
		}
		k.account.Looked("roots", 1)
		for _, problem := range c.follow(row, uses) {
			k.account.Damaged(row.Namespace, fmt.Sprintf("root %d of the %s repository", row.Version, row.Repository), "%s", problem)
		}
	}
	return nil
}

// chain is how far the roots of a repository have been followed.
type chain struct {
	key   repoKey
	state *rootState
	twin  *metadata.RootType // of the last version
}

// follow takes the next root and returns what is wrong with it.
func (c *chain) follow(row storedRoot, uses map[uptane.KeyID]storedUse) (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if row.Version != c.state.version+1 {
		wrong("it comes after version %d", c.state.version)
	}
	d, err := uptane.OpenRoot(uptane.Uptane, row.Document, c.state.payload, time.Time{})
	if err != nil {
		wrong("%v", err)
		// Its own signatures may hold, so that the next can be held against it.
		if d, err = uptane.OpenRoot(uptane.Uptane, row.Document, nil, time.Time{}); err != nil {
			c.state = &rootState{ns: row.Namespace, repo: row.Repository, version: row.Version}
			return problems
		}
	}
	if !bytes.Equal(d.Raw, row.Document) || int(d.Payload.Version) != row.Version || d.Payload.Expires.UnixMilli() != row.Expires {
		wrong("its row says otherwise about its bytes, version or end")
	}
	next := nextRoot{version: row.Version, payload: d.Payload, roles: map[uptane.Role]roleTrust{}}
	for _, role := range topLevel() {
		ring, err := uptane.RingOf(uptane.Uptane, &d.Payload, role)
		if err != nil {
			wrong("%v", err)
			continue
		}
		next.roles[role] = roleTrust{ring.Keys, ring.Threshold}
		for _, key := range ring.Keys {
			want, entered := storedUse{key.ID(), row.Namespace, row.Repository, role}, uses[key.ID()]
			if mayBeOfRootToo(row.Repository, role) && entered.Role == uptane.RoleRoot {
				want.Role = uptane.RoleRoot // of an imported root
			}
			if entered != want {
				wrong("key %s of %s is not entered for it", key.ID(), role)
			}
		}
	}
	next.since = keysSince(c.state, next)
	var since map[uptane.Role]int
	if json.Unmarshal([]byte(row.KeysSince), &since) != nil || !maps.Equal(since, next.since) {
		wrong("keys are said to have changed in %s, they did in %v", row.KeysSince, next.since)
	}
	if len(row.Twin) > 0 {
		problems = append(problems, c.followTwin(row, d.Signed)...)
	} else {
		c.twin = nil
	}
	c.state = &rootState{ns: row.Namespace, repo: row.Repository, version: row.Version, payload: &d.Payload, roles: next.roles, since: next.since}
	return problems
}

func (c *chain) followTwin(row storedRoot, signed []byte) (problems []string) {
	if row.Version > 1 && c.twin == nil {
		problems = append(problems, "it has a TUF document, the version before has none")
	}
	d, err := uptane.OpenRoot(uptane.TUF, row.Twin, c.twin, time.Time{})
	if err == nil {
		err = uptane.Twins(uptane.RoleRoot, signed, d.Signed)
	}
	if err != nil {
		problems = append(problems, "TUF document: "+err.Error())
	}
	c.twin = &d.Payload
	return problems
}

// verifyKeys opens every private key and holds it against its public one.
func (k *verification) verifyKeys(ctx context.Context) error {
	rows, err := k.store.allOnlineKeys(ctx)
	if err != nil {
		return err
	}
	uses, err := k.store.keyUses(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		k.account.Looked("online keys", 1)
		key, err := uptane.ParseSPKI(row.SPKI)
		if err == nil && (key.ID() != row.KeyID || uses[row.KeyID] != row.storedUse) {
			err = errors.New("its public key is another one, or is entered for something else")
		}
		if err == nil {
			_, uri, unusable := k.seals.openOnline(ctx, row.sealed, roleKey{row.Namespace, row.Repository, row.Role, key})
			if err = unusable; err == nil && uri != "" {
				err = k.seals.away.try(uri, key)
			}
		}
		if err != nil {
			k.account.Damaged(row.Namespace, fmt.Sprintf("online key %s of %s of the %s repository", row.KeyID, row.Role, row.Repository), "%v", err)
		}
	}
	return ctx.Err()
}

// verifyAuthorities reads every CA and server certificate, and opens their keys.
func (k *verification) verifyAuthorities(ctx context.Context) error {
	rows, err := k.store.allAuthorities(ctx)
	if err != nil {
		return err
	}
	known := map[string]*x509.Certificate{}
	for _, row := range rows {
		k.account.Looked("CAs", 1)
		cert, err := x509.ParseCertificate(row.Certificate)
		if err == nil && hexSum(row.Certificate) != row.Fingerprint {
			err = errors.New("it has another fingerprint")
		}
		if err == nil && row.Number != nil {
			key, unsealed := k.seals.open(ctx, sealed{row.Sealed, *row.Number}, string(row.Namespace), "authority", row.Kind, row.Fingerprint)
			if err = unsealed; err == nil && !samePublic(cert, pki.Authority{Cert: cert, Key: key}) {
				err = errors.New("the private key is another one")
			}
		}
		if err != nil {
			k.account.Damaged(row.Namespace, fmt.Sprintf("CA %s (%s)", row.Fingerprint, row.Kind), "%v", err)
			continue
		}
		known[row.Fingerprint] = cert
	}
	return k.verifyServerCertificates(ctx, known)
}

func (k *verification) verifyServerCertificates(ctx context.Context, authorities map[string]*x509.Certificate) error {
	rows, err := k.store.serverCertificates(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		k.account.Looked("server certificates", 1)
		cert, err := x509.ParseCertificate(row.Certificate)
		switch issuer := authorities[row.Issuer]; {
		case err != nil:
		case hexSum(row.Certificate) != row.Fingerprint:
			err = errors.New("it has another fingerprint")
		case issuer == nil:
			err = fmt.Errorf("its issuer %s is not there", row.Issuer)
		default:
			if err = cert.CheckSignatureFrom(issuer); err == nil {
				key, unsealed := k.seals.open(ctx, row.sealed, "", "server", "certificate", row.Fingerprint)
				if err = unsealed; err == nil && !samePublic(cert, pki.Authority{Cert: cert, Key: key}) {
					err = errors.New("the private key is another one")
				}
			}
		}
		if err != nil {
			k.account.Damaged("", "server certificate "+row.Fingerprint, "%v", err)
		}
	}
	return ctx.Err()
}

// samePublic tells whether a private key is the one of a certificate.
func samePublic(cert *x509.Certificate, a pki.Authority) bool {
	own, err := x509.MarshalPKIXPublicKey(a.Key.Public())
	return err == nil && bytes.Equal(own, cert.RawSubjectPublicKeyInfo)
}

// verifyCertificates goes through the table that says who is a device.
func (k *verification) verifyCertificates(ctx context.Context) error {
	for after := ""; ; {
		page, err := k.store.certificatesAfter(ctx, after, verifyPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, row := range page {
			after = row.Fingerprint
			k.account.Looked("client certificates", 1)
			problem := row.problem()
			if problem == "" && row.Kind == KindDevice {
				there, err := k.known(ctx, row.Namespace, row.Device)
				if err != nil {
					return err
				}
				if !there {
					problem = fmt.Sprintf("the list of devices lacks its device %s", row.Device)
				}
			}
			if problem != "" {
				k.account.Damaged(row.Namespace, "certificate "+row.Fingerprint, "%s", problem)
			}
		}
	}
}

// problem is what is wrong with a row of the certificate table.
func (c storedCert) problem() string {
	switch {
	case len(c.Fingerprint) != 64 || c.NotBefore >= c.NotAfter || c.Serial == "":
		return "its fingerprint, serial or time is none"
	case c.IssuerKind == nil:
		return fmt.Sprintf("its issuer %s is not there", c.Issuer)
	case *c.IssuerKind != kindDevice && *c.IssuerKind != kindForeign || *c.IssuerNamespace != c.Namespace:
		return fmt.Sprintf("its issuer %s is no CA of devices of this namespace", c.Issuer)
	case c.Kind == KindBootstrap && (c.Bootstrap == nil || c.Device != "" || c.OEMID != ""):
		return "it is a bootstrap certificate without limits, or with a device"
	case c.Kind == KindDevice && (c.Device == "" || !c.OEMID.Valid() || c.Holder == nil):
		return fmt.Sprintf("it is of device %q, %q, and nobody is enrolled under that name", c.Device, c.OEMID)
	case c.Kind == KindDevice && c.Revoked == nil && *c.Holder != c.Device:
		return fmt.Sprintf("it is in force for device %s, but the name %s belongs to device %s", c.Device, c.OEMID, *c.Holder)
	}
	return ""
}
