package otatuf

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"unicode/utf16"
)

const (
	minSalt     = 8        // bytes
	maxSalt     = 1 << 10  // bytes
	minPassword = 64       // characters
	maxPassword = 4 << 10  // bytes
	maxPrivate  = 16 << 10 // characters, four times those of the largest key
	iterations  = 1000
	blockSize   = 64 // of SHA-256, in bytes
)

// Cipher opens private keys of one key server.
type Cipher struct {
	aead  cipher.AEAD
	nonce []byte
}

// NewCipher derives the server's key from the two values that it was configured
// with: DB_ENCRYPTION_SALT, in base64, and DB_ENCRYPTION_PASSWORD.
func NewCipher(salt, password string) (*Cipher, error) {
	if len(salt) > 2*maxSalt || len(password) > maxPassword {
		return nil, fmt.Errorf("reading salt and password: larger than any server takes: %w", ErrEncryption)
	}
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil || len(raw) < minSalt {
		return nil, fmt.Errorf("reading the salt: not base64 of at least %d bytes: %w", minSalt, ErrEncryption)
	}
	if len([]rune(password)) < minPassword {
		return nil, fmt.Errorf("reading the password: shorter than the %d characters a key server demands: %w", minPassword, ErrEncryption)
	}
	block, err := aes.NewCipher(derive(1, 32, raw, password))
	if err != nil {
		return nil, err
	}
	c := &Cipher{nonce: derive(2, 16, raw, password)}
	c.aead, err = cipher.NewGCMWithNonceSize(block, len(c.nonce))
	return c, err
}

// Open returns the plain text of a stored value: the JSON of a private key.
// Errors wrap ErrEncryption.
func (c *Cipher) Open(stored string) ([]byte, error) {
	if len(stored) > maxPrivate {
		return nil, fmt.Errorf("decrypting a key: %d characters: %w", len(stored), ErrEncryption)
	}
	raw, err := base64.StdEncoding.DecodeString(stored)
	if err != nil {
		return nil, fmt.Errorf("decrypting a key: not base64: %w", ErrEncryption)
	}
	plain, err := c.aead.Open(nil, c.nonce, raw, nil)
	if err != nil {
		return nil, fmt.Errorf("decrypting a key: %w", ErrEncryption)
	}
	return plain, nil
}

// derive is the key derivation of PKCS#12 (RFC 7292, appendix B.2) with SHA-256.
// id is 1 for a key and 2 for an initial value; size is at most one hash.
func derive(id byte, size int, salt []byte, password string) []byte {
	var text []byte
	for _, u := range append(utf16.Encode([]rune(password)), 0) {
		text = append(text, byte(u>>8), byte(u))
	}
	in := make([]byte, blockSize, blockSize+len(salt)+len(text)+2*blockSize)
	for i := range in {
		in[i] = id
	}
	in = append(append(in, fill(salt)...), fill(text)...)
	sum := sha256.Sum256(in)
	for range iterations - 1 {
		sum = sha256.Sum256(sum[:])
	}
	return sum[:size]
}

// fill repeats b to whole blocks.
func fill(b []byte) []byte {
	out := make([]byte, (len(b)+blockSize-1)/blockSize*blockSize)
	for i := range out {
		out[i] = b[i%len(b)]
	}
	return out
}
