//go:build pkcs11

package hsm

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/pkcs11"
)

// What the header files of PKCS#11 3.0 call these.
const (
	ckkECEdwards = 0x40
	ckmEdDSA     = 0x1057
	ckmECEdwards = 0x1055
)

// edwards25519 is the object identifier of Ed25519, 1.3.101.112.
var edwards25519 = []byte{0x06, 0x03, 0x2b, 0x65, 0x70}

type key struct {
	mu      sync.Mutex // a session does one thing at a time
	module  *pkcs11.Ctx
	session pkcs11.SessionHandle
	private pkcs11.ObjectHandle
	public  crypto.PublicKey
	pin     string // for keys that ask for it again each time, else ""
}

// openInToken returns the private key that a URI names. Errors wrap ErrURI,
// ErrNotFound or ErrPIN.
func openInToken(text string, s Surroundings) (Key, error) {
	k, u, err := open(text, s)
	if err != nil {
		return nil, err
	}
	if err := k.find(u); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// Generate makes a key in the token: RSA of that many bits, Ed25519 for 0. The
// private key cannot be taken out. One of this name that is there already is an
// error.
func Generate(text string, bits int, s Surroundings) (Key, error) {
	k, u, err := open(text, s)
	if err != nil {
		return nil, err
	}
	if err := k.find(u); !errors.Is(err, ErrNotFound) {
		k.Close()
		if err == nil {
			err = fmt.Errorf("making key %q: the token has one of that name", u.object)
		}
		return nil, err
	}
	if len(u.id) == 0 {
		u.id = make([]byte, 8)
		_, _ = rand.Read(u.id) // never fails
	}
	if err := k.make(u, bits); err != nil {
		k.Close()
		return nil, err
	}
	if err := k.find(u); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// Destroy deletes a key pair from its token, for ever. Errors are those of Open.
func Destroy(text string, s Surroundings) error {
	k, u, err := open(text, s)
	if err != nil {
		return err
	}
	defer k.Close()
	private, err := k.object(pkcs11.CKO_PRIVATE_KEY, u.object, u.id)
	if err != nil {
		return err
	}
	if public, err := k.object(pkcs11.CKO_PUBLIC_KEY, u.object, u.id); err == nil {
		if err := k.module.DestroyObject(k.session, public); err != nil {
			return fmt.Errorf("deleting public key %q: %w", u.object, err)
		}
	}
	if err := k.module.DestroyObject(k.session, private); err != nil {
		return fmt.Errorf("deleting key %q: %w", u.object, err)
	}
	return nil
}

// open logs in to the token.
func open(text string, s Surroundings) (*key, uri, error) {
	u, err := parse(text)
	if err != nil {
		return nil, u, err
	}
	path, err := s.module()
	if err != nil {
		return nil, u, err
	}
	module := pkcs11.New(path)
	if module == nil {
		return nil, u, fmt.Errorf("loading %s: %w", path, ErrNotFound)
	}
	// The library is told once in a process; it stays for other keys.
	if err := module.Initialize(); err != nil && !is(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		return nil, u, fmt.Errorf("starting %s: %w", path, err)
	}
	slot, err := findSlot(module, u)
	if err != nil {
		return nil, u, err
	}
	session, err := module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return nil, u, fmt.Errorf("opening token %q: %w", u.token, err)
	}
	k := &key{module: module, session: session}
	pin, err := s.pin(u)
	if err == nil {
		err = module.Login(session, pkcs11.CKU_USER, pin)
		if is(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
			err = nil
		}
		if refusesPIN(err) {
			err = fmt.Errorf("logging in to token %q: %w (%v)", u.token, ErrPIN, err)
		} else if err != nil {
			err = fmt.Errorf("logging in to token %q: %w", u.token, err)
		}
	}
	if err != nil {
		k.Close()
		return nil, u, err
	}
	k.pin = pin
	return k, u, nil
}

func is(err error, code uint) bool {
	var e pkcs11.Error
	return errors.As(err, &e) && e == pkcs11.Error(code)
}

// refusesPIN tells a PIN that is no good from a token that cannot be asked.
func refusesPIN(err error) bool {
	for _, code := range []uint{pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_PIN_LOCKED, pkcs11.CKR_ARGUMENTS_BAD} {
		if is(err, code) {
			return true
		}
	}
	return false
}

func findSlot(module *pkcs11.Ctx, u uri) (uint, error) {
	slots, err := module.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("listing tokens: %w", err)
	}
	var found []uint
	for _, slot := range slots {
		info, err := module.GetTokenInfo(slot)
		if err != nil {
			continue
		}
		if trimmed(info.Label, u.token) && trimmed(info.SerialNumber, u.serial) && info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0 {
			found = append(found, slot)
		}
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("looking for token %q: %d of %d fit: %w", u.token, len(found), len(slots), ErrNotFound)
	}
	return found[0], nil
}

// trimmed compares a padded field with what is wanted; "" is anything.
func trimmed(field, want string) bool {
	return want == "" || strings.TrimRight(field, " \x00") == want
}

