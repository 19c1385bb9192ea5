package uptane

import (
	"errors"
	"fmt"
)

// What a document is refused for. Each names one check.
var (
	// ErrMalformed: it is no strict JSON or lacks the shape of its role.
	ErrMalformed = errors.New("malformed")
	// ErrType: its type is not the one of the role that was asked for.
	ErrType = errors.New("wrong role type")
	// ErrKey: a key is of a kind or size that clients cannot use, or is badly written.
	ErrKey = errors.New("unusable key")
	// ErrSignature: too few valid signatures by distinct keys of the role.
	ErrSignature = errors.New("signatures do not reach the threshold")
	// ErrExpired: its time is over.
	ErrExpired = errors.New("expired")
	// ErrVersion: its version is not the one that must come here.
	ErrVersion = errors.New("wrong version")
	// ErrRollback: it is older than what is trusted already.
	ErrRollback = errors.New("rollback")
	// ErrMix: it does not belong with the other metadata of the repository.
	ErrMix = errors.New("metadata that do not belong together")
	// ErrImage: the Director and the Image repository disagree about an image, or
	// it does not suit the ECU.
	ErrImage = errors.New("image refused")
	// ErrECU: it names an ECU that the device does not have, or the wrong Primary.
	ErrECU = errors.New("ECU does not belong here")
	// ErrTwins: the two flavours do not say the same.
	ErrTwins = errors.New("the two flavours differ")
	// ErrName: a name or identifier is not allowed.
	ErrName = errors.New("name not allowed")
	// ErrRootChanged: a Signer was asked to sign under a root that is no longer current.
	ErrRootChanged = errors.New("root has changed")
)

// ECUError says which ECU of a manifest or registration is at fault.
type ECUError struct {
	Serial ECUSerial
	Err    error
}

// Error names the ECU and the reason.
func (e *ECUError) Error() string { return fmt.Sprintf("checking ECU %q: %v", e.Serial, e.Err) }

// Unwrap returns the reason.
func (e *ECUError) Unwrap() error { return e.Err }

func malformed(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrMalformed)...)
}
