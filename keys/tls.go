package keys

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sealift/internal/db"
	"sealift/keys/pki"
)

const (
	renewPart  = 3 // a server certificate is renewed when a third of it is left
	renewRetry = time.Minute
	// sayAgain is how often the log repeats one kind of trouble in handshakes.
	sayAgain = 10 * time.Second
)

// serverLeaf is the certificate of a listener. It is renewed by the first
// handshake after two thirds of its life.
type serverLeaf struct {
	vault *Vault
	names pki.Names

	mu      sync.Mutex
	cert    *tls.Certificate
	renewAt time.Time

	wrongName rate.Sometimes
}

// TLSConfig returns the configuration of a listener for names: TLS 1.2 or
// later, HTTP/2, leaf and intermediate of the server's CA. A client
// certificate is asked for and passed on unverified, so that [Vault.Identify]
// can answer with a reason where a handshake could only break off. For a
// listener without client certificates set ClientAuth on a clone.
//
// The certificate is issued, stored and renewed as needed; replicas with the
// same names share it. Other names get another one, from the same CA.
func (v *Vault) TLSConfig(ctx context.Context, names pki.Names) (*tls.Config, error) {
	names, err := names.Normal()
	if err != nil {
		return nil, err
	}
	l := &serverLeaf{vault: v, names: names, wrongName: rate.Sometimes{Interval: sayAgain}}
	if err := l.renew(ctx); err != nil {
		return nil, err
	}
	v.leaves.Store(l, struct{}{})
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		ClientAuth:     tls.RequestClientCert,
		GetCertificate: l.get,
		Time:           v.now,
	}, nil
}

func (l *serverLeaf) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.vault.now(); !now.Before(l.renewAt) {
		if err := l.renewLocked(hello.Context()); err != nil {
			// The old one serves on, to its end and beyond: a device that has
			// no clock may still take it.
			l.renewAt = now.Add(renewRetry)
			l.vault.log.Error("renewing the server certificate failed; the old one stays in use",
				"names", l.names.String(), "ends", l.cert.Leaf.NotAfter, "err", err)
		}
	}
	if name := hello.ServerName; name != "" && l.cert.Leaf.VerifyHostname(name) != nil {
		l.wrongName.Do(func() {
			l.vault.log.Warn("a client asks for a server name that the certificate does not have and will refuse it; restart with --hostname if the name is right",
				"name", name, "names", l.names.String(), "remote", hello.Conn.RemoteAddr().String())
		})
	}
	return l.cert, nil
}

func (l *serverLeaf) renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewLocked(ctx)
}

func (l *serverLeaf) renewLocked(ctx context.Context) error {
	cert, err := l.vault.serverCertificate(ctx, l.names)
	if err != nil {
		return fmt.Errorf("issuing server certificate for %s: %w", l.names, err)
	}
	l.cert, l.renewAt = cert, renewalOf(cert.Leaf)
	return nil
}

func renewalOf(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / renewPart)
}

// serverCertificate returns the stored certificate for names, or issues one
// where there is none, its time has come or the CA has changed.
func (v *Vault) serverCertificate(ctx context.Context, names pki.Names) (*tls.Certificate, error) {
	ca, err := v.authority(ctx, "", kindServer)
	if err != nil {
		return nil, err
	}
	row, err := v.store.serverCertificate(ctx, names.String())
	if err == nil && row.Issuer == hexSum(ca.Cert.Raw) {
		cert, err := v.openServerCertificate(ctx, row, ca)
		if err != nil {
			return nil, err
		}
		// An intermediate near its end issues only short ones: a new one is no
		// better than one that ends with it.
		renew := !v.now().Before(renewalOf(cert.Leaf)) && cert.Leaf.NotAfter.Before(ca.Cert.NotAfter)
		if !renew && !v.now().Before(cert.Leaf.NotBefore) {
			return cert, nil
		}
	} else if err != nil && !errors.Is(err, db.ErrNoRows) {
		return nil, err
	}
	return v.issueServerCertificate(ctx, names, ca)
}

func (v *Vault) openServerCertificate(ctx context.Context, row serverCertRow, ca pki.Authority) (*tls.Certificate, error) {
	leaf, err := x509.ParseCertificate(row.Certificate)
	if err != nil {
		return nil, fmt.Errorf("reading stored certificate: %w", err)
	}
	key, err := v.seals.open(ctx, row.sealed, "", "server", "certificate", hexSum(row.Certificate))
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.Cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func (v *Vault) issueServerCertificate(ctx context.Context, names pki.Names, ca pki.Authority) (*tls.Certificate, error) {
	key, err := pki.NewKey()
	if err != nil {
		return nil, err
	}
	now := v.now()
	leaf, err := ca.NewServer(now, names, key.Public())
	if err != nil {
		return nil, err
	}
	box, err := v.seals.seal(ctx, key, "", "server", "certificate", hexSum(leaf.Raw))
	if err != nil {
		return nil, err
	}
	if err := v.store.addServerCertificate(ctx, names.String(), hexSum(ca.Cert.Raw), leaf, box, now); err != nil {
		return nil, err
	}
	v.log.Info("issued a server certificate", "names", names.String(), "ends", leaf.NotAfter)
	if left := ca.Cert.NotAfter.Sub(now); left < pki.ServerLife {
		v.log.Warn("the server's intermediate CA ends soon: sealift ca renew server", "ends", ca.Cert.NotAfter)
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.Cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}
