package keys_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"testing"

	"sealift/fixtures"
	"sealift/internal/db/dbtest"
	"sealift/keys/pki"
)

// A CA is let in by whoever holds its key, in the namespace that was signed for.
func TestCustomersCAIsProven(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t))
	r.authorities()
	ctx := t.Context()
	sign := func(key crypto.Signer, statement []byte, opts crypto.SignerOpts) []byte {
		t.Helper()
		if opts.HashFunc() != 0 {
			sum := sha256.Sum256(statement)
			statement = sum[:]
		}
		return must(key.Sign(rand.Reader, statement, opts))(t)
	}
	fleet := must(pki.NewDeviceRoot(r.clock.now(), "Fleet CA"))(t)
	other := must(pki.NewDeviceRoot(r.clock.now(), "Other CA"))(t)
	statement := must(r.IssuerStatement(ctx, ns, fleet.Cert))(t)
	elsewhere := must(r.IssuerStatement(ctx, "second", fleet.Cert))(t)
	for what, proof := range map[string][]byte{
		"none": nil, "not a signature": []byte("signed"), "another key": sign(other.Key, statement, crypto.SHA256),
		"another namespace": sign(fleet.Key, elsewhere, crypto.SHA256),
	} {
		if _, err := r.AddProvenIssuer(ctx, ns, fleet.Cert, proof); err == nil {
			t.Errorf("%s: added", what)
		} else {
			wantCode(t, err, "issuer_not_proven")
		}
	}
	for what, c := range map[string]struct {
		key  crypto.Signer
		opts crypto.SignerOpts
	}{
		"ecdsa": {fleet.Key, crypto.SHA256}, "ed25519": {fixtures.Ed25519("fleet"), crypto.Hash(0)},
		"rsa": {fixtures.Key("rsa2048-1"), crypto.SHA256}, "rsa pss": {fixtures.Key("rsa3072"), &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}},
	} {
		ca := pki.Authority{Cert: selfSigned(t, r, what, c.key), Key: c.key}
		proof := sign(c.key, must(r.IssuerStatement(ctx, ns, ca.Cert))(t), c.opts)
		if _, err := r.AddProvenIssuer(ctx, ns, ca.Cert, proof); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if id, err := r.Identify(ctx, leaf(r.client(ca, "board-of-"+what[:3]+what[len(what)-1:]))); err != nil {
			t.Errorf("%s: %+v, %v", what, id, err)
		}
	}
	_, err := r.IssuerStatement(ctx, ns, r.client(fleet, "board-9"))
	wantCode(t, err, "invalid_issuer")
}

func selfSigned(t *testing.T, r *rig, name string, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := must(pki.NewDeviceRoot(r.clock.now(), name))(t).Cert
	template.SignatureAlgorithm, template.PublicKeyAlgorithm = 0, 0
	template.PublicKey, template.SubjectKeyId, template.AuthorityKeyId = key.Public(), nil, nil
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)
	return must(x509.ParseCertificate(der))(t)
}
