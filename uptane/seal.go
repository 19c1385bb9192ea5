package uptane

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane/canonical"
)

// Seal writes, signs and frames a payload: the only way, with SealPayload, to
// make a document. Errors are those of Payload and of SealPayload.
func Seal[T metadata.Roles](ctx context.Context, f Flavour, s Signer, job Job, payload *T) ([]byte, error) {
	b, v, err := payloadBytes(f, job.Role, payload)
	if err != nil {
		return nil, err
	}
	return seal(ctx, f, s, job, b, v)
}

// SealPayload signs exactly these payload bytes, which Payload made and the
// caller stored before: a version never gets a second content, whoever finishes
// the work. The result is read back and compared before it leaves. Errors of the
// Signer are wrapped, ErrRootChanged among them.
func SealPayload(ctx context.Context, f Flavour, s Signer, job Job, payload []byte) ([]byte, error) {
	v, err := canonical.Parse(payload, canonical.Options{ASCII: true})
	if err != nil {
		return nil, fmt.Errorf("sealing %s: %w: %w", job.Role, ErrMalformed, err)
	}
	if !bytes.Equal(v.Uptane(), payload) {
		return nil, malformed("sealing %s: payload is not canonical", job.Role)
	}
	if _, err := payloadOf(f, job.Role, v); err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	return seal(ctx, f, s, job, payload, v)
}

// seal signs a canonical payload, whose value is v.
func seal(ctx context.Context, f Flavour, s Signer, job Job, payload []byte, v canonical.Value) ([]byte, error) {
	msg := payload
	if f == TUF {
		msg = f.message(v)
	}
	sigs, err := s.Sign(ctx, job, msg)
	if err != nil {
		return nil, fmt.Errorf("signing %s of %s repository: %w", job.Role, job.Repository, err)
	}
	if len(sigs) == 0 {
		return nil, fmt.Errorf("signing %s of %s repository: no key signed: %w", job.Role, job.Repository, ErrSignature)
	}
	doc := Frame(f, payload, sigs...)
	if err := checkSealed(f, doc, payload, msg, sigs); err != nil {
		return nil, fmt.Errorf("reading sealed %s back: %w", job.Role, err)
	}
	return doc, nil
}

// checkSealed reads a new document as a client would: what stands around the
// payload, which was read before it was signed and must stand there unchanged.
func checkSealed(f Flavour, doc, payload, msg []byte, sigs []RawSig) error {
	around, ok := bytes.CutSuffix(doc, append(slices.Clip(payload), '}'))
	if !ok {
		return malformed("comparing payload")
	}
	e, err := ParseEnvelope(f, append(slices.Clip(around), `{}}`...))
	if err != nil {
		return err
	}
	var keys, known []Key
	for i, s := range sigs {
		keys = append(keys, s.Key)
		if i < len(e.Signatures) && e.Signatures[i].KeyID == f.KeyID(s.Key) && bytes.Equal(e.Signatures[i].Sig, s.Sig) &&
			(f == TUF || e.Signatures[i].Method == s.Key.method()) && s.proven(msg) {
			known = append(known, s.Key)
		}
	}
	_, err = NewKeyring(len(sigs), keys...).verify(f, msg, e.Signatures, known)
	return err
}
