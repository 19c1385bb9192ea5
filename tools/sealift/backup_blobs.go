package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"golang.org/x/sync/errgroup"

	"sealift/internal/db"
	"sealift/internal/diskblob"
)

// moveTogether is how many blobs are on their way at once.
const moveTogether = 8

// direction is which way blobs go.
type direction bool

const (
	toBackup   direction = true
	fromBackup direction = false
)

// mover gives one blob to the other side, unless it is there, and returns its
// size and whether its content was copied. fs.ErrNotExist: there is no such blob.
type mover interface {
	Clone(ctx context.Context, key string) (size int64, copied bool, err error)
	Close() error
}

// parts are the movers of both parts of the blob store.
type parts map[string]mover

// openParts opens the blobs of the server and of a backup in dir.
func (s settings) openParts(ctx context.Context, dir string, link bool, d direction) (_ parts, err error) {
	p := parts{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	for part := range blobLists() {
		here, there := filepath.Join(s.Data, "blobs", part), filepath.Join(dir, "blobs", part)
		if s.BlobsURL != "" {
			p[part], err = s.openBucketMover(ctx, part, there, d)
		} else if d == toBackup {
			p[part], err = newCloner(here, there, link)
		} else {
			p[part], err = newCloner(there, here, link)
		}
		if err != nil {
			delete(p, part)
			return nil, err
		}
	}
	return p, nil
}

func newCloner(from, to string, link bool) (mover, error) {
	c, err := diskblob.NewCloner(from, to, link)
	if err != nil {
		return nil, err // a nil *Cloner is no nil mover
	}
	return c, nil
}

func (p parts) close() error {
	var all error
	for _, m := range p {
		all = errors.Join(all, m.Close())
	}
	return all
}

// transfer is what was moved.
type transfer struct {
	blobs         int
	bytes, copied int64
	gone          []string // keys that rows name and nobody has
}

// move gives the other side every blob that the database at path names, and
// shows how far it has come.
func (p parts) move(ctx context.Context, path string, line *progress) (transfer, error) {
	var t transfer
	var mu sync.Mutex
	stop := line.follow(func() string {
		mu.Lock()
		defer mu.Unlock()
		return fmt.Sprintf("%d blobs, %s, %s of them copied", t.blobs, bytesOf(t.bytes), bytesOf(t.copied))
	})
	defer stop()
	d, err := db.Open(ctx, path)
	if err != nil {
		return t, err
	}
	defer func() { _ = d.Close() }()
	for part, list := range blobLists() {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(moveTogether)
		err := list(ctx, d, func(key string) error {
			group.Go(func() error {
				size, copied, err := p[part].Clone(ctx, key)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, fs.ErrNotExist):
					t.gone = append(t.gone, part+"/"+key)
					return nil
				case err != nil:
					return fmt.Errorf("copying blob %s/%s: %w", part, key, err)
				}
				t.blobs++
				t.bytes += size
				if copied {
					t.copied += size
				}
				return nil
			})
			return ctx.Err()
		})
		if err := errors.Join(group.Wait(), err); err != nil {
			return t, err
		}
	}
	return t, nil
}

// bucketMover moves blobs between a bucket elsewhere and a folder.
type bucketMover struct{ from, to *blob.Bucket }

func (s settings) openBucketMover(ctx context.Context, part, folder string, d direction) (mover, error) {
	bucket, err := s.bucket(ctx, part)
	if err != nil {
		return nil, err
	}
	local, err := diskblob.Open(folder)
	if err != nil {
		return nil, errors.Join(err, bucket.Close())
	}
	if d == toBackup {
		return bucketMover{bucket, local}, nil
	}
	return bucketMover{local, bucket}, nil
}

// Close gives both back.
func (m bucketMover) Close() error { return errors.Join(m.from.Close(), m.to.Close()) }

// Clone copies one blob.
func (m bucketMover) Clone(ctx context.Context, key string) (int64, bool, error) {
	if there, err := m.to.Attributes(ctx, key); err == nil {
		return there.Size, false, nil
	}
	r, err := m.from.NewReader(ctx, key, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return 0, false, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return 0, false, err
	}
	defer func() { _ = r.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := m.to.NewWriter(ctx, key, &blob.WriterOptions{ContentType: "application/octet-stream"})
	if err != nil {
		return 0, false, err
	}
	n, err := io.Copy(w, r)
	if err != nil {
		cancel() // before Close: then nothing is left
		_ = w.Close()
		return 0, false, err
	}
	return n, true, w.Close()
}
