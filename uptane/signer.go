package uptane

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
)

// Job says on whose behalf a Signer signs.
type Job struct {
	Namespace  Namespace
	Repository Repository
	Role       Role
	// RootVersion is the version of the root that the document is meant for. A
	// Signer answers ErrRootChanged when another is current; 0 is not checked.
	RootVersion int
}

// RawSig is a signature and the key that made it, not yet written in a flavour.
type RawSig struct {
	Key Key
	Sig []byte

	// proof ties the three of a signature that Sign has verified together, so that
	// it need not be verified once more a moment later.
	proof [sha256.Size]byte
}

// proven reports whether Sign has verified this signature of msg.
func (s RawSig) proven(msg []byte) bool { return s.proof == proofOf(s.Key, s.Sig, msg) }

func proofOf(k Key, sig, msg []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, part := range [][]byte{k.SPKI(), sig, msg} {
		inner := sha256.Sum256(part)
		h.Write(inner[:])
	}
	h.Sum(sum[:0])
	return sum
}

// Signer signs with the keys of a role. It is implemented where private keys are
// held. Safe for concurrent use.
type Signer interface {
	// Sign signs msg with as many of the role's keys as it has. It must not be
	// called inside a transaction: it uses one of its own.
	Sign(ctx context.Context, job Job, msg []byte) ([]RawSig, error)
}

// Roots gives the root metadata of a repository as it is served.
type Roots interface {
	// Root returns the document of that version, of the latest where version is 0.
	Root(ctx context.Context, ns Namespace, repo Repository, version int) ([]byte, error)
}

// Sign signs msg with a private key in memory, in a token or in a key service,
// and verifies the result before handing it out; what a [HeldKey] signs has been
// compared instead. RSA signatures are RSASSA-PSS with SHA-256 and a salt of 32
// bytes.
func Sign(s crypto.Signer, msg []byte) (RawSig, error) {
	if held, ok := s.(*HeldKey); ok {
		sig, err := held.sign(msg)
		if err != nil {
			return RawSig{}, err
		}
		return RawSig{Key: held.key, Sig: sig, proof: proofOf(held.key, sig, msg)}, nil
	}
	key, err := NewKey(s.Public())
	if err != nil {
		return RawSig{}, err
	}
	var sig []byte
	if _, ok := s.Public().(ed25519.PublicKey); ok {
		sig, err = s.Sign(rand.Reader, msg, crypto.Hash(0))
	} else {
		digest := sha256.Sum256(msg)
		sig, err = s.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: saltLength, Hash: crypto.SHA256})
	}
	if err != nil {
		return RawSig{}, fmt.Errorf("signing with key %s: %w", key.ID(), err)
	}
	if err := key.verify(key.method(), msg, sig, saltLength); err != nil {
		return RawSig{}, fmt.Errorf("checking own signature: %w", err)
	}
	return RawSig{Key: key, Sig: sig, proof: proofOf(key, sig, msg)}, nil
}