// find looks the key pair up.
func (k *key) find(u uri) error {
	private, err := k.object(pkcs11.CKO_PRIVATE_KEY, u.object, u.id)
	if err != nil {
		return err
	}
	attrs, err := k.module.GetAttributeValue(k.session, private, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ID, nil), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, nil)})
	if err != nil {
		return fmt.Errorf("reading key %q: %w", u.object, err)
	}
	id, kind := attrs[0].Value, number(attrs[1].Value)
	public, err := k.object(pkcs11.CKO_PUBLIC_KEY, "", id)
	if err != nil {
		public = private // many tokens tell the public part there, too
	}
	if k.public, err = k.readPublic(public, kind); err != nil {
		return fmt.Errorf("reading public key %q: %w", u.object, err)
	}
	k.private = private
	again, err := k.module.GetAttributeValue(k.session, private, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ALWAYS_AUTHENTICATE, nil)})
	if err != nil || len(again[0].Value) == 0 || again[0].Value[0] == 0 {
		k.pin = ""
	}
	return nil
}

// number reads an integer as the processor keeps it.
func number(raw []byte) uint {
	var n uint
	for i := len(raw) - 1; i >= 0; i-- { // little-endian, as on all platforms this is built for
		n = n<<8 | uint(raw[i])
	}
	return n
}

// object finds the one object of a class with that label and id.
func (k *key) object(class uint, label string, id []byte) (pkcs11.ObjectHandle, error) {
	want := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}
	if label != "" {
		want = append(want, pkcs11.NewAttribute(pkcs11.CKA_LABEL, label))
	}
	if len(id) > 0 {
		want = append(want, pkcs11.NewAttribute(pkcs11.CKA_ID, id))
	}
	if err := k.module.FindObjectsInit(k.session, want); err != nil {
		return 0, fmt.Errorf("looking for key %q: %w", label, err)
	}
	found, _, err := k.module.FindObjects(k.session, 2)
	if err := errors.Join(err, k.module.FindObjectsFinal(k.session)); err != nil {
		return 0, fmt.Errorf("looking for key %q: %w", label, err)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return 0, fmt.Errorf("looking for key %q: %w", label, ErrNotFound)
	}
	return 0, fmt.Errorf("looking for key %q: there are several; name its id, too", label)
}

func (k *key) readPublic(object pkcs11.ObjectHandle, kind uint) (crypto.PublicKey, error) {
	switch kind {
	case pkcs11.CKK_RSA:
		attrs, err := k.module.GetAttributeValue(k.session, object, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_MODULUS, nil), pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, nil)})
		if err != nil {
			return nil, err
		}
		e := new(big.Int).SetBytes(attrs[1].Value)
		if !e.IsInt64() || e.Int64() > 1<<31-1 {
			return nil, errors.New("its exponent is too large")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(attrs[0].Value), E: int(e.Int64())}, nil
	case ckkECEdwards:
		attrs, err := k.module.GetAttributeValue(k.session, object, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)})
		if err != nil {
			return nil, err
		}
		point := attrs[0].Value
		var inner []byte
		if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 { // some tokens wrap it
			point = inner
		}
		if len(point) != ed25519.PublicKeySize {
			return nil, errors.New("it is no Ed25519 key")
		}
		return ed25519.PublicKey(slices.Clone(point)), nil
	}
	return nil, fmt.Errorf("a key of type %#x: devices know Ed25519 and RSA only", kind)
}

// make makes a key pair that stays in the token.
func (k *key) make(u uri, bits int) error {
	both := func(more ...*pkcs11.Attribute) []*pkcs11.Attribute {
		return append(more, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, u.object), pkcs11.NewAttribute(pkcs11.CKA_ID, u.id))
	}
	public := both(pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true))
	private := both(pkcs11.NewAttribute(pkcs11.CKA_SIGN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false))
	mechanism := uint(ckmECEdwards)
	if bits == 0 {
		public = append(public, pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, edwards25519))
	} else {
		mechanism = pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN
		public = append(public, pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, bits), pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}))
	}
	_, _, err := k.module.GenerateKeyPair(k.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, public, private)
	if err != nil {
		return fmt.Errorf("making key %q in token %q: %w", u.object, u.token, err)
	}
	return nil
}

// Public is the public key.
func (k *key) Public() crypto.PublicKey { return k.public }

// Sign signs a message with Ed25519, or the SHA-256 of one with RSASSA-PSS and a
// salt of 32 bytes; nothing else is offered.
func (k *key) Sign(_ io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	mechanism := pkcs11.NewMechanism(ckmEdDSA, nil)
	if _, ok := k.public.(*rsa.PublicKey); ok {
		if !IsPSS(opts) {
			return nil, errors.New("signing in a token: only RSASSA-PSS with SHA-256 and a salt of 32 bytes")
		}
		mechanism = pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_PSS, pkcs11.NewPSSParams(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, uint(crypto.SHA256.Size())))
	} else if opts.HashFunc() != 0 {
		return nil, errors.New("signing in a token: Ed25519 signs messages, not hashes")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.module.SignInit(k.session, []*pkcs11.Mechanism{mechanism}, k.private); err != nil {
		return nil, fmt.Errorf("signing in a token: %w", err)
	}
	if k.pin != "" {
		if err := k.module.Login(k.session, pkcs11.CKU_CONTEXT_SPECIFIC, k.pin); err != nil {
			return nil, fmt.Errorf("signing in a token: %w (%v)", ErrPIN, err)
		}
	}
	sig, err := k.module.Sign(k.session, msg)
	if err != nil {
		return nil, fmt.Errorf("signing in a token: %w", err)
	}
	return sig, nil
}

// Close ends the session.
func (k *key) Close() error { return k.module.CloseSession(k.session) }
