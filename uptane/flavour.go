package uptane

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"sealift/uptane/canonical"
)

// Flavour is one of the two ways to write a document.
type Flavour string

// The two flavours.
const (
	// Uptane is what aktualizr reads, under /repo and /director.
	Uptane Flavour = "uptane"
	// TUF is what clients of TUF 1.0 read, under /tuf.
	TUF Flavour = "tuf"
)

// specVersion is the TUF specification that TUF documents claim.
const specVersion = "1.0.31"

// KeyID is the name of k in documents of this flavour.
func (f Flavour) KeyID(k Key) KeyID {
	if f == TUF {
		return k.TUFID()
	}
	return k.ID()
}

// Message turns a payload, in the form in which it is stored and served, into
// the bytes that are signed. For Uptane they are the same.
func (f Flavour) Message(payload []byte) ([]byte, error) {
	v, err := canonical.Parse(payload, canonical.Options{ASCII: true})
	if err != nil {
		return nil, fmt.Errorf("reading payload: %w: %w", ErrMalformed, err)
	}
	return f.message(v), nil
}

func (f Flavour) message(signed canonical.Value) []byte {
	if f == TUF {
		return signed.TUF()
	}
	return signed.Uptane()
}

// typeName is how the flavour spells the payload type of a role.
func (f Flavour) typeName(r Role) string {
	name := string(r.payloadType())
	if f == TUF {
		return name
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

// saltLength is what verifying demands of RSA signatures.
func (f Flavour) saltLength() int {
	if f == TUF {
		return saltLength
	}
	return rsa.PSSSaltLengthAuto
}

func (f Flavour) writeSignature(s Signature) canonical.Value {
	v := canonical.Fields(canonical.Member{Name: "keyid", Value: canonical.Text(string(s.KeyID))})
	if f == TUF {
		return v.With("sig", canonical.Text(hex.EncodeToString(s.Sig)))
	}
	return v.With("method", canonical.Text(s.Method)).With("sig", canonical.Text(base64.StdEncoding.EncodeToString(s.Sig)))
}

// readSignature is strict: exactly the members of the flavour, one spelling of
// every signature. Clients refuse a whole document for one unknown method.
func (f Flavour) readSignature(v canonical.Value) (Signature, error) {
	id, ok := text(v, "keyid")
	sig, okSig := text(v, "sig")
	members := 2
	if !ok || !okSig || id == "" {
		return Signature{}, malformed("reading signature without keyid or sig")
	}
	s := Signature{KeyID: KeyID(id)}
	var err error
	if f == TUF {
		if s.Sig, err = hex.DecodeString(sig); err != nil || strings.ToLower(sig) != sig {
			return Signature{}, malformed("reading signature of key %s that is not lower-case hex", id)
		}
	} else {
		members = 3
		s.Method, _ = text(v, "method")
		if s.Method != methodEd25519 && s.Method != methodPSS && s.Method != methodPSS256 {
			return Signature{}, fmt.Errorf("reading signature of key %s with unknown method %q: %w", id, s.Method, ErrSignature)
		}
		if s.Sig, err = decodeBase64(sig); err != nil {
			return Signature{}, malformed("reading signature of key %s that is not standard base64", id)
		}
	}
	if len(v.Members()) != members {
		return Signature{}, malformed("reading signature of key %s with unknown members", id)
	}
	return s, nil
}

// decodeBase64 accepts one spelling only; package base64 skips line breaks.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, base64.CorruptInputError(strings.IndexAny(s, "\r\n"))
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}
