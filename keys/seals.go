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

	"sealift/internal/hsm"
	"sealift/uptane"
)

// seals seals private keys under data keys, which the key-encryption key
// wraps. Safe for concurrent use.
type seals struct {
	store   store
	kek     KEK
	current int64
	makes   custodian // of new keys
	away    *keptElsewhere

	mu    sync.Mutex
	aeads map[int64]cipher.AEAD
}

// openSeals makes the first data key where there is none: of several
// processes that start at once one wins and all take its key.
// New keys are at the place of that URI, or sealed here if it is empty.
func openSeals(ctx context.Context, st store, kek KEK, place string, from hsm.Surroundings, now time.Time) (*seals, error) {
	s := &seals{store: st, kek: kek, makes: keptInDatabase{}, aeads: map[int64]cipher.AEAD{}}
	var err error
	if s.away, err = newElsewhere(place, from); err != nil {
		return nil, err
	}
	if place != "" {
		s.makes = s.away
	}
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
	return s.sealBytes(ctx, der, place...)
}

// sealBytes seals what a custodian packed.
func (s *seals) sealBytes(ctx context.Context, packed []byte, place ...string) (sealed, error) {
	a, err := s.aead(ctx, s.current)
	if err != nil {
		return sealed{}, err
	}
	return sealed{Bytes: a.Seal(nil, nil, packed, associated(place)), Number: s.current}, nil
}

// open opens a key that never is elsewhere.
func (s *seals) open(ctx context.Context, box sealed, place ...string) (crypto.Signer, error) {
	packed, err := s.openBytes(ctx, box, place...)
	if err != nil {
		return nil, err
	}
	return keptInDatabase{}.Open(packed, uptane.Key{})
}

// openOnline opens the private key of an online role whose public key is that one, and
// tells its URI if it is elsewhere.
func (s *seals) openOnline(ctx context.Context, box sealed, k roleKey) (signer crypto.Signer, uri string, err error) {
	packed, err := s.openBytes(ctx, box, string(k.Namespace), string(k.Repository), string(k.Role), string(k.Key.ID()))
	if err != nil {
		return nil, "", err
	}
	var kept custodian = keptInDatabase{}
	if isPackedURI(packed) {
		kept, uri = s.away, string(packed)
	}
	signer, err = kept.Open(packed, k.Key)
	if err == nil { // a token may have been given another one of its name
		err = inPlace(signer, k.Key)
	}
	return signer, uri, err
}

func (s *seals) openBytes(ctx context.Context, box sealed, place ...string) ([]byte, error) {
	a, err := s.aead(ctx, box.Number)
	if err != nil {
		return nil, err
	}
	packed, err := a.Open(nil, nil, box.Bytes, associated(place))
	if err != nil {
		return nil, errors.New("unsealing private key: it was changed, or belongs elsewhere")
	}
	return packed, nil
}

// associated is the associated data of a sealed key: namespace, repository,
// role and key id, or the like for CA keys. None of the words has a bar.
func associated(place []string) []byte { return []byte(strings.Join(place, "|")) }
