package ostree

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"
)

// CommitOptions says what Dir.Commit is to write beside the tree.
type CommitOptions struct {
	// Ref is set to the new commit and named in it. Empty: no ref.
	Ref string
	// Parent is the commit before this one; zero if there is none.
	Parent        Checksum
	Subject, Body string
	Version       string    // shown by "ostree log"; empty for none
	Timestamp     time.Time // whole seconds count; zero means now
	// UID and GID own every file and folder.
	UID, GID uint32
	// Mode, if set, may change permission bits. It is called for each path of
	// the tree ("." is its root), possibly at once, with the bits found.
	Mode func(path string, permissions uint32) uint32
}

// Commit writes the tree fsys and a commit of it, and returns the commit.
// Regular files, symbolic links (if fsys is an fs.ReadLinkFS, as os.DirFS and
// os.Root.FS are) and folders are kept with their permission bits, set-id and
// sticky bits included; extended attributes are not. Any other kind of file is
// an error. Objects that the repository has are not written again. All is on
// the disk when Commit returns.
func (d *Dir) Commit(ctx context.Context, fsys fs.FS, opts CommitOptions) (Checksum, error) {
	commit, err := d.commit(ctx, fsys, opts)
	if err != nil {
		return Checksum{}, fmt.Errorf("committing to %s: %w", d.path, err)
	}
	return commit, nil
}

func (d *Dir) commit(ctx context.Context, fsys fs.FS, opts CommitOptions) (Checksum, error) {
	var meta Metadata
	if opts.Ref != "" {
		if err := CheckRef(opts.Ref); err != nil {
			return Checksum{}, err
		}
		meta = append(meta, textsEntry("ostree.ref-binding", opts.Ref))
	}
	if opts.Version != "" {
		meta = append(meta, textEntry("version", opts.Version))
	}
	if opts.Timestamp.IsZero() {
		opts.Timestamp = time.Now()
	}
	t := &treeWriter{ctx: ctx, dir: d, fsys: fsys, opts: opts, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	root, err := fs.Stat(fsys, ".")
	if err != nil {
		return Checksum{}, err
	}
	entry, err := t.folder(".", root)
	if err != nil {
		return Checksum{}, err
	}
	c := &Commit{Metadata: meta, Parent: opts.Parent, Subject: opts.Subject, Body: opts.Body,
		Timestamp: opts.Timestamp, Root: entry.Tree, RootMeta: entry.Meta}
	sum, err := t.metadata(TypeCommit, c.Encode())
	if err != nil {
		return Checksum{}, err
	}
	if opts.Ref != "" {
		return sum, d.SetRef(ctx, opts.Ref, sum)
	}
	return sum, d.Sync()
}

// treeWriter writes the objects of one tree.
type treeWriter struct {
	ctx   context.Context
	dir   *Dir
	fsys  fs.FS
	opts  CommitOptions
	slots chan struct{} // one for each file being written
}

// folder writes a folder with all below it.
func (t *treeWriter) folder(name string, info fs.FileInfo) (DirEntry, error) {
	list, err := fs.ReadDir(t.fsys, name) // sorted by name
	if err != nil {
		return DirEntry{}, err
	}
	tree := new(DirTree)
	var files []string
	for _, e := range list {
		full := path.Join(name, e.Name())
		if !e.IsDir() {
			files = append(files, full)
			tree.Files = append(tree.Files, FileEntry{Name: e.Name()})
			continue
		}
		sub, err := e.Info()
		if err != nil {
			return DirEntry{}, err
		}
		entry, err := t.folder(full, sub)
		if err != nil {
			return DirEntry{}, err
		}
		entry.Name = e.Name()
		tree.Dirs = append(tree.Dirs, entry)
	}
	if err := t.files(files, tree.Files); err != nil {
		return DirEntry{}, err
	}
	meta := DirMeta{UID: t.opts.UID, GID: t.opts.GID, Mode: modeDir | t.permissions(name, info)}
	var entry DirEntry
	if entry.Meta, err = t.metadata(TypeDirMeta, meta.Encode()); err != nil {
		return DirEntry{}, err
	}
	entry.Tree, err = t.metadata(TypeDirTree, tree.Encode())
	return entry, err
}

// files writes the files of one folder, several at once.
func (t *treeWriter) files(names []string, out []FileEntry) error {
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		t.slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-t.slots }()
			out[i].File, errs[i] = t.file(name)
		})
	}
	wg.Wait()
	return cmp.Or(errs...)
}

