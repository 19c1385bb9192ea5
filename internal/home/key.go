package home

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// KeyType is a kind of key, as commands spell it.
type KeyType string

// The kinds of key that clients verify.
const (
	Ed25519 KeyType = "ed25519"
	RSA     KeyType = "rsa"
)

const defaultRSABits = 3072

// ParseKeyType reads a kind of key together with its size, as servers spell it:
// ed25519 (also for ""), rsa2048, rsa3072 or rsa4096. Errors wrap uptane.ErrKey.
func ParseKeyType(text string) (kind KeyType, bits int, err error) {
	switch strings.ToLower(text) {
	case "", "ed25519":
		return Ed25519, 0, nil
	case "rsa2048":
		return RSA, 2048, nil
	case "rsa3072":
		return RSA, 3072, nil
	case "rsa4096":
		return RSA, 4096, nil
	case "ecprime256v1", "ecdsa", "ec":
		return "", 0, fmt.Errorf("type %q: devices refuse a whole root that holds one ECDSA key; choose ed25519, rsa2048, rsa3072 or rsa4096: %w", text, uptane.ErrKey)
	}
	return "", 0, fmt.Errorf("type %.40q: none of ed25519, rsa2048, rsa3072, rsa4096: %w", text, uptane.ErrKey)
}

// ErrKeyFile marks a key file that cannot be used as it is.
var ErrKeyFile = errors.New("unusable key file")

// generate makes a private key. bits counts for RSA alone; 0 is a good size.
func generate(kind KeyType, bits int) (crypto.Signer, error) {
	switch kind {
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case RSA:
		if bits == 0 {
			bits = defaultRSABits
		}
		if bits != 2048 && bits != 3072 && bits != 4096 {
			return nil, fmt.Errorf("an RSA key of %d bits: %w", bits, uptane.ErrKey)
		}
		return rsa.GenerateKey(rand.Reader, bits)
	}
	return nil, fmt.Errorf("key type %q, not ed25519 or rsa: %w", kind, uptane.ErrKey)
}

// encodePrivate writes a private key object: Ed25519 as the hex of seed and
// public key, RSA as PKCS#1 in PEM.
func encodePrivate(key crypto.Signer) (canonical.Value, error) {
	var keytype, private string
	switch key := key.(type) {
	case ed25519.PrivateKey:
		keytype, private = "ED25519", hex.EncodeToString(key)
	case *rsa.PrivateKey:
		block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
		keytype, private = "RSA", string(pem.EncodeToMemory(block))
	default:
		return canonical.Value{}, fmt.Errorf("writing private key of type %T: %w", key, uptane.ErrKey)
	}
	return canonical.Fields(
		canonical.Member{Name: "keytype", Value: canonical.Text(keytype)},
		canonical.Member{Name: "keyval", Value: canonical.Fields(canonical.Member{Name: "private", Value: canonical.Text(private)})},
	), nil
}

// ParsePrivate reads a private key object, {"keytype","keyval":{"private"}}.
// Besides what is written here it takes an Ed25519 seed alone and PKCS#8.
// Errors wrap ErrKeyFile and never quote the content.
func ParsePrivate(raw []byte) (crypto.Signer, error) {
	if len(raw) > maxKeyFile {
		return nil, fmt.Errorf("reading private key larger than %d bytes: %w", maxKeyFile, ErrKeyFile)
	}
	v, err := canonical.Parse(raw, canonical.Options{ASCII: true})
	if err != nil {
		return nil, fmt.Errorf("reading private key: not JSON: %w", ErrKeyFile)
	}
	keytype := text(v, "keytype")
	keyval, _ := v.Member("keyval")
	private := text(keyval, "private")
	var key crypto.Signer
	switch strings.ToLower(keytype) {
	case "ed25519":
		key, err = parseEd25519(private)
	case "rsa":
		key, err = parseRSA(private)
	default:
		err = fmt.Errorf("reading private key of type %q, clients know ED25519 and RSA only: %w", keytype, ErrKeyFile)
	}
	if err != nil {
		return nil, err
	}
	if _, err := uptane.NewKey(key.Public()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	return key, nil
}

func parseEd25519(private string) (crypto.Signer, error) {
	raw, err := hex.DecodeString(private)
	if err != nil || (len(raw) != ed25519.PrivateKeySize && len(raw) != ed25519.SeedSize) {
		return nil, fmt.Errorf("reading Ed25519 private key: not 64 bytes in hex: %w", ErrKeyFile)
	}
	key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if len(raw) == ed25519.PrivateKeySize && !key.Equal(ed25519.PrivateKey(raw)) {
		// Signing with a public half that is not the seed's would leak the key.
		return nil, fmt.Errorf("reading Ed25519 private key: its halves do not belong together: %w", ErrKeyFile)
	}
	return key, nil
}

func parseRSA(private string) (crypto.Signer, error) {
	block, rest := pem.Decode([]byte(private))
	if block == nil || strings.TrimSpace(string(rest)) != "" {
		return nil, fmt.Errorf("reading RSA private key: not one PEM block: %w", ErrKeyFile)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if key, ok := key.(*rsa.PrivateKey); ok {
			return key, nil
		}
	}
	return nil, fmt.Errorf("reading RSA private key: neither PKCS#1 nor PKCS#8: %w", ErrKeyFile)
}

// text is a member that is a string, or "".
func text(v canonical.Value, name string) string {
	m, _ := v.Member(name)
	s, _ := m.Text()
	return s
}
