package treehub

import (
	"context"
	"errors"
	"fmt"

	"gocloud.dev/blob"

	"sealift/internal/db"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// Location says where the bytes of a complete object are.
type Location struct {
	Key  string // in [TreeHub.Bucket]
	Size int64
	// ETag, without quotes, changes whenever the bytes may have.
	ETag string
	// Mutable is set for a commitmeta. It can be replaced at any time, and the
	// blob is gone then: whoever finds none asks for the location again.
	Mutable bool
}

// Locate answers ErrObjectMissing for an object that is not here or not
// complete.
func (t *TreeHub) Locate(ctx context.Context, ns uptane.Namespace, name ostree.ObjectName) (Location, error) {
	o, err := t.store.object(ctx, t.store.db, ns, name)
	if errors.Is(err, db.ErrNoRows) || err == nil && !o.complete() {
		return Location{}, ErrObjectMissing
	}
	if err != nil {
		return Location{}, fmt.Errorf("looking for %s of %s: %w", name, ns, err)
	}
	return Location{Key: blobKey(ns, name, o.Generation), Size: o.Size,
		ETag: o.Name + "-" + o.Generation, Mutable: mutable(name)}, nil
}

// Bucket is where the blobs are, for reading.
func (t *TreeHub) Bucket() *blob.Bucket { return t.bucket }
