package keys

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	"sealift/internal/fault"
	"sealift/keys/pki"
	"sealift/uptane"
)

var errIssuerProof = fault.New(fault.Invalid, "issuer_not_proven", "the signature does not show that you hold the key of this CA; sign the statement with it")

// IssuerStatement is what the key of a customer's own CA must sign before its
// devices are let in: it names the CA, the namespace and this server, so that the
// signature is good nowhere else.
func (v *Vault) IssuerStatement(ctx context.Context, ns uptane.Namespace, cert *x509.Certificate) ([]byte, error) {
	if err := pki.CheckIssuer(cert, v.now()); err != nil {
		return nil, errIssuer.With(err.Error())
	}
	roots, err := v.ServerRoots(ctx)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "Devices of the CA with the certificate %s may enter namespace %s of the server with the root %s.\n",
		hexSum(cert.Raw), ns, hexSum(roots[0].Raw)), nil
}

// AddProvenIssuer is [Vault.AddIssuer] for callers from outside: proof is the
// signature of the CA's key under [Vault.IssuerStatement], SHA-256 with RSA
// (PKCS #1 v1.5 or PSS) or with ECDSA in ASN.1, or plain Ed25519. Without it
// anyone could name the CA of another customer first.
func (v *Vault) AddProvenIssuer(ctx context.Context, ns uptane.Namespace, cert *x509.Certificate, proof []byte) (Issuer, error) {
	statement, err := v.IssuerStatement(ctx, ns, cert)
	if err != nil {
		return Issuer{}, err
	}
	var methods []x509.SignatureAlgorithm
	switch cert.PublicKey.(type) {
	case *rsa.PublicKey:
		methods = []x509.SignatureAlgorithm{x509.SHA256WithRSA, x509.SHA256WithRSAPSS}
	case *ecdsa.PublicKey:
		methods = []x509.SignatureAlgorithm{x509.ECDSAWithSHA256}
	case ed25519.PublicKey:
		methods = []x509.SignatureAlgorithm{x509.PureEd25519}
	}
	for _, m := range methods {
		if cert.CheckSignature(m, statement, proof) == nil {
			err := v.AddIssuer(ctx, ns, cert)
			return Issuer{Fingerprint: hexSum(cert.Raw), Certificate: cert, Added: v.now().UTC()}, err
		}
	}
	return Issuer{}, errIssuerProof
}
