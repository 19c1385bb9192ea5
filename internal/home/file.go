package home

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"sealift/uptane/canonical"
)

// Limits of files read here. Clients refuse targets metadata above 8 MiB; the
// readable form on disk takes more room than what is sent.
const (
	maxRoleFile = 64 << 20
	maxKeyFile  = 64 << 10
)

// readFile reads a file of at most limit bytes. Errors wrap ErrNotFound where
// there is none.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %s: %w", path, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("reading %s: larger than %d bytes", path, limit)
	}
	return data, nil
}

// writeFile replaces the file at path in one step; what is there before or
// after a crash is whole.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	return place(path, data, mode, os.Rename)
}

// createFile is writeFile for what must not take the place of anything. Errors
// wrap ErrExists.
func createFile(path string, data []byte, mode fs.FileMode) error {
	return place(path, data, mode, func(tmp, path string) error {
		err := os.Link(tmp, path)
		switch {
		case errors.Is(err, fs.ErrExist):
			return ErrExists
		case err == nil:
			return os.Remove(tmp)
		}
		// A memory stick may know no links.
		if _, err := os.Lstat(path); err == nil {
			return ErrExists
		}
		return os.Rename(tmp, path)
	})
}

// place writes a file beside path and moves it there when it is whole and on the
// disk.
func place(path string, data []byte, mode fs.FileMode, move func(tmp, path string) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
			err = fmt.Errorf("writing %s: %w", path, err)
		}
	}()
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return move(tmp.Name(), path)
}

// warnIfWide tells the user about a file others may read or change.
func warnIfWide(path string, warn func(string)) {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return
	}
	want := "600"
	if info.IsDir() {
		want = "700"
	}
	warn(fmt.Sprintf("%s is open to other users (mode %#o); run: chmod %s %s", path, info.Mode().Perm(), want, path))
}

// readJSON reads a document of the home strictly.
func readJSON(path string, limit int64) (canonical.Value, error) {
	data, err := readFile(path, limit)
	if err != nil {
		return canonical.Value{}, err
	}
	v, err := canonical.Parse(data, canonical.Options{ASCII: true})
	if err != nil {
		return canonical.Value{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return v, nil
}

// pretty writes v the way the files of a home have always looked: two spaces of
// indentation and " : " between name and value.
func pretty(v canonical.Value) []byte {
	var b bytes.Buffer
	indent(&b, v, "\n")
	return b.Bytes()
}

func indent(b *bytes.Buffer, v canonical.Value, nl string) {
	inner := nl + "  "
	switch {
	case v.Kind() == canonical.Object && len(v.Members()) > 0:
		b.WriteByte('{')
		for i, m := range v.Members() {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(inner)
			b.Write(canonical.Text(m.Name).Uptane())
			b.WriteString(" : ")
			indent(b, m.Value, inner)
		}
		b.WriteString(nl + "}")
	case v.Kind() == canonical.Array && len(v.Items()) > 0:
		b.WriteByte('[')
		for i, item := range v.Items() {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(inner)
			indent(b, item, inner)
		}
		b.WriteString(nl + "]")
	default:
		b.Write(v.Uptane())
	}
}
