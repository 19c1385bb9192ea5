package ostree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Put verifies and stores an object. One that is there already is kept and r is
// not read; only a commitmeta, which may change, is replaced.
func (d *Dir) Put(ctx context.Context, name ObjectName, size int64, r io.Reader) error {
	has, err := exists(d.object(name))
	if err != nil {
		return err
	}
	if has && name.Type != TypeCommitMeta {
		return d.whole(name)
	}
	err = d.write(objectFile(name), func(w io.Writer) error {
		_, err := VerifyReader(name, size, io.TeeReader(contextReader{ctx, r}, w))
		return err
	})
	if err != nil {
		return fmt.Errorf("storing object %s: %w", name, err)
	}
	return d.whole(name)
}

// whole ends what an ostree pull left half-done: a commit is put last.
func (d *Dir) whole(name ObjectName) error {
	if name.Type != TypeCommit {
		return nil
	}
	err := os.Remove(filepath.Join(d.path, "state", name.Checksum.String()+".commitpartial"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// contextReader ends reading when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// SetRef lets a ref point to a commit that the repository has. When it returns,
// the ref and every object written before are on the disk.
func (d *Dir) SetRef(ctx context.Context, name string, commit Checksum) error {
	if err := CheckRef(name); err != nil {
		return err
	}
	has, err := d.Has(ctx, ObjectName{commit, TypeCommit})
	if err == nil && !has {
		err = ErrNotFound
	}
	if err == nil {
		err = d.Sync()
	}
	if err == nil {
		err = d.replace("refs/heads/"+name, strings.NewReader(commit.String()+"\n"))
	}
	if err == nil {
		err = d.Sync()
	}
	if err != nil {
		return fmt.Errorf("setting ref %s to %s: %w", name, commit, err)
	}
	return nil
}

func objectFile(name ObjectName) string { return "objects/" + name.Path() }

func (d *Dir) replace(file string, r io.Reader) error {
	return d.write(file, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// write makes a file of the repository from what fill writes, unless fill
// fails. The content is on the disk before the name is; Sync does the names.
func (d *Dir) write(file string, fill func(io.Writer) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Join(d.path, "tmp"), "put-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if err := fill(tmp); err != nil {
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if d.sync {
		if err := tmp.Sync(); err != nil {
			return err
		}
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	path := filepath.Join(d.path, filepath.FromSlash(file))
	if err := d.makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	d.touched(filepath.Dir(path))
	return nil
}

// makeFolder makes a folder and its parents where they are missing.
func (d *Dir) makeFolder(path string) error {
	err := os.Mkdir(path, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.makeFolder(filepath.Dir(path)); err == nil {
			err = os.Mkdir(path, 0o755)
		}
	}
	if err == nil {
		d.touched(filepath.Dir(path))
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// touched remembers that a folder has a new name to sync.
func (d *Dir) touched(folder string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sync {
		d.dirty[folder] = true
	}
}

// Sync makes the names of all objects written so far survive a crash. SetRef
// and Commit do so themselves.
func (d *Dir) Sync() error {
	// Held to the end: who finds nothing to do must not return before it is done.
	d.mu.Lock()
	defer d.mu.Unlock()
	for folder := range d.dirty {
		if err := syncFolder(folder); err != nil {
			return fmt.Errorf("syncing repository: %w", err)
		}
		delete(d.dirty, folder)
	}
	return nil
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
