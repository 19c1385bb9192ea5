package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"sealift/internal/fault"
)

var errUnknown = fault.New(fault.NotFound, "unknown_ecu", "no such ECU")

func TestFaultKeepsItsIdentity(t *testing.T) {
	other := fault.New(fault.NotFound, "unknown_device", "no such device")
	err := fmt.Errorf("checking report of 7: %w", errUnknown.Withf("serial %d", 42).Wrap(io.EOF))

	if !errors.Is(err, errUnknown) {
		t.Error("a fault with a cause must match the fault it came from")
	}
	if errors.Is(err, other) {
		t.Error("faults of one kind but different codes must not match")
	}
	if !errors.Is(err, io.EOF) {
		t.Error("a wrapped error must be found by errors.Is")
	}
	f := fault.Of(err)
	if f == nil || f.Code() != "unknown_ecu" || f.Cause() != "serial 42" || f.Description() != "no such ECU" {
		t.Errorf("Of = %+v", f)
	}
	if want := "checking report of 7: no such ECU: serial 42: EOF"; err.Error() != want {
		t.Errorf("Error = %q, want %q", err, want)
	}
	if errUnknown.Cause() != "" || errUnknown.Unwrap() != nil {
		t.Error("With and Wrap must leave the original alone")
	}
}

func TestStatus(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{nil, 200},
		{errors.New("disk on fire"), 500},
		{fault.New(0, "odd", "odd"), 500},
		{errUnknown, 404},
		{fmt.Errorf("doing: %w", fault.New(fault.PreconditionRequired, "x", "x")), 428},
		{fault.New(fault.Invalid, "x", "x"), 400},
		{fault.New(fault.Unauthorized, "x", "x"), 401},
		{fault.New(fault.Forbidden, "x", "x"), 403},
		{fault.New(fault.Conflict, "x", "x"), 409},
		{fault.New(fault.PreconditionFailed, "x", "x"), 412},
		{fault.New(fault.TooLarge, "x", "x"), 413},
		{fault.New(fault.RangeNotSatisfiable, "x", "x"), 416},
		{fault.New(fault.TooMany, "x", "x"), 429},
		{fault.New(fault.Unavailable, "x", "x"), 503},
		{fault.New(fault.Full, "x", "x"), 507},
	}
	for _, tt := range tests {
		if got := fault.Status(tt.err); got != tt.want {
			t.Errorf("Status(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestEveryKindHasAStatus(t *testing.T) {
	for k := fault.Invalid; k <= fault.Full; k++ {
		if k.Status() == 500 {
			t.Errorf("kind %d has no status", k)
		}
	}
}
