package fsck

import (
	"context"
	"errors"
	"io"

	"gocloud.dev/blob"
)

// batch is how many keys are looked up at once.
const batch = 500

// Blobs goes through a bucket and counts what no row names. Known tells which
// of some keys rows name; it is asked about at most 500 at once. Errors are
// accidents.
func (a *Account) Blobs(ctx context.Context, bucket *blob.Bucket, known func(ctx context.Context, keys []string) (map[string]bool, error)) error {
	sizes := map[string]int64{}
	settle := func() error {
		if len(sizes) == 0 {
			return nil
		}
		keys := make([]string, 0, len(sizes))
		for key := range sizes {
			keys = append(keys, key)
		}
		named, err := known(ctx, keys)
		if err != nil {
			return err
		}
		a.Looked("blobs", len(keys))
		for key, size := range sizes {
			if !named[key] {
				a.LeftOver(size)
			}
		}
		clear(sizes)
		return nil
	}
	for list := bucket.List(nil); ; {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return settle()
		}
		if err != nil {
			return err
		}
		if sizes[o.Key] = o.Size; len(sizes) == batch {
			if err := settle(); err != nil {
				return err
			}
		}
	}
}
