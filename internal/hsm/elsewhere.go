package hsm

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
)

// What is said of keys in a key service.
var (
	// ErrNoService says that this program cannot ask key services.
	ErrNoService = errors.New("keys in a key service are not built in: sealift has them, garage-sign when it is built with -tags awskms")
	// ErrKind marks a key that is of no use for metadata, or not of the kind that was asked for.
	ErrKind = errors.New("not a key that can be used here")
	// ErrAway marks a key that cannot be used now: its service does not answer, or refuses.
	ErrAway = errors.New("the key cannot be used now")
	// ErrBusy marks a service that was asked too often. It wraps nothing else.
	ErrBusy = errors.New("the key service is asked too often")
	// ErrMadeThere: keys in a key service are made by people, there.
	ErrMadeThere = errors.New("keys in a key service are made there, by people")
)

// Service is a key service, such as clouds have. People make and name keys there;
// programs ask for public keys and signatures. It is safe for concurrent use, and
// each call ends after a few seconds.
type Service interface {
	// Find asks for the key of a URI and whether it would sign now. The second
	// result names this very key, whatever a name in the URI comes to mean. Errors
	// wrap ErrURI, ErrNotFound, ErrKind, ErrAway or ErrBusy; so do those of its keys.
	Find(uri string) (Key, string, error)
	// Known is the key of a URI whose public key is known: nobody is asked before it
	// signs. Errors wrap ErrURI.
	Known(uri string, public crypto.PublicKey) (Key, error)
}

// InService reports whether text names a key in a key service.
func InService(text string) bool { return strings.HasPrefix(strings.TrimSpace(text), "awskms:") }

// IsURI reports whether text names a key in a token or in a key service.
func IsURI(text string) bool { return inToken(text) || InService(text) }

// Open returns the private key that a URI names, in a token or in a key service.
// Errors wrap ErrURI, ErrNotFound, ErrPIN or what [Service.Find] gives.
func Open(text string, s Surroundings) (Key, error) {
	if !InService(text) {
		return openInToken(text, s)
	}
	key, _, err := s.find(text)
	return key, err
}

// Known is Open where the public key is known: a key service is not asked.
func Known(text string, public crypto.PublicKey, s Surroundings) (Key, error) {
	if !InService(text) {
		return openInToken(text, s)
	}
	if s.Service == nil {
		return nil, ErrNoService
	}
	return s.Service.Known(strings.TrimSpace(text), public)
}

// Use returns the key that a URI names and the URI to keep. In a token, one that is
// not there is made: RSA of bits, Ed25519 for 0.
func Use(text string, bits int, s Surroundings) (Key, string, error) {
	if InService(text) {
		return s.find(text)
	}
	key, err := openInToken(text, s)
	if errors.Is(err, ErrNotFound) {
		key, err = Generate(text, bits, s)
	}
	return key, strings.TrimSpace(text), err
}

// Make returns a new key for what label says, and its URI. In a token it is made,
// and the name is one that no other key has; in a key service it is the key that
// people gave the name of [In], and it has to be RSA of bits.
func Make(place, label string, bits int, s Surroundings) (Key, string, error) {
	if !InService(place) {
		uri, err := In(place, fmt.Sprintf("sealift-%s-%.8s", label, strings.ToLower(rand.Text())))
		if err != nil {
			return nil, "", err
		}
		key, err := Generate(uri, bits, s)
		return key, uri, err
	}
	uri, err := In(place, label)
	if err != nil {
		return nil, "", err
	}
	key, named, err := s.find(uri)
	if err != nil {
		return nil, "", err
	}
	public, _ := key.Public().(*rsa.PublicKey)
	switch {
	case bits == 0:
		err = fmt.Errorf("using the key that %s names: %w: in a key service keys are RSA; ask for that with --key-type, such as rsa3072", uri, ErrKind)
	case public == nil || public.N.BitLen() != bits:
		err = fmt.Errorf("using the key that %s names: %w: it is not RSA of %d bits", uri, ErrKind, bits)
	}
	return key, named, err
}

func (s Surroundings) find(text string) (Key, string, error) {
	if s.Service == nil {
		return nil, "", ErrNoService
	}
	return s.Service.Find(strings.TrimSpace(text))
}

// alias names the key of that label at a place in a key service, which is the
// beginning of an alias, such as awskms:///alias/sealift.
func alias(place, label string) (string, error) {
	path, query, asks := strings.Cut(strings.TrimSpace(place), "?")
	if _, name, ok := strings.Cut(path, "alias/"); !ok || name == "" {
		return "", fmt.Errorf("reading %.80q: name the beginning of an alias, such as awskms:///alias/sealift: %w", path, ErrURI)
	}
	uri := path + "-" + strings.ReplaceAll(label, ".", "_") // an alias has no dots
	if asks {
		uri += "?" + query
	}
	return uri, nil
}

// IsPSS reports whether a signature is to be RSASSA-PSS with SHA-256 and a salt of
// 32 bytes, the one kind of RSA signature that metadata have.
func IsPSS(opts crypto.SignerOpts) bool {
	pss, ok := opts.(*rsa.PSSOptions)
	return ok && pss.Hash == crypto.SHA256 && (pss.SaltLength == crypto.SHA256.Size() || pss.SaltLength == rsa.PSSSaltLengthEqualsHash)
}
