package ostree

import (
	"errors"
	"io"
	"runtime"
)

var errAbandoned = errors.New("verification abandoned")

// Verifier is VerifyReader for bytes that are pushed: write the object to it,
// then Close. It is for callers that cannot hand over a reader; others save a
// goroutine with VerifyReader. Not for use by several goroutines at once.
type Verifier struct {
	pipe   *io.PipeWriter
	done   <-chan verdict
	closed bool
	end    verdict
}

type verdict struct {
	res Result
	err error
}

// NewVerifier starts verifying the object called name, of size bytes or -1 if
// that is not known. Call Close, also when giving up.
func NewVerifier(name ObjectName, size int64) *Verifier {
	r, w := io.Pipe()
	done := make(chan verdict, 1)
	go func() {
		res, err := VerifyReader(name, size, r)
		r.CloseWithError(err)
		done <- verdict{res, err}
	}()
	v := &Verifier{pipe: w, done: done}
	// Should the owner forget Close, the goroutine still ends with the Verifier.
	runtime.AddCleanup(v, func(w *io.PipeWriter) { w.CloseWithError(errAbandoned) }, w)
	return v
}

// Write feeds the next bytes. As soon as a rule is broken it returns the
// RuleError.
func (v *Verifier) Write(p []byte) (int, error) { return v.pipe.Write(p) }

// Close says that the object ends here and returns the verdict. Later calls
// return it again.
func (v *Verifier) Close() (Result, error) {
	if !v.closed {
		v.closed = true
		v.pipe.Close()
		v.end = <-v.done
	}
	return v.end.res, v.end.err
}
