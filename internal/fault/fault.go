// Package fault holds the errors a caller may read.
//
// A [Fault] has a kind, which decides the HTTP status, a code, which programs
// compare and which therefore never changes, and a description for people.
// Every other error is an accident of the server: the edge logs it in full
// and shows "internal error".
//
// Services declare their faults as package variables and return them wrapped
// in context:
//
//	var ErrUnknownECU = fault.New(fault.NotFound, "unknown_ecu", "no such ECU")
//
//	return fmt.Errorf("checking report of %s: %w", serial, ErrUnknownECU)
//	return ErrUnknownECU.With("serial 0042 is not registered")
//
// errors.Is compares codes, so a fault with a cause is still the fault it
// came from. A Fault is immutable and safe for concurrent use.
package fault

import (
	"errors"
	"fmt"
	"net/http"
)

// Fault is an error whose code, description and cause may be shown to the
// caller. The text of a wrapped error (see [Fault.Wrap]) may not.
type Fault struct {
	kind    Kind
	code    string
	msg     string
	cause   string
	wrapped error
}

// New returns a fault. The code is lower_snake_case and stays for ever; msg is
// a short description without variable parts.
func New(kind Kind, code, msg string) *Fault {
	return &Fault{kind: kind, code: code, msg: msg}
}

// With returns a copy of f that tells the caller why in this case.
// The copy still matches f under errors.Is.
func (f *Fault) With(cause string) *Fault {
	c := *f
	c.cause = cause
	return &c
}

// Withf is [Fault.With] with the verbs of fmt.Sprintf.
func (f *Fault) Withf(format string, args ...any) *Fault {
	return f.With(fmt.Sprintf(format, args...))
}

// Wrap returns a copy of f that carries err for the log and for errors.Is and
// errors.As. Nothing of err is shown to the caller.
func (f *Fault) Wrap(err error) *Fault {
	c := *f
	c.wrapped = err
	return &c
}

// Error is the text for logs: description, cause and wrapped error.
func (f *Fault) Error() string {
	s := f.msg
	if f.cause != "" {
		s += ": " + f.cause
	}
	if f.wrapped != nil {
		s += ": " + f.wrapped.Error()
	}
	return s
}

// Unwrap returns the error given to [Fault.Wrap], or nil.
func (f *Fault) Unwrap() error { return f.wrapped }

// Is reports whether target is a fault with the same code.
func (f *Fault) Is(target error) bool {
	t, ok := target.(*Fault)
	return ok && t.code == f.code
}

// Kind returns the class of f.
func (f *Fault) Kind() Kind { return f.kind }

// Code returns the stable name of f.
func (f *Fault) Code() string { return f.code }

// Description returns what f means, the same text in every case.
func (f *Fault) Description() string { return f.msg }

// Cause returns what was wrong in this case, or "".
func (f *Fault) Cause() string { return f.cause }

// Of returns the outermost fault in the chain of err, or nil when there is
// none and the caller must be told nothing.
func Of(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return nil
}

// Status returns the HTTP status of err: that of its outermost fault, 200 for
// nil, 500 for anything else.
func Status(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if f := Of(err); f != nil {
		return f.kind.Status()
	}
	return http.StatusInternalServerError
}
