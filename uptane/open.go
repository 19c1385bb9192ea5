package uptane

import (
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane/canonical"
)

// Document is metadata that was verified.
type Document[T metadata.Roles] struct {
	// Payload is what the document says.
	Payload T
	// Signed is the payload in canonical form.
	Signed []byte
	// Raw is the whole document in canonical form: the bytes to store, to hash and
	// to serve, whatever white space it came with.
	Raw []byte
	// Signers are the distinct keys of the role that signed.
	Signers []Key
}

// Open verifies a document of a role that trust speaks for: strict form, type,
// signatures, shape, and expiry unless now is the zero time. What it returns is
// trusted; relations to other metadata are left to the Check functions. Errors
// wrap ErrMalformed, ErrType, ErrSignature, ErrKey, ErrName, ErrVersion or
// ErrExpired.
func Open[T metadata.Roles](f Flavour, raw []byte, role Role, trust Keyring, now time.Time) (Document[T], error) {
	v, err := canonical.Parse(raw, canonical.Options{ASCII: true})
	if err != nil {
		return Document[T]{}, fmt.Errorf("opening %s: %w: %w", role, ErrMalformed, err)
	}
	return OpenValue[T](f, v, role, trust, now)
}

// OpenValue is Open of what canonical.Parse has read, ASCII alone.
func OpenValue[T metadata.Roles](f Flavour, v canonical.Value, role Role, trust Keyring, now time.Time) (Document[T], error) {
	var d Document[T]
	signed, sigs, err := envelopeOf(f, v)
	if err != nil {
		return d, fmt.Errorf("opening %s: %w", role, err)
	}
	if err := checkType(f, role, signed); err != nil {
		return d, fmt.Errorf("opening: %w", err)
	}
	signers, err := trust.Verify(f, f.message(signed), sigs)
	if err != nil {
		return d, fmt.Errorf("opening %s: %w", role, err)
	}
	payload, err := payloadOf(f, role, signed)
	if err != nil {
		return d, fmt.Errorf("opening: %w", err)
	}
	typed, ok := payload.(*T)
	if !ok {
		return d, fmt.Errorf("opening %s as %T: %w", role, d.Payload, ErrType)
	}
	if err := checkExpiry(role, signed, now); err != nil {
		return d, err
	}
	return Document[T]{Payload: *typed, Signed: signed.Uptane(), Raw: v.Uptane(), Signers: signers}, nil
}

func checkExpiry(role Role, signed canonical.Value, now time.Time) error {
	version, expires, err := headOf(signed)
	if err != nil {
		return err
	}
	if !now.IsZero() && !now.Before(expires) {
		return fmt.Errorf("opening %s version %d that ended %s: %w", role, version, expires.Format(timeLayout), ErrExpired)
	}
	return nil
}
