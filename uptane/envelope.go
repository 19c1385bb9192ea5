package uptane

import (
	"encoding/json"
	"fmt"
	"slices"

	"sealift/uptane/canonical"
)

// Signature is one signature of an envelope.
type Signature struct {
	KeyID  KeyID
	Method string // empty in TUF documents, where the key tells it
	Sig    []byte
}

// Envelope is a document taken apart, nothing verified. Signed is the payload in
// canonical form, as it is stored and served.
type Envelope struct {
	Signed     json.RawMessage
	Signatures []Signature
}

// ParseEnvelope reads a document of flavour f. Key ids are unique in it and it
// holds nothing that is not signed. Errors wrap ErrMalformed or, for a signature
// that makes clients refuse the document, ErrSignature.
func ParseEnvelope(f Flavour, raw []byte) (Envelope, error) {
	signed, sigs, err := parseEnvelope(f, raw, canonical.Options{ASCII: true})
	if err != nil {
		return Envelope{}, err
	}
	return Envelope{Signed: signed.Uptane(), Signatures: sigs}, nil
}

func parseEnvelope(f Flavour, raw []byte, o canonical.Options) (canonical.Value, []Signature, error) {
	v, err := canonical.Parse(raw, o)
	if err != nil {
		return v, nil, fmt.Errorf("reading envelope: %w: %w", ErrMalformed, err)
	}
	return envelopeOf(f, v)
}

func envelopeOf(f Flavour, v canonical.Value) (canonical.Value, []Signature, error) {
	signed, ok := v.Member("signed")
	list, okList := v.Member("signatures")
	if !ok || !okList || len(v.Members()) != 2 || signed.Kind() != canonical.Object || list.Kind() != canonical.Array {
		return v, nil, malformed("reading envelope that is not signatures and signed")
	}
	sigs := make([]Signature, 0, len(list.Items()))
	seen := map[KeyID]bool{}
	for _, item := range list.Items() {
		s, err := f.readSignature(item)
		if err != nil {
			return v, nil, err
		}
		if seen[s.KeyID] {
			return v, nil, fmt.Errorf("reading two signatures of key %s: %w", s.KeyID, ErrSignature)
		}
		seen[s.KeyID] = true
		sigs = append(sigs, s)
	}
	return signed, sigs, nil
}

// Add adds signatures made over the same payload; one of a key that has signed
// already takes the place of the old.
func (e *Envelope) Add(f Flavour, sigs ...RawSig) {
	for _, raw := range sigs {
		s := Signature{KeyID: f.KeyID(raw.Key), Sig: raw.Sig}
		if f == Uptane {
			s.Method = raw.Key.method()
		}
		if i := slices.IndexFunc(e.Signatures, func(old Signature) bool { return old.KeyID == s.KeyID }); i >= 0 {
			e.Signatures[i] = s
		} else {
			e.Signatures = append(e.Signatures, s)
		}
	}
}

// Encode writes the document in canonical form: the bytes to store and serve.
func (e Envelope) Encode(f Flavour) []byte {
	list := make([]canonical.Value, len(e.Signatures))
	for i, s := range e.Signatures {
		list[i] = f.writeSignature(s)
	}
	b := append([]byte(`{"signatures":`), canonical.List(list...).Uptane()...)
	b = append(append(b, `,"signed":`...), e.Signed...)
	return append(b, '}')
}

// Frame puts signatures around a payload, unverified. A signing ceremony uses it
// to bring together what several people signed.
func Frame(f Flavour, payload []byte, sigs ...RawSig) []byte {
	e := Envelope{Signed: payload}
	e.Add(f, sigs...)
	return e.Encode(f)
}

// Message returns the bytes that the signatures of a document are about. It
// tells the flavour by what the document is. Nothing is verified.
func Message(raw []byte) ([]byte, error) {
	signed, _, err := parseEnvelope(Uptane, raw, canonical.Options{ASCII: true})
	if err == nil {
		return Uptane.message(signed), nil
	}
	if signed, _, other := parseEnvelope(TUF, raw, canonical.Options{}); other == nil {
		return TUF.message(signed), nil
	}
	return nil, err
}
