package ostree

import (
	"context"
	"io"
)

// Source is where objects come from.
type Source interface {
	// Object opens an object and says how many bytes it has, -1 if that is not
	// known. If the reader is also an io.Seeker it can be read again.
	Object(ctx context.Context, name ObjectName) (io.ReadCloser, int64, error)
	// Ref resolves the short name of a ref.
	Ref(ctx context.Context, name string) (Checksum, error)
}

// Sink is where objects go.
type Sink interface {
	// Has reports whether the sink has the object and, for a commit or a
	// dirtree, everything below it.
	Has(ctx context.Context, name ObjectName) (bool, error)
	// Put stores an object of size bytes (-1 if that is not known). An object
	// the sink already has is no error. If r is also an io.Seeker, Put may read
	// it again from the start; r returning an error other than io.EOF means that
	// the bytes before it are worthless.
	Put(ctx context.Context, name ObjectName, size int64, r io.Reader) error
	// SetRef lets the short name of a ref point to a commit the sink has.
	SetRef(ctx context.Context, name string, commit Checksum) error
}
