// Package hsm signs with private keys that never come here: those in PKCS#11
// tokens - hardware security modules, smart cards, or the software token of tests -
// named by a URI of RFC 7512, and those in a key service that is asked over the
// network ([Service]), named by a URI such as awskms:///alias/NAME. The scheme of a
// URI decides here, and nowhere else, who is asked.
//
// The library of a token is C code, so programs have it only when they were
// built with the tag pkcs11 (and cgo); others answer [ErrNotBuiltIn]. Which
// library that is, the environment says and never the URI: a URI may come from
// somebody else, and a library that is loaded can do anything.
package hsm

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
)

var (
	// ErrNotBuiltIn says that this program cannot use tokens.
	ErrNotBuiltIn = errors.New("keys in PKCS#11 tokens are not built in: build with CGO_ENABLED=1 and -tags pkcs11")
	// ErrURI marks what is no URI of a key.
	ErrURI = errors.New("no URI of a key in a PKCS#11 token or a key service")
	// ErrNotFound marks a library, token or key that is not there.
	ErrNotFound = errors.New("not found")
	// ErrPIN marks a PIN that is missing or that the token refuses.
	ErrPIN = errors.New("no PIN, or a wrong one")
)

// Names of environment variables.
const (
	EnvModule  = "PKCS11_MODULE_PATH" // library of the token
	EnvPIN     = "PKCS11_PIN"
	EnvPINFile = "PKCS11_PIN_FILE" // file whose first line is the PIN
)

// Key is a private key in a token or key service. Safe for concurrent use; it is of no use after
// Close.
type Key interface {
	crypto.Signer
	io.Closer
}

// Surroundings are where a PIN and the library's path come from.
type Surroundings struct {
	Getenv func(string) string                   // os.Getenv if nil
	Prompt func(question string) ([]byte, error) // nil where nobody can be asked
	// Service has the keys of awskms: URIs; nil in programs that know none.
	Service Service
}

// uri is what a PKCS#11 URI says, as far as it matters for private keys.
type uri struct {
	token, serial string // of the token; "" is any
	object        string // label of the key
	id            []byte
	pin, pinFile  string
}

const maxURI = 2048

// parse reads a URI. Attributes that name a library are refused, others that are
// not known are passed over.
func parse(text string) (uri, error) {
	var u uri
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "pkcs11:")
	if !ok || len(text) > maxURI {
		return u, fmt.Errorf("reading %.60q: %w", Shown(text), ErrURI)
	}
	path, query, _ := strings.Cut(rest, "?")
	for _, part := range append(strings.Split(path, ";"), strings.Split(query, "&")...) {
		if part == "" {
			continue
		}
		name, escaped, ok := strings.Cut(part, "=")
		value, err := url.PathUnescape(escaped)
		if !ok || err != nil {
			return u, fmt.Errorf("reading attribute %.60q: %w", Shown(name), ErrURI)
		}
		switch name {
		case "token":
			u.token = value
		case "serial":
			u.serial = value
		case "object":
			u.object = value
		case "id":
			u.id = []byte(value)
		case "type":
			if value != "private" {
				return u, fmt.Errorf("reading a URI of another type than private: %w", ErrURI)
			}
		case "pin-value":
			u.pin = value
		case "pin-source":
			u.pinFile = strings.TrimPrefix(strings.TrimPrefix(value, "file://"), "file:")
		case "module-path", "module-name":
			return u, fmt.Errorf("reading a URI with %s: %w: the library is named in %s", name, ErrURI, EnvModule)
		}
	}
	if u.object == "" && len(u.id) == 0 {
		return u, fmt.Errorf("reading a URI with neither object nor id: %w", ErrURI)
	}
	return u, nil
}

// pinBegins is where a PIN may begin in a URI: in its query, where it belongs, or
// under its name, where somebody has put it in front.
var pinBegins = regexp.MustCompile(`(?i)\?|%3f|pin(-|%2d|_)?(value|source)|pin=`)

// Shown is a URI as it may be shown, to people and in logs: without the PIN, also
// where it is no good URI.
func Shown(text string) string {
	if at := pinBegins.FindStringIndex(text); at != nil {
		return text[:at[0]] + "(masked)"
	}
	return text
}

func inToken(text string) bool { return strings.HasPrefix(strings.TrimSpace(text), "pkcs11:") }

// In names the key of that label in a token: the token is a URI without a key and
// without a PIN, such as pkcs11:token=sealift, as what is made of it is handed on.
// In a key service, of which the beginning of an alias is given, it is the alias that
// goes on with the label. Errors wrap ErrURI.
func In(token, object string) (string, error) {
	if InService(token) {
		return alias(token, object)
	}
	text := strings.TrimRight(strings.TrimSpace(token), ";")
	u, err := parse(text + ";object=" + url.PathEscape(object))
	if err != nil {
		return "", err
	}
	if strings.Contains(text, "?") || u.object != object || len(u.id) > 0 || strings.Contains(text, "object=") || u.token+u.serial == "" {
		return "", fmt.Errorf("reading %.60q: name the token alone, such as pkcs11:token=NAME; the PIN is taken from %s or %s: %w", Shown(token), EnvPIN, EnvPINFile, ErrURI)
	}
	return text + ";object=" + url.PathEscape(object), nil
}

// Beside names another key in the token of a key, without its PIN, as what is made of
// it is handed on. Errors wrap ErrURI, also where the key's URI names no token, or
// ErrMadeThere.
func Beside(key, object string) (string, error) {
	if InService(key) {
		return "", ErrMadeThere
	}
	u, err := parse(key)
	if err != nil {
		return "", err
	}
	var token []string
	if u.token != "" {
		token = append(token, "token="+url.PathEscape(u.token))
	}
	if u.serial != "" {
		token = append(token, "serial="+url.PathEscape(u.serial))
	}
	return In("pkcs11:"+strings.Join(token, ";"), object)
}

// Check reads a URI without opening anything. Errors wrap ErrURI.
func Check(text string) error {
	_, err := parse(text)
	return err
}
