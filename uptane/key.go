package uptane

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"

	"sealift/uptane/canonical"
)

// The names of signature methods. Clients send methodPSS; both mean RSASSA-PSS
// with SHA-256.
const (
	methodEd25519 = "ed25519"
	methodPSS     = "rsassa-pss"
	methodPSS256  = "rsassa-pss-sha256"
)

// saltLength is the length of the salt in every RSA signature made here. Strict
// TUF clients accept no other.
const saltLength = sha256.Size

// Key is a public key: Ed25519, or RSA of 2048, 3072 or 4096 bits. Keys are equal
// (==) exactly when they are the same key, however they were written. The zero
// Key is no key and verifies nothing.
type Key struct {
	spki string // SubjectPublicKeyInfo, DER
}

// NewKey takes a public key into the model. An error wraps ErrKey and says why
// clients could not use the key.
func NewKey(pub crypto.PublicKey) (Key, error) {
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			return Key{}, fmt.Errorf("reading Ed25519 key of %d bytes: %w", len(pub), ErrKey)
		}
		return Key{spki: ed25519Prefix + string(pub)}, nil
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n != 2048 && n != 3072 && n != 4096 {
			return Key{}, fmt.Errorf("reading RSA key of %d bits, clients verify 2048, 3072 and 4096 only: %w", n, ErrKey)
		}
	default:
		return Key{}, fmt.Errorf("reading key of type %T, clients know Ed25519 and RSA only: %w", pub, ErrKey)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return Key{}, fmt.Errorf("encoding public key: %v: %w", err, ErrKey)
	}
	return Key{spki: string(der)}, nil
}

// ParseSPKI reads what Key.SPKI gave.
func ParseSPKI(der []byte) (Key, error) {
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return Key{}, fmt.Errorf("reading SubjectPublicKeyInfo: %v: %w", err, ErrKey)
	}
	k, err := NewKey(pub)
	if err == nil && k.spki != string(der) {
		return Key{}, fmt.Errorf("reading SubjectPublicKeyInfo that is not plain DER: %w", ErrKey)
	}
	return k, err
}

// ParseKey reads a key object of metadata or of a registration, in either
// flavour: {"keytype","keyval":{"public"}} with an optional scheme. The key type
// may be in any case. An object that holds a private key is refused.
func ParseKey(raw []byte) (Key, error) {
	v, err := canonical.Parse(raw, canonical.Options{ASCII: true})
	if err != nil {
		return Key{}, fmt.Errorf("reading key: %w: %w", ErrMalformed, err)
	}
	return keyOf(v)
}

func keyOf(v canonical.Value) (Key, error) {
	keytype, public, err := keyTexts(v)
	if err != nil {
		return Key{}, err
	}
	scheme, hasScheme := text(v, "scheme")
	return keyFrom(keytype, public, scheme, hasScheme)
}

func keyFrom(keytype, public, scheme string, hasScheme bool) (Key, error) {
	var k Key
	var err error
	switch strings.ToLower(keytype) {
	case "ed25519":
		if hasScheme && scheme != methodEd25519 {
			return Key{}, fmt.Errorf("reading Ed25519 key of scheme %q: %w", scheme, ErrKey)
		}
		raw, err := hex.DecodeString(public)
		if err != nil {
			return Key{}, fmt.Errorf("reading Ed25519 key that is not hex: %w", ErrKey)
		}
		return NewKey(ed25519.PublicKey(raw))
	case "rsa":
		if hasScheme && scheme != methodPSS256 {
			return Key{}, fmt.Errorf("reading RSA key of scheme %q: %w", scheme, ErrKey)
		}
		block, rest := pem.Decode([]byte(public))
		if block == nil || !strings.HasPrefix(public, "-----BEGIN PUBLIC KEY-----\n") || len(rest) != 0 || len(block.Headers) != 0 {
			return Key{}, fmt.Errorf("reading RSA key that is not one PEM public key: %w", ErrKey)
		}
		if k, err = ParseSPKI(block.Bytes); err == nil && !k.isRSA() {
			err = fmt.Errorf("reading RSA key that is of another type: %w", ErrKey)
		}
		if err != nil {
			return Key{}, err
		}
		return k, nil
	}
	return Key{}, fmt.Errorf("reading key of type %q, clients know Ed25519 and RSA only and refuse a whole document for any other: %w", keytype, ErrKey)
}

// keyTexts returns the type and the public part of a key object.
func keyTexts(v canonical.Value) (keytype, public string, err error) {
	keytype, ok := text(v, "keytype")
	keyval, okVal := v.Member("keyval")
	public, okPublic := text(keyval, "public")
	if !ok || !okVal || !okPublic {
		return "", "", malformed("reading key without keytype or keyval.public")
	}
	if _, private := keyval.Member("private"); private {
		return "", "", fmt.Errorf("reading key that holds its private part: %w", ErrKey)
	}
	return keytype, public, nil
}

