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
	"sync"
	"syscall"
)

// Dir is an archive repository in a local folder, the layout that the ostree
// command calls archive or archive-z2. It is a Source and a Sink: what Put
// accepts was verified, and objects appear whole or not at all, also after a
// crash. Safe for concurrent use, also by several processes.
type Dir struct {
	path string
	sync bool // false if the repository's config says core.fsync=false

	mu    sync.Mutex
	dirty map[string]bool // folders with renames not yet synced
}

// OpenDir opens the repository in the folder path. Only archive repositories
// are served: any other mode is refused with an error that says so.
func OpenDir(path string) (*Dir, error) {
	text, err := os.ReadFile(filepath.Join(path, "config"))
	if err != nil {
		return nil, fmt.Errorf("opening ostree repository: %w", err)
	}
	core := coreSection(string(text))
	switch mode := core["mode"]; mode {
	case "archive", "archive-z2":
	default:
		return nil, fmt.Errorf("opening ostree repository %s: its mode is %q, but only archive repositories can be read; "+
			"make one with: ostree --repo=NEW init --mode=archive && ostree --repo=NEW pull-local %s", path, mode, path)
	}
	if v := core["repo_version"]; v != "1" {
		return nil, fmt.Errorf("opening ostree repository %s: its version is %q, but only 1 is known", path, v)
	}
	for _, sub := range []string{"objects", "refs"} {
		if fi, err := os.Stat(filepath.Join(path, sub)); err != nil || !fi.IsDir() {
			return nil, fmt.Errorf("opening ostree repository %s: it has no folder %s", path, sub)
		}
	}
	return &Dir{path: path, sync: core["fsync"] != "false", dirty: map[string]bool{}}, nil
}

// coreSection reads the keys of [core] from a repository's config.
func coreSection(text string) map[string]string {
	keys := map[string]string{}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		key, value, ok := strings.Cut(line, "=")
		if ok && section == "[core]" && !strings.HasPrefix(line, "#") {
			keys[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return keys
}

// InitDir makes an empty archive repository in the folder path, or opens the
// one that is there.
func InitDir(path string) (*Dir, error) {
	for _, sub := range []string{"objects", "refs/heads", "refs/mirrors", "refs/remotes", "tmp/cache", "state", "extensions"} {
		if err := os.MkdirAll(filepath.Join(path, sub), 0o755); err != nil {
			return nil, fmt.Errorf("making ostree repository: %w", err)
		}
	}
	d := &Dir{path: path, sync: true, dirty: map[string]bool{}}
	if _, err := os.Lstat(filepath.Join(path, "config")); errors.Is(err, fs.ErrNotExist) {
		err = d.replace("config", strings.NewReader("[core]\nrepo_version=1\nmode=archive-z2\n"))
		if err != nil {
			return nil, fmt.Errorf("making ostree repository: %w", err)
		}
	}
	return OpenDir(path)
}

// Path returns the repository's folder.
func (d *Dir) Path() string { return d.path }

// Object opens an object. The reader is an *os.File.
func (d *Dir) Object(_ context.Context, name ObjectName) (io.ReadCloser, int64, error) {
	f, err := os.Open(d.object(name))
	if err != nil {
		return nil, 0, missing(name, err)
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("reading object %s: %w", name, err)
	}
	return f, fi.Size(), nil
}

// Has reports whether the repository has the object. A commit that an ostree
// pull left half-done does not count, and while there is one no dirtree counts:
// its files may be missing.
func (d *Dir) Has(_ context.Context, name ObjectName) (bool, error) {
	marker := ""
	switch name.Type {
	case TypeCommit:
		marker = name.Checksum.String() + ".commitpartial"
	case TypeDirTree:
		marker = "*.commitpartial"
	}
	partial, err := fs.Glob(os.DirFS(d.path), "state/"+marker)
	if marker != "" && (err != nil || len(partial) > 0) {
		return false, err
	}
	return exists(d.object(name))
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Ref resolves the short name of a ref, "main" for refs/heads/main.
func (d *Dir) Ref(_ context.Context, name string) (Checksum, error) {
	if err := CheckRef(name); err != nil {
		return Checksum{}, err
	}
	text, err := os.ReadFile(filepath.Join(d.path, "refs", "heads", filepath.FromSlash(name)))
	if err != nil {
		return Checksum{}, missing(name, err)
	}
	c, err := ParseChecksum(strings.TrimSpace(string(text)))
	if err != nil {
		return Checksum{}, fmt.Errorf("reading ref %s: %w", name, err)
	}
	return c, nil
}

// missing turns "no such file" into ErrNotFound; also for a ref that is a
// folder of refs, or is asked for below another ref.
func missing(what any, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOTDIR) {
		err = ErrNotFound
	}
	return fmt.Errorf("reading %v: %w", what, err)
}

// Refs returns all refs below refs/heads by their short names.
func (d *Dir) Refs(ctx context.Context) (map[string]Checksum, error) {
	refs := map[string]Checksum{}
	heads := filepath.Join(d.path, "refs", "heads")
	err := filepath.WalkDir(heads, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(heads, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		refs[name], err = d.Ref(ctx, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing refs: %w", err)
	}
	return refs, nil
}

// Resolve finds the commit that rev means: a ref, else the checksum of a commit
// in the repository. isRef tells which. Neither is ErrNotFound.
func (d *Dir) Resolve(ctx context.Context, rev string) (commit Checksum, isRef bool, err error) {
	commit, parseErr := ParseChecksum(rev)
	if parseErr == nil {
		has, err := exists(d.object(ObjectName{commit, TypeCommit}))
		if err == nil && !has {
			err = fmt.Errorf("resolving %s: %w", rev, ErrNotFound)
		}
		return commit, false, err
	}
	if CheckRef(rev) != nil { // nothing can have this name
		return Checksum{}, false, fmt.Errorf("resolving %.80q: %w", rev, ErrNotFound)
	}
	commit, err = d.Ref(ctx, rev)
	return commit, err == nil, err
}

func (d *Dir) object(name ObjectName) string {
	return filepath.Join(d.path, "objects", filepath.FromSlash(name.Path()))
}
