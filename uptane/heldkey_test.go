package uptane_test

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"testing"

	"sealift/uptane"
)

// A key in memory signs as any other; once a bit of it has flipped, wherever that
// is, nothing it signs leaves.
func TestHeldKey(t *testing.T) {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	msg := []byte("a document")
	held, err := uptane.HoldKey(private)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := uptane.Sign(held, msg)
	if err != nil || !ed25519.Verify(private.Public().(ed25519.PublicKey), msg, sig.Sig) {
		t.Errorf("the signature does not verify: %v", err)
	}
	if direct, err := held.Sign(nil, msg, crypto.Hash(0)); err != nil || string(direct) != string(sig.Sig) {
		t.Errorf("as a crypto.Signer it signs otherwise: %v", err)
	}
	if _, err := held.Sign(nil, msg, crypto.SHA256); !errors.Is(err, uptane.ErrKey) {
		t.Errorf("it takes a digest for a message: %v", err)
	}
	for i := range 2 * ed25519.PrivateKeySize {
		uptane.Flip(held, i/ed25519.PrivateKeySize, i%ed25519.PrivateKeySize)
		if _, err := uptane.Sign(held, msg); !errors.Is(err, uptane.ErrFaultySignature) {
			t.Fatalf("byte %d is wrong and it signs: %v", i, err)
		}
		uptane.Flip(held, i/ed25519.PrivateKeySize, i%ed25519.PrivateKeySize)
	}
	if _, err := uptane.Sign(held, msg); err != nil {
		t.Errorf("mended it does not sign: %v", err)
	}
	private[ed25519.SeedSize] ^= 1
	if _, err := uptane.HoldKey(private); !errors.Is(err, uptane.ErrSignature) {
		t.Errorf("a key that does not fit its public half is held: %v", err)
	}
	if _, err := uptane.HoldKey(private[:40]); !errors.Is(err, uptane.ErrKey) {
		t.Errorf("half a key is held: %v", err)
	}
}
