package keys

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
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
	// Open returns the key that was packed.
	Open(packed []byte) (crypto.Signer, error)
	// Discard deletes a key that was made and is not to be used. What it deletes
	// nothing of had nothing outside of what was packed.
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

func (keptInDatabase) Open(packed []byte) (crypto.Signer, error) {
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

// keptInToken packs the URIs of keys that never leave a PKCS#11 token. The PIN
// comes from the environment, see package hsm. Safe for concurrent use.
type keptInToken struct {
	token string // where new keys are made

	mu      sync.Mutex
	opened  map[string]*tokenKey // a session each, for as long as the process lasts
	refused error                // a PIN was; the token is left alone from then on
}

func newTokens(token string) (*keptInToken, error) {
	if token != "" {
		if _, err := hsm.In(token, "key"); err != nil {
			return nil, err
		}
	}
	return &keptInToken{token: token, opened: map[string]*tokenKey{}}, nil
}

// isPackedURI tells what keptInToken packed from a DER, which begins otherwise.
func isPackedURI(packed []byte) bool { return bytes.HasPrefix(packed, []byte("pkcs11:")) }

func (t *keptInToken) Make(keytype, label string) (crypto.Signer, []byte, error) {
	bits, err := bitsOf(keytype)
	if err != nil {
		return nil, nil, err
	}
	uri, err := hsm.In(t.token, fmt.Sprintf("sealift-%s-%.8s", label, strings.ToLower(rand.Text())))
	if err != nil {
		return nil, nil, err
	}
	key, err := t.careful(func() (hsm.Key, error) { return hsm.Generate(uri, bits, hsm.Surroundings{}) })
	if err != nil {
		return nil, nil, err
	}
	return t.keep(uri, key), []byte(uri), nil
}

func (t *keptInToken) Open(packed []byte) (crypto.Signer, error) {
	uri := string(packed)
	t.mu.Lock()
	known := t.opened[uri]
	t.mu.Unlock()
	if known != nil {
		return known, nil
	}
	key, err := t.find(uri)
	if err != nil {
		return nil, err
	}
	return t.keep(uri, key), nil
}

func (t *keptInToken) Discard(packed []byte) error {
	uri := string(packed)
	t.mu.Lock()
	known := t.opened[uri]
	delete(t.opened, uri)
	t.mu.Unlock()
	_, err := t.careful(func() (hsm.Key, error) { return nil, hsm.Destroy(uri, hsm.Surroundings{}) })
	if known != nil {
		known.end()
	}
	return err
}

func (t *keptInToken) find(uri string) (hsm.Key, error) {
	return t.careful(func() (hsm.Key, error) { return hsm.Open(uri, hsm.Surroundings{}) })
}

// careful logs in with a PIN that was refused no second time: tokens lock after a
// few, and devices ask for signatures by the thousand.
func (t *keptInToken) careful(open func() (hsm.Key, error)) (hsm.Key, error) {
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
func (t *keptInToken) keep(uri string, key hsm.Key) *tokenKey {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.opened[uri]; known != nil {
		_ = key.Close()
		return known
	}
	t.opened[uri] = &tokenKey{tokens: t, uri: uri, public: key.Public(), key: key}
	return t.opened[uri]
}

// tokenKey opens its session anew when the token has lost it.
type tokenKey struct {
	tokens *keptInToken
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
	own, err := uptane.NewKey(key.Public())
	if err == nil {
		var known uptane.Key
		if known, err = uptane.NewKey(k.public); err == nil && own != known {
			err = errors.New("signing in a token: it has another key of that name now")
		}
	}
	if err != nil {
		return nil, errors.Join(err, key.Close())
	}
	k.key = key
	return key.Sign(random, msg, opts)
}
