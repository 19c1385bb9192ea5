package repo

import (
	"errors"
	"fmt"
	"strings"

	"sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// Faults a caller may meet. Codes with a counterpart in ATS services are spelled
// as there.
var (
	ErrNoRepository     = fault.New(fault.NotFound, "no_repo_for_namespace", "the namespace has no Image repository")
	ErrExists           = fault.New(fault.Conflict, "conflicting_entity", "it exists already")
	ErrRoleMissing      = fault.New(fault.NotFound, "role_not_found", "no such metadata")
	ErrTargetMissing    = fault.New(fault.NotFound, "target_not_found", "no such target")
	ErrTargetExpired    = fault.New(fault.NotFound, "targets_expired", "the metadata that name the target have expired")
	ErrTargetBuried     = fault.New(fault.Invalid, "target_below_terminating", "only a role below a terminating one names the target, where aktualizr does not look; sign the delegation above it anew, not terminating")
	ErrInvalid          = fault.New(fault.Invalid, "invalid_entity", "the request is malformed")
	ErrNoChecksum       = fault.New(fault.PreconditionRequired, "role_checksum_not_provided", "x-ats-role-checksum must name the targets metadata this push replaces")
	ErrChecksum         = fault.New(fault.PreconditionFailed, "role_checksum_mismatch", "the targets metadata has changed since it was pulled")
	ErrInvalidTargets   = fault.New(fault.Invalid, "invalid_offline_targets", "the targets metadata breaks rules")
	ErrVersionBump      = fault.New(fault.Conflict, "invalid_version_bump", "the version must be the last one plus one")
	ErrRootExpired      = fault.New(fault.PreconditionFailed, "root_expired", "the root has expired; sign and push a new one first")
	ErrTooLarge         = fault.New(fault.TooLarge, "payload_too_large", "it is too large")
	ErrUploadMissing    = fault.New(fault.NotFound, "upload_not_found", "no such upload, or it has expired")
	ErrUpload           = fault.New(fault.Invalid, "invalid_upload", "the upload breaks a rule")
	ErrPartURL          = fault.New(fault.Forbidden, "invalid_part_url", "the upload address is not valid or no longer valid")
	ErrTUFOff           = fault.New(fault.NotFound, "tuf_off", "the namespace offers nothing to TUF clients")
	ErrTwinMissing      = fault.New(fault.PreconditionFailed, "tuf_twin_missing", "a root lacks its TUF document")
	ErrTargetsUntrusted = fault.New(fault.PreconditionFailed, "targets_untrusted", "the visible targets are not signed by the keys of the current root; devices refuse them until they are signed and pushed again")
	ErrBusy             = fault.New(fault.Unavailable, "repository_busy", "others kept changing the repository; try again")
)

// Reasons is why a document was refused, a sentence each. It is found by
// errors.As in the errors of [Repo.PutTargets].
type Reasons []string

// Error joins the reasons.
func (r Reasons) Error() string { return strings.Join(r, "; ") }

// FaultCause tells callers the reasons one by one.
func (r Reasons) FaultCause() any { return []string(r) }

const maxReasons = 20

// refuse is f with its reasons, as many of them as a reader can take in.
func refuse(f *fault.Fault, reasons ...string) error {
	if more := len(reasons) - maxReasons; more > 0 {
		reasons = append(reasons[:maxReasons:maxReasons], fmt.Sprintf("and %d more", more))
	}
	list := Reasons(reasons)
	return f.With(list.Error()).Wrap(list)
}

// Signs between the steps of one call, never seen outside.
var (
	// errSuperseded: another push has become visible meanwhile.
	errSuperseded = errors.New("another push is visible")
	// errAgain: something checked before no longer holds.
	errAgain = errors.New("checked state has changed")
)

// tooLarge refuses a document by its size alone, before anybody reads it.
func tooLarge(role uptane.Role, n int) error {
	refused := &acceptance.Refusal{Judge: acceptance.Aktualizr, Rule: acceptance.RuleSize, Role: role,
		Reason: fmt.Sprintf("%d bytes, of at most %d", n, MaxTargets)}
	return ErrTooLarge.Wrap(refused)
}
