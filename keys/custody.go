package keys

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"

	"sealift/internal/hsm"
	"sealift/uptane"
)

// custodian makes private keys of online roles and opens them again. What it
// packs is sealed like a key and stored in its place: whoever can write to the
// database and has no master key cannot make the server use another one.
type custodian interface {
	// Make returns a new key of that type and what is to be stored of it. The
	// label says to people what it is for.
	Make(keytype, label string) (key crypto.Signer, packed []byte, err error)
	// Open returns the key that was packed, whose public key is that one.
	Open(packed []byte, public uptane.Key) (crypto.Signer, error)
	// Discard deletes a key that was made and is not to be used. What it deletes
	// nothing of had nothing outside of what was packed, or is not ours to delete.
	Discard(packed []byte) error
}

// keptInDatabase packs the private keys themselves, as PKCS#8.
type keptInDatabase struct{}

func (keptInDatabase) Make(keytype, _ string) (crypto.Signer, []byte, error) {
	key, err := newPrivateKey(keytype)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return key, der, err
}

func (keptInDatabase) Open(packed []byte, _ uptane.Key) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(packed)
	if err != nil {
		return nil, fmt.Errorf("reading private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("reading private key: %T cannot sign", key)
	}
	return signer, nil
}

func (keptInDatabase) Discard([]byte) error { return nil }

// keptElsewhere packs the URIs of keys that never leave a PKCS#11 token or a key
// service. The PIN comes from the environment, see package hsm. Safe for concurrent
// use.
type keptElsewhere struct {
	place string // where new keys are
	from  hsm.Surroundings

	mu      sync.Mutex
	opened  map[string]crypto.Signer // of a token a session each, for as long as the process lasts
	refused error                    // a PIN was; the token is left alone from then on
}

func newElsewhere(place string, from hsm.Surroundings) (*keptElsewhere, error) {
	if place != "" {
		if _, err := hsm.In(place, "key"); err != nil {
			return nil, err
		}
	}
	return &keptElsewhere{place: place, from: from, opened: map[string]crypto.Signer{}}, nil
}

// isPackedURI tells what keptElsewhere packed from a DER, which begins otherwise.
func isPackedURI(packed []byte) bool { return hsm.IsURI(string(packed)) }

func (t *keptElsewhere) Make(keytype, label string) (crypto.Signer, []byte, error) {
	bits, err := bitsOf(keytype)
	if err != nil {
		return nil, nil, err
	}
	var uri string
	key, err := t.careful(t.place, func() (key hsm.Key, err error) {
		key, uri, err = hsm.Make(t.place, label, bits, t.from)
		return key, err
	})
	if err != nil {
		return nil, nil, errNoNewKey.With(err.Error())
	}
	return t.keep(uri, key), []byte(uri), nil
}

func (t *keptElsewhere) Open(packed []byte, public uptane.Key) (crypto.Signer, error) {
	uri := string(packed)
	t.mu.Lock()
	known := t.opened[uri]
	t.mu.Unlock()
	if known != nil {
		return known, nil
	}
	key, err := t.careful(uri, func() (hsm.Key, error) { return hsm.Known(uri, public.Public(), t.from) })
	if err != nil {
		return nil, err
	}
	return t.keep(uri, key), nil
}

func (t *keptElsewhere) Discard(packed []byte) error {
	uri := string(packed)
	if hsm.InService(uri) {
		return nil // people have made it
	}
	t.mu.Lock()
	known := t.opened[uri]
	delete(t.opened, uri)
	t.mu.Unlock()
	_, err := t.careful(uri, func() (hsm.Key, error) { return nil, hsm.Destroy(uri, t.from) })
	if of, ok := known.(*tokenKey); ok {
		of.end()
	}
	return err
}

func (t *keptElsewhere) find(uri string) (hsm.Key, error) {
	return t.careful(uri, func() (hsm.Key, error) { return hsm.Open(uri, t.from) })
}

// try asks whether the key of a URI is there, is that one and would sign now.
func (t *keptElsewhere) try(uri string, want uptane.Key) error {
	key, err := t.find(uri)
	if err != nil {
		return err
	}
	return errors.Join(inPlace(key, want), key.Close())
}

// inPlace says which key is there instead of another.
func inPlace(key crypto.Signer, want uptane.Key) error {
	own, err := uptane.NewKey(key.Public())
	if err == nil && own != want {
		err = fmt.Errorf("another key, %s, is in its place", own.ID())
	}
	return err
}

// careful logs in to a token with a PIN that was refused no second time: tokens lock
// after a few, and devices ask for signatures by the thousand. A key service has no
// PIN, and nobody waits for who asks it.
func (t *keptElsewhere) careful(uri string, open func() (hsm.Key, error)) (hsm.Key, error) {
	if hsm.InService(uri) {
		return open()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused != nil {
		return nil, t.refused
	}
	key, err := open()
	if errors.Is(err, hsm.ErrPIN) {
		t.refused = fmt.Errorf("%w; the token is not asked again, so that it does not lock: start the server with the right PIN", err)
		return nil, t.refused
	}
	return key, err
}

// keep returns the one opened key of a URI.
func (t *keptElsewhere) keep(uri string, key hsm.Key) crypto.Signer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.opened[uri]; known != nil {
		_ = key.Close()
		return known
	}
	t.opened[uri] = key
	if !hsm.InService(uri) {
		t.opened[uri] = &tokenKey{tokens: t, uri: uri, public: key.Public(), key: key}
	}
	return t.opened[uri]
}

// tokenKey opens its session anew when the token has lost it.
type tokenKey struct {
	tokens *keptElsewhere
	uri    string
	public crypto.PublicKey

	mu  sync.Mutex
	key hsm.Key // nil: to be opened
}

// Public is the public key.
func (k *tokenKey) Public() crypto.PublicKey { return k.public }

// end closes its session.
func (k *tokenKey) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil {
		_ = k.key.Close()
		k.key = nil
	}
}

// Sign is that of crypto.Signer, tried twice.
func (k *tokenKey) Sign(random io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil {
		sig, err := k.key.Sign(random, msg, opts)
		if err == nil {
			return sig, nil
		}
		_ = k.key.Close()
		k.key = nil
	}
	key, err := k.tokens.find(k.uri)
	if err != nil {
		return nil, err
	}
	known, err := uptane.NewKey(k.public)
	if err == nil {
		err = inPlace(key, known)
	}
	if err != nil {
		return nil, errors.Join(err, key.Close())
	}
	k.key = key
	return key.Sign(random, msg, opts)
}
