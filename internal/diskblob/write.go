package diskblob

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"gocloud.dev/blob/driver"
)

type writer struct {
	ctx    context.Context // the driver's contract: it may be cancelled until Close
	bucket *bucket
	file   *os.File
	tmp    string
	path   string
	isNew  bool // nothing may be replaced
}

// NewTypedWriter starts an object that nobody sees before Close.
func (b *bucket) NewTypedWriter(ctx context.Context, key, _ string, opts *driver.WriterOptions) (driver.Writer, error) {
	if key == "" {
		return nil, errNoKey
	}
	if opts.BeforeWrite != nil {
		if err := opts.BeforeWrite(func(any) bool { return false }); err != nil {
			return nil, err
		}
	}
	w := &writer{ctx: ctx, bucket: b, tmp: newTmp(), path: encode(key), isNew: opts.IfNotExist}
	var err error
	if w.file, err = b.root.OpenFile(w.tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode); err != nil {
		return nil, err
	}
	return w, nil
}

// newTmp returns the path of a temporary file nobody else has.
func newTmp() string { return tmpFolder + "/" + rand.Text() }

func (w *writer) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.file.Write(p)
}

// Close makes the object durable, then visible, then its name durable.
func (w *writer) Close() error {
	defer func() { _ = w.bucket.root.Remove(w.tmp) }() // gone already if renamed
	err := w.ctx.Err()
	if err == nil {
		err = w.file.Sync()
	}
	if cerr := w.file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = w.ctx.Err() // the sync may have taken long
	}
	if err != nil {
		return err
	}
	return w.bucket.publish(w.tmp, w.path, w.isNew)
}

// publish gives a finished temporary file its name. The caller removes what
// may be left of tmp: a rename onto the same file leaves both names.
func (b *bucket) publish(tmp, to string, isNew bool) error {
	folder := path.Dir(to)
	err := b.ensureFolder(folder)
	if err == nil && isNew {
		err = b.root.Link(tmp, to)
	} else if err == nil {
		err = b.root.Rename(tmp, to)
	}
	switch {
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%w: %w", errExists, err) // there, or a folder where the key wants an object or the reverse
	case err != nil:
		return err
	}
	return b.sync.do(folder)
}

// Copy makes dst another name of the same content: content never changes
// under a name, it is only replaced.
func (b *bucket) Copy(ctx context.Context, dst, src string, opts *driver.CopyOptions) error {
	if opts.BeforeCopy != nil {
		if err := opts.BeforeCopy(func(any) bool { return false }); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if dst == "" {
		return errNoKey
	}
	if _, err := b.stat(src); err != nil {
		return err
	}
	tmp := newTmp()
	if err := b.root.Link(encode(src), tmp); err != nil {
		return missing(err)
	}
	defer func() { _ = b.root.Remove(tmp) }()
	return b.publish(tmp, encode(dst), false)
}

// Delete removes an object. Its folder stays: another writer may be about to
// use it.
func (b *bucket) Delete(ctx context.Context, key string, opts *driver.DeleteOptions) error {
	if opts.BeforeDelete != nil {
		if err := opts.BeforeDelete(func(any) bool { return false }); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := b.stat(key); err != nil { // an empty folder is not an object
		return err
	}
	p := encode(key)
	if err := b.root.Remove(p); err != nil {
		return missing(err)
	}
	return b.sync.do(path.Dir(p))
}

// ensureFolder creates a folder and those above it, each name durable before
// it returns. A folder found for the first time is synced too: whoever
// created it may not have got so far.
func (b *bucket) ensureFolder(name string) error {
	if name == "." {
		return nil
	}
	if _, ok := b.known.Load(name); ok {
		return nil
	}
	parent := path.Dir(name)
	if err := b.ensureFolder(parent); err != nil {
		return err
	}
	if err := b.root.Mkdir(name, folderMode); errors.Is(err, fs.ErrExist) {
		info, err := b.root.Lstat(name)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
	} else if err != nil {
		return err
	}
	if err := b.sync.do(parent); err != nil {
		return err
	}
	b.known.Store(name, true)
	return nil
}
