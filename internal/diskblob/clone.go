package diskblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Cloner gives objects of the bucket in one folder to the bucket in another,
// for backups. Safe for concurrent use. Close it.
type Cloner struct {
	from, to *bucket
	link     bool
}

// NewCloner opens both folders; to is created if necessary. With link, objects
// get a second name instead of a second content where both folders are on one
// file system: content never changes under a name, so neither folder sees what
// becomes of the other, but a broken disk takes both.
func NewCloner(from, to string, link bool) (*Cloner, error) {
	if _, err := os.Stat(from); err != nil {
		return nil, fmt.Errorf("opening blob folder: %w", err)
	}
	c := &Cloner{link: link}
	var err error
	if c.from, err = open(from); err != nil {
		return nil, fmt.Errorf("opening blob folder %s: %w", from, err)
	}
	if c.to, err = open(to); err != nil {
		return nil, fmt.Errorf("opening blob folder %s: %w", to, errors.Join(err, c.from.Close()))
	}
	return c, nil
}

// Close gives both folders back.
func (c *Cloner) Close() error { return errors.Join(c.from.Close(), c.to.Close()) }

// Clone gives one object, unless it is there already, and returns its size in
// bytes and whether it was copied. Nothing is durable before [Sync]. The error
// is fs.ErrNotExist where the first folder has no such object.
func (c *Cloner) Clone(ctx context.Context, key string) (size int64, copied bool, err error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	info, err := c.from.stat(key)
	if err != nil {
		return 0, false, err
	}
	if _, err := c.to.stat(key); err == nil {
		return info.Size(), false, nil
	}
	name := encode(key)
	if err := c.to.makeFolder(path.Dir(name)); err != nil {
		return 0, false, err
	}
	if c.link {
		err := os.Link(filepath.Join(c.from.root.Name(), name), filepath.Join(c.to.root.Name(), name))
		switch {
		case err == nil, errors.Is(err, fs.ErrExist):
			return info.Size(), false, nil
		case errors.Is(err, fs.ErrNotExist):
			return 0, false, err
		}
	}
	return info.Size(), true, c.copy(name)
}

// makeFolder is ensureFolder for those who sync everything at the end.
func (b *bucket) makeFolder(name string) error {
	if _, ok := b.known.Load(name); ok {
		return nil
	}
	if err := b.root.MkdirAll(name, folderMode); err != nil {
		return err
	}
	b.known.Store(name, true)
	return nil
}

func (c *Cloner) copy(name string) (err error) {
	in, err := c.from.root.Open(name)
	if err != nil {
		return missing(err)
	}
	defer func() { _ = in.Close() }()
	tmp := newTmp()
	out, err := c.to.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err == nil {
		err = c.to.root.Rename(tmp, name)
	}
	if err != nil {
		_ = c.to.root.Remove(tmp)
	}
	return err
}

// Sync makes everything durable that was written to the file system of a
// folder.
func Sync(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("writing %s to disk: %w", folder, err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("writing %s to disk: %w", folder, err)
	}
	return nil
}