func (t *treeWriter) file(name string) (Checksum, error) {
	if err := t.ctx.Err(); err != nil {
		return Checksum{}, err
	}
	info, err := fs.Lstat(t.fsys, name)
	if err != nil {
		return Checksum{}, err
	}
	h := &FileHeader{UID: t.opts.UID, GID: t.opts.GID, Mode: t.permissions(name, info)}
	switch info.Mode().Type() {
	case 0:
		h.Mode |= modeRegular
		return t.regular(name, h)
	case fs.ModeSymlink:
		h.Mode = modeSymlink | 0o777 // Linux knows no other
		if h.Target, err = fs.ReadLink(t.fsys, name); err != nil {
			return Checksum{}, err
		}
		sum := Checksum(sha256.Sum256(h.streamPrefix()))
		return sum, t.put(ObjectName{sum, TypeFile}, framed(h.Encode()))
	}
	return Checksum{}, fmt.Errorf("%s is a %v: only files, folders and symbolic links can be committed", name, info.Mode().Type())
}

// permissions are the bits of fi in the order of chmod(2).
func (t *treeWriter) permissions(name string, fi fs.FileInfo) uint32 {
	mode := uint32(fi.Mode().Perm())
	for bit, unix := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if fi.Mode()&bit != 0 {
			mode |= unix
		}
	}
	if t.opts.Mode != nil {
		mode = t.opts.Mode(name, mode) & modePerm
	}
	return mode
}

// regular writes a regular file. It is read once for its name and, only if the
// repository does not have it, once more to be compressed.
func (t *treeWriter) regular(name string, h *FileHeader) (Checksum, error) {
	sum, size, err := t.hash(name, h, io.Discard)
	if err != nil {
		return Checksum{}, err
	}
	object := ObjectName{sum, TypeFile}
	if has, err := exists(t.dir.object(object)); has || err != nil {
		return sum, err
	}
	if h.Size = size; size > maxContent {
		return sum, fmt.Errorf("%s has %d bytes: at most %d can be committed", name, size, int64(maxContent))
	}
	return sum, t.dir.write(objectFile(object), func(w io.Writer) error {
		if _, err := w.Write(framed(h.Encode())); err != nil {
			return err
		}
		z := deflaters.Get().(*flate.Writer)
		defer deflaters.Put(z)
		z.Reset(w)
		again, _, err := t.hash(name, h, z)
		if err == nil && again != sum {
			err = fmt.Errorf("%s changed while it was read", name)
		}
		if err != nil {
			return err
		}
		return z.Close()
	})
}

// deflaters are kept because a new one costs more than most files.
var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.DefaultCompression)
	if err != nil {
		panic(err)
	}
	return w
}}

// hash copies a file's content to w and returns its object checksum and size.
func (t *treeWriter) hash(name string, h *FileHeader, w io.Writer) (Checksum, int64, error) {
	f, err := t.fsys.Open(name)
	if err != nil {
		return Checksum{}, 0, err
	}
	defer f.Close()
	sum := sha256.New()
	sum.Write(h.streamPrefix())
	n, err := io.Copy(io.MultiWriter(sum, w), contextReader{t.ctx, f})
	return Checksum(sum.Sum(nil)), n, err
}

// metadata writes an object that is named by its own bytes.
func (t *treeWriter) metadata(kind ObjectType, data []byte) (Checksum, error) {
	sum := Checksum(sha256.Sum256(data))
	return sum, t.put(ObjectName{sum, kind}, data)
}

func (t *treeWriter) put(name ObjectName, data []byte) error {
	return t.dir.Put(t.ctx, name, int64(len(data)), bytes.NewReader(data))
}
