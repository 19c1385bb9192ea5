package fault

import "net/http"

// Kind classes faults by what the caller can do about them.
type Kind uint8

// The kinds. The zero Kind is none of them and answers 500.
const (
	_ Kind = iota
	// Invalid: the request is malformed or breaks a rule; sending it again is useless.
	Invalid
	// Unauthorized: nobody proved who is asking.
	Unauthorized
	// Forbidden: the caller is known and may not.
	Forbidden
	// NotFound: there is no such thing in the caller's namespace.
	NotFound
	// MethodNotAllowed: the path exists, the method does not.
	MethodNotAllowed
	// NotAcceptable: none of the offered representations is wanted.
	NotAcceptable
	// Conflict: the request contradicts the present state.
	Conflict
	// Gone: the thing existed and is deleted for good.
	Gone
	// LengthRequired: a Content-Length is needed.
	LengthRequired
	// PreconditionFailed: a condition the caller named does not hold.
	PreconditionFailed
	// TooLarge: the body is over the limit.
	TooLarge
	// UnsupportedMedia: the content type is not understood.
	UnsupportedMedia
	// RangeNotSatisfiable: the range lies outside the content.
	RangeNotSatisfiable
	// Locked: someone else holds the thing; try later.
	Locked
	// FailedDependency: something this request rests on is missing or broken.
	FailedDependency
	// PreconditionRequired: the request must name a condition, such as a checksum.
	PreconditionRequired
	// TooMany: the caller asks too often; try later.
	TooMany
	// Unimplemented: the server does not offer this.
	Unimplemented
	// BadGateway: another server answered nonsense.
	BadGateway
	// Unavailable: the server cannot do it now; try later.
	Unavailable
	// Full: there is no room left to store the thing.
	Full
)

// Status returns the HTTP status of k, 500 for an unknown kind.
func (k Kind) Status() int {
	switch k {
	case Invalid:
		return http.StatusBadRequest
	case Unauthorized:
		return http.StatusUnauthorized
	case Forbidden:
		return http.StatusForbidden
	case NotFound:
		return http.StatusNotFound
	case MethodNotAllowed:
		return http.StatusMethodNotAllowed
	case NotAcceptable:
		return http.StatusNotAcceptable
	case Conflict:
		return http.StatusConflict
	case Gone:
		return http.StatusGone
	case LengthRequired:
		return http.StatusLengthRequired
	case PreconditionFailed:
		return http.StatusPreconditionFailed
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	case UnsupportedMedia:
		return http.StatusUnsupportedMediaType
	case RangeNotSatisfiable:
		return http.StatusRequestedRangeNotSatisfiable
	case Locked:
		return http.StatusLocked
	case FailedDependency:
		return http.StatusFailedDependency
	case PreconditionRequired:
		return http.StatusPreconditionRequired
	case TooMany:
		return http.StatusTooManyRequests
	case Unimplemented:
		return http.StatusNotImplemented
	case BadGateway:
		return http.StatusBadGateway
	case Unavailable:
		return http.StatusServiceUnavailable
	case Full:
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}
