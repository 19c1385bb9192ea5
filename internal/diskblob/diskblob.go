// Package diskblob is a gocloud.dev/blob driver for a local folder that can
// be trusted with objects that exist once:
//
//   - what a writer's Close reports as stored is on disk, file and folders;
//   - an object appears whole or not at all, and readers of a replaced object
//     go on reading the old one;
//   - of several writers with IfNotExist exactly one wins;
//   - a writer whose context is cancelled before Close leaves nothing;
//   - no key reaches outside the folder, not even through a symbolic link.
//
// A key is a path below the folder, its segments escaped where a file system
// or this package needs it ("." at the beginning, control characters, "%",
// nothing at all). Only content is kept: content type, cache control,
// metadata and MD5 given to a writer are not, and there are no signed URLs.
// Keys of which one continues the other after a slash ("a", "a/b") exclude
// each other; writing the second fails with FailedPrecondition. ETags are
// made of size and time, for files that are replaced rather than changed.
//
// A file being written lives in the subfolder .tmp, so all of the folder must
// be one file system. What a crash leaves there is removed by an [Open] that
// comes an hour later.
package diskblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
)

const (
	tmpFolder = ".tmp"
	staleAge  = time.Hour
	// Nobody but the server has business in here.
	folderMode = 0o700
	fileMode   = 0o600
)

// Open returns the bucket in folder dir, which it creates if necessary, with
// the folders above. A process may have several buckets on one folder open.
// Safe for concurrent use.
func Open(dir string) (*blob.Bucket, error) {
	b, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening blob folder %s: %w", dir, err)
	}
	return blob.NewBucket(b), nil
}

type bucket struct {
	root  *os.Root
	known sync.Map // folders that are on disk for sure
	sync  syncer
}

func open(dir string) (*bucket, error) {
	if err := createFolder(filepath.Clean(dir)); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	b := &bucket{root: root}
	b.sync.fsync = b.syncPath
	if err := b.sweep(time.Now().Add(-staleAge)); err != nil {
		_ = root.Close()
		return nil, err
	}
	return b, nil
}

// createFolder creates dir and the folders above it, and their names on disk.
func createFolder(dir string) error {
	_, err := os.Stat(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := createFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(parent)
}

// sweep removes what crashed writers left. Recent files may belong to a
// writer of another bucket on this folder.
func (b *bucket) sweep(before time.Time) error {
	if err := b.ensureFolder(tmpFolder); err != nil {
		return err
	}
	entries, err := fs.ReadDir(b.root.FS(), tmpFolder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.ModTime().Before(before) {
			if err := b.root.Remove(tmpFolder + "/" + e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// Close gives the folder back. Writers under way fail.
func (b *bucket) Close() error { return b.root.Close() }

// As offers nothing.
func (b *bucket) As(any) bool { return false }

// ErrorAs gives *fs.PathError where there is one.
func (b *bucket) ErrorAs(err error, target any) bool {
	p, ok := target.(**fs.PathError)
	return ok && errors.As(err, p)
}

var (
	errUnsupported = errors.New("signed URLs are not offered")
	errExists      = errors.New("object exists")
	errNoKey       = errors.New("a key is not empty")
)

// ErrorCode classes errors as package blob knows them.
func (b *bucket) ErrorCode(err error) gcerrors.ErrorCode {
	switch {
	case errors.Is(err, context.Canceled):
		return gcerrors.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return gcerrors.DeadlineExceeded
	case errors.Is(err, errUnsupported):
		return gcerrors.Unimplemented
	case errors.Is(err, errExists):
		return gcerrors.FailedPrecondition
	case errors.Is(err, fs.ErrNotExist):
		return gcerrors.NotFound
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, errNoKey):
		return gcerrors.InvalidArgument
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return gcerrors.ResourceExhausted
	case errors.Is(err, fs.ErrPermission):
		return gcerrors.PermissionDenied
	}
	return gcerrors.Unknown
}

// Attributes returns what is known of an object: size, time and ETag.
func (b *bucket) Attributes(_ context.Context, key string) (*driver.Attributes, error) {
	info, err := b.stat(key)
	if err != nil {
		return nil, err
	}
	return &driver.Attributes{
		ContentType: contentType,
		ModTime:     info.ModTime(),
		Size:        info.Size(),
		ETag:        fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()),
	}, nil
}

// contentType is the same for all: it must not be empty.
const contentType = "application/octet-stream"

// stat fails with fs.ErrNotExist for whatever is not an object.
func (b *bucket) stat(key string) (fs.FileInfo, error) {
	info, err := b.root.Lstat(encode(key))
	if err != nil {
		return nil, missing(err)
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "stat", Path: key, Err: fs.ErrNotExist}
	}
	return info, nil
}

// missing: below an object there is nothing.
func missing(err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

type reader struct {
	io.Reader
	file  *os.File
	attrs driver.ReaderAttributes
	whole bool
}

func (r *reader) Close() error                         { return r.file.Close() }
func (r *reader) Attributes() *driver.ReaderAttributes { return &r.attrs }

// As gives the *os.File of a reader of a whole object, so that it can be sent
// without copying. Closing the reader closes it.
func (r *reader) As(target any) bool {
	p, ok := target.(**os.File)
	if ok && r.whole {
		*p = r.file
		return true
	}
	return false
}

// NewRangeReader opens an object; past its end there is nothing to read.
func (b *bucket) NewRangeReader(_ context.Context, key string, offset, length int64, opts *driver.ReaderOptions) (driver.Reader, error) {
	f, err := b.root.Open(encode(key))
	if err != nil {
		return nil, missing(err)
	}
	r, err := newReader(f, offset, length)
	if err == nil && opts.BeforeRead != nil {
		err = opts.BeforeRead(r.As)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return r, nil
}

func newReader(f *os.File, offset, length int64) (*reader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a folder
		return nil, &fs.PathError{Op: "open", Path: f.Name(), Err: fs.ErrNotExist}
	}
	if offset > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return nil, err
		}
	}
	r := &reader{
		Reader: f, file: f, whole: offset == 0 && length < 0,
		attrs: driver.ReaderAttributes{ContentType: contentType, ModTime: info.ModTime(), Size: info.Size()},
	}
	if length >= 0 {
		r.Reader = io.LimitReader(f, length)
	}
	return r, nil
}

// SignedURL is not offered.
func (b *bucket) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", errUnsupported
}