// IsZero reports whether k is no key.
func (k Key) IsZero() bool { return k.spki == "" }

// SPKI is the key as a DER SubjectPublicKeyInfo: the form to store.
func (k Key) SPKI() []byte { return []byte(k.spki) }

// ID is the key's name in /repo and /director metadata: SHA-256 of the
// SubjectPublicKeyInfo.
func (k Key) ID() KeyID { return keyID([]byte(k.spki)) }

// ClientID is what aktualizr calls the key in manifests and, by default, in ECU
// serials: SHA-256 of the key text as a canonical JSON string. It is advisory:
// keys of devices are found by ECU serial.
func (k Key) ClientID() KeyID {
	public := strings.TrimRight(k.text(), "\n")
	if !k.isRSA() {
		public = strings.ToUpper(public) // clients write hex so
	}
	return keyID(canonical.Text(public).Uptane())
}

// TUFID is the key's name in TUF metadata: SHA-256 of the canonical key object.
func (k Key) TUFID() KeyID { return keyID(k.value(TUF).TUF()) }

// Wire is the key object as flavour f writes it.
func (k Key) Wire(f Flavour) []byte { return k.value(f).Uptane() }

// Algorithm is "ed25519", "rsa2048", "rsa3072" or "rsa4096", "" for no key.
func (k Key) Algorithm() string {
	switch pub := k.Public().(type) {
	case ed25519.PublicKey:
		return methodEd25519
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa%d", pub.N.BitLen())
	}
	return ""
}

// ed25519Prefix is what stands before the 32 bytes of an Ed25519 key in its
// SubjectPublicKeyInfo.
const ed25519Prefix = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"

// Public is the key for package crypto, nil for no key.
func (k Key) Public() crypto.PublicKey {
	if raw, ok := strings.CutPrefix(k.spki, ed25519Prefix); ok && len(raw) == ed25519.PublicKeySize {
		return ed25519.PublicKey(raw)
	}
	pub, err := x509.ParsePKIXPublicKey([]byte(k.spki))
	if err != nil {
		return nil
	}
	return pub
}

// Verify checks a signature over msg. The method must be one of this kind of
// key. RSA salts of any length pass, as clients may use any. Errors wrap
// ErrSignature.
func (k Key) Verify(method string, msg, sig []byte) error {
	return k.verify(method, msg, sig, rsa.PSSSaltLengthAuto)
}

func (k Key) verify(method string, msg, sig []byte, salt int) error {
	switch pub := k.Public().(type) {
	case ed25519.PublicKey:
		if method == methodEd25519 && ed25519.Verify(pub, msg, sig) {
			return nil
		}
	case *rsa.PublicKey:
		digest := sha256.Sum256(msg)
		opts := &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256}
		if (method == methodPSS || method == methodPSS256) && rsa.VerifyPSS(pub, crypto.SHA256, digest[:], sig, opts) == nil {
			return nil
		}
	}
	return fmt.Errorf("verifying %q signature with %s key %s: %w", method, k.Algorithm(), k.ID(), ErrSignature)
}

func (k Key) isRSA() bool {
	_, ok := k.Public().(*rsa.PublicKey)
	return ok
}

// method is the signature method that documents made here name.
func (k Key) method() string {
	if k.isRSA() {
		return methodPSS256
	}
	return methodEd25519
}

// text is the public part of a key object: lower-case hex, or PEM with a final
// newline.
func (k Key) text() string {
	if pub, ok := k.Public().(ed25519.PublicKey); ok {
		return hex.EncodeToString(pub)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte(k.spki)}))
}

func (k Key) value(f Flavour) canonical.Value {
	keytype := "ed25519"
	if k.isRSA() {
		keytype = "rsa"
	}
	v := canonical.Fields(canonical.Member{Name: "keyval", Value: canonical.Fields(
		canonical.Member{Name: "public", Value: canonical.Text(k.text())})})
	if f == TUF {
		return v.With("keytype", canonical.Text(keytype)).With("scheme", canonical.Text(k.method()))
	}
	return v.With("keytype", canonical.Text(strings.ToUpper(keytype)))
}

func keyID(b []byte) KeyID {
	sum := sha256.Sum256(b)
	return KeyID(hex.EncodeToString(sum[:]))
}

// text returns a member that is a string.
func text(v canonical.Value, name string) (string, bool) {
	m, ok := v.Member(name)
	if !ok {
		return "", false
	}
	return m.Text()
}
