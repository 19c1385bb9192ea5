package diskblob

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"gocloud.dev/blob/driver"
)

const defaultPage = 1000

// Page tokens are the last key given out behind one of these letters.
const (
	afterKey    = "k"
	afterFolder = "f" // and after everything that begins with it
)

// listing is a walk over the keys in their order, from a token to the end of
// a page.
type listing struct {
	ctx    context.Context
	fsys   fs.FS
	opts   *driver.ListOptions
	after  string // keys up to this one have been given out
	passed string // and those that begin with this, unless empty
	size   int
	page   driver.ListPage
	more   bool // the page is full and there is more
}

// ListPaged lists objects in the order of their keys. It reads only the
// folders that hold keys of the page.
func (b *bucket) ListPaged(ctx context.Context, opts *driver.ListOptions) (*driver.ListPage, error) {
	if opts.BeforeList != nil {
		if err := opts.BeforeList(func(any) bool { return false }); err != nil {
			return nil, err
		}
	}
	l := &listing{ctx: ctx, fsys: b.root.FS(), opts: opts, size: opts.PageSize}
	if l.size <= 0 {
		l.size = defaultPage
	}
	if token := string(opts.PageToken); token != "" {
		l.after = token[1:]
		if token[:1] == afterFolder {
			l.passed = l.after
		}
	}
	if err := l.folder(".", ""); err != nil {
		return nil, err
	}
	if l.more {
		last := l.page.Objects[len(l.page.Objects)-1]
		kind := afterKey
		if last.IsDir {
			kind = afterFolder
		}
		l.page.NextPageToken = []byte(kind + last.Key)
	}
	return &l.page, nil
}

// entry is a file or a folder; a folder's key ends with a slash, which puts
// it where its content belongs in the order of keys.
type entry struct {
	key, path string
	fs.DirEntry
}

// folder walks one folder whose keys begin with prefix.
func (l *listing) folder(path, prefix string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	entries, err := l.read(path, prefix)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if l.more {
			return nil
		}
		if e.IsDir() {
			if l.skipsFolder(e.key) {
				continue
			}
			if err := l.folder(e.path, e.key); err != nil {
				return err
			}
			continue
		}
		if err := l.object(e); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) read(path, prefix string) ([]entry, error) {
	names, err := fs.ReadDir(l.fsys, path)
	if err != nil {
		return nil, err
	}
	var list []entry
	for _, d := range names {
		seg, ok := decodeSegment(d.Name())
		if !ok || !d.IsDir() && !d.Type().IsRegular() {
			continue // ours, or somebody else's
		}
		e := entry{prefix + seg, path + "/" + d.Name(), d}
		if path == "." {
			e.path = d.Name()
		}
		if d.IsDir() {
			e.key += "/"
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	return list, nil
}

// skipsFolder reports whether no key in the folder is wanted.
func (l *listing) skipsFolder(key string) bool {
	wanted := strings.HasPrefix(key, l.opts.Prefix) || strings.HasPrefix(l.opts.Prefix, key)
	return !wanted || l.isPassed(key) || key < l.after && !strings.HasPrefix(l.after, key)
}

func (l *listing) isPassed(key string) bool {
	return l.passed != "" && strings.HasPrefix(key, l.passed)
}

func (l *listing) object(e entry) error {
	if !strings.HasPrefix(e.key, l.opts.Prefix) || l.after != "" && e.key <= l.after || l.isPassed(e.key) {
		return nil
	}
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	if len(l.page.Objects) == l.size {
		l.more = true
		return nil
	}
	o := &driver.ListObject{Key: e.key, ModTime: info.ModTime(), Size: info.Size()}
	if d := l.opts.Delimiter; d != "" {
		if i := strings.Index(e.key[len(l.opts.Prefix):], d); i >= 0 {
			l.passed = e.key[:len(l.opts.Prefix)+i+len(d)]
			o = &driver.ListObject{Key: l.passed, IsDir: true}
		}
	}
	l.page.Objects = append(l.page.Objects, o)
	return nil
}
