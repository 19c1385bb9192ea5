package credentials

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"software.sslmate.com/src/go-pkcs12"
)

// maxIterations bounds the key derivation a PKCS#12 file may ask for: real
// ones have 1 to 600,000 rounds, an absurd one would hang the program.
const maxIterations = 1_000_000

// ReadP12 reads a PKCS#12 file, of the modern (PBES2, AES) or legacy (RC2,
// 3DES) kind: the key with its certificate, ready for TLS and followed by
// those intermediates that came with it, and every CA certificate in the file.
func ReadP12(data []byte, password string) (tls.Certificate, []*x509.Certificate, error) {
	if err := checkP12(data); err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("reading PKCS#12: %w", err)
	}
	key, leaf, cas, err := pkcs12.DecodeChain(data, password)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("reading PKCS#12: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return tls.Certificate{}, nil, errors.New("reading PKCS#12: its key cannot sign")
	}
	pub, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(leaf.PublicKey) {
		return tls.Certificate{}, nil, errors.New("reading PKCS#12: key and certificate do not belong together")
	}
	cert := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, ca := range cas {
		if ca.CheckSignatureFrom(ca) != nil { // a root need not be sent
			cert.Certificate = append(cert.Certificate, ca.Raw)
		}
	}
	return cert, cas, nil
}

// readTrust reads the certificates of a PKCS#12 file without a key of its own
// (a trust store) or with one.
func readTrust(data []byte) ([]*x509.Certificate, error) {
	if err := checkP12(data); err != nil {
		return nil, fmt.Errorf("reading PKCS#12 trust store: %w", err)
	}
	certs, err := pkcs12.DecodeTrustStore(data, "")
	if err == nil && len(certs) > 0 {
		return certs, nil
	}
	if _, cas, chainErr := ReadP12(data, ""); chainErr == nil && len(cas) > 0 {
		return cas, nil
	}
	if err == nil {
		err = errors.New("no certificates")
	}
	return nil, fmt.Errorf("reading PKCS#12 trust store: %w", err)
}

func checkP12(data []byte) error {
	if len(data) > maxMember {
		return fmt.Errorf("larger than %d bytes", maxMember)
	}
	return checkIterations(cryptobyte.String(data), 0)
}

// checkIterations looks at every place where ASN.1 allows a round count: an
// INTEGER right behind the OCTET STRING of a salt. It goes into octet strings
// too, because PKCS#12 nests whole structures in them. What is not DER is left
// to the real parser to refuse.
func checkIterations(in cryptobyte.String, depth int) error {
	const maxDepth = 32
	if depth > maxDepth {
		return errors.New("nested too deeply")
	}
	afterSalt := false
	for !in.Empty() {
		var body cryptobyte.String
		var tag asn1.Tag
		element := in
		if !in.ReadAnyASN1(&body, &tag) {
			return nil
		}
		if tag == asn1.INTEGER && afterSalt {
			var rounds int64
			if !element.ReadASN1Integer(&rounds) || rounds > maxIterations {
				return fmt.Errorf("asks for more than %d rounds of key derivation", maxIterations)
			}
		}
		afterSalt = tag == asn1.OCTET_STRING
		const constructed = 0x20
		if tag&constructed != 0 || tag == asn1.OCTET_STRING && isSequence(body) {
			if err := checkIterations(body, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// isSequence tells a nested structure from a salt or encrypted bytes.
func isSequence(s cryptobyte.String) bool {
	return s.SkipASN1(asn1.SEQUENCE) && s.Empty()
}
