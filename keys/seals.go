package keys

import (
	"context"
	"crypto"
	"crypto/cipher"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// seals seals private keys under data keys, which the key-encryption key
// wraps. Safe for concurrent use.
type seals struct {
	store   store
	kek     KEK
	current int64

	mu    sync.Mutex
	aeads map[int64]cipher.AEAD
}

// openSeals makes the first data key where there is none: of several
// processes that start at once one wins and all take its key.
func openSeals(ctx context.Context, st store, kek KEK, now time.Time) (*seals, error) {
	s := &seals{store: st, kek: kek, aeads: map[int64]cipher.AEAD{}}
	n, err := st.lastSealingKey(ctx)
	if err == nil && n == 0 {
		n = 1
		err = s.create(ctx, n, now)
	}
	if err != nil {
		return nil, err
	}
	s.current = n
	_, err = s.aead(ctx, n)
	return s, err
}

func (s *seals) create(ctx context.Context, number int64, now time.Time) error {
	key := make([]byte, masterKeySize)
	_, _ = rand.Read(key) // never fails
	wrapped, err := s.kek.Wrap(key)
	if err != nil {
		return fmt.Errorf("wrapping data key: %w", err)
	}
	return s.store.addSealingKey(ctx, number, wrapped, now)
}

func (s *seals) aead(ctx context.Context, number int64) (cipher.AEAD, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.aeads[number]; a != nil {
		return a, nil
	}
	wrapped, err := s.store.sealingKey(ctx, number)
	if err != nil {
		return nil, fmt.Errorf("reading data key %d: %w", number, err)
	}
	key, err := s.kek.Unwrap(wrapped)
	if err != nil {
		return nil, err
	}
	a, err := newAEAD(key)
	if err == nil {
		s.aeads[number] = a
	}
	return a, err
}

// sealed is a private key as it is stored.
type sealed struct {
	Bytes  []byte `db:"sealed"`
	Number int64  `db:"sealing_key"`
}

// seal packs a private key. The words around it say where it belongs: it can
// be opened only there.
func (s *seals) seal(ctx context.Context, key crypto.Signer, place ...string) (sealed, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return sealed{}, fmt.Errorf("encoding private key: %w", err)
	}
	a, err := s.aead(ctx, s.current)
	if err != nil {
		return sealed{}, err
	}
	return sealed{Bytes: a.Seal(nil, nil, der, associated(place)), Number: s.current}, nil
}

func (s *seals) open(ctx context.Context, box sealed, place ...string) (crypto.Signer, error) {
	a, err := s.aead(ctx, box.Number)
	if err != nil {
		return nil, err
	}
	der, err := a.Open(nil, nil, box.Bytes, associated(place))
	if err != nil {
		return nil, errors.New("unsealing private key: it was changed, or belongs elsewhere")
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("reading private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("reading private key: %T cannot sign", key)
	}
	return signer, nil
}

// associated is the associated data of a sealed key: namespace, repository,
// role and key id, or the like for CA keys. None of the words has a bar.
func associated(place []string) []byte { return []byte(strings.Join(place, "|")) }
