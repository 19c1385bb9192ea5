package uptane

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ErrFaultySignature: a key gave two signatures of one message. Memory or
// processor are at fault; neither signature may be seen, for both together can
// give the key away.
var ErrFaultySignature = errors.New("two signatures of one message differ")

// HeldKey is an Ed25519 private key that this process holds for long. It is kept
// twice, each signature is made with both copies, and only equal ones leave: a
// bit that flips in a copy, in what is computed from it or while signing makes
// them differ. That costs half of verifying. The pair as a whole is verified when
// it is made. Safe for concurrent use.
type HeldKey struct {
	key    Key
	copies [2]ed25519.PrivateKey
}

// HoldKey copies a private key. An error says that it does not fit its public
// half.
func HoldKey(private ed25519.PrivateKey) (*HeldKey, error) {
	if len(private) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("holding private key of %d bytes: %w", len(private), ErrKey)
	}
	raw, err := Sign(private, []byte("proof that a held key works"))
	if err != nil {
		return nil, fmt.Errorf("holding private key: %w", err)
	}
	return &HeldKey{key: raw.Key, copies: [2]ed25519.PrivateKey{slices.Clone(private), slices.Clone(private)}}, nil
}

// Public implements crypto.Signer.
func (h *HeldKey) Public() crypto.PublicKey { return h.key.Public() }

// Sign implements crypto.Signer for messages that are not hashed.
func (h *HeldKey) Sign(_ io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.Hash(0) {
		return nil, fmt.Errorf("signing a digest with key %s: %w", h.key.ID(), ErrKey)
	}
	return h.sign(msg)
}

func (h *HeldKey) sign(msg []byte) ([]byte, error) {
	sig, again := ed25519.Sign(h.copies[0], msg), ed25519.Sign(h.copies[1], msg)
	if !bytes.Equal(sig, again) {
		return nil, fmt.Errorf("signing with key %s: %w", h.key.ID(), ErrFaultySignature)
	}
	return sig, nil
}
