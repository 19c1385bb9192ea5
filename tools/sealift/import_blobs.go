package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"

	"sealift/repo"
	"sealift/tools/sealift/wiring"
)

// maxImportFiles bounds a folder or archive of images.
const maxImportFiles = 1_000_000

// foundBlob is where the bytes of an image are: a part of a file, or all of it.
type foundBlob struct {
	wantedBlob
	source string
	offset int64
}

// blobSearch looks for images by their content: under which names the old server
// kept them matters only to say which one is damaged. Nothing is read that has not
// the length of an image that is still missing.
type blobSearch struct {
	ctx     context.Context
	done    *atomic.Int64
	missing map[int64][]wantedBlob // by length
	places  map[string]wantedBlob
	found   map[string]foundBlob
	damaged map[string]string
	files   int
}

// findBlobs finds images in a folder or tar file. One that is missing is an error,
// which says where a damaged one lies.
func findBlobs(ctx context.Context, source string, wanted []wantedBlob, done *atomic.Int64) ([]foundBlob, error) {
	s := &blobSearch{ctx: ctx, done: done, missing: map[int64][]wantedBlob{}, places: map[string]wantedBlob{}, found: map[string]foundBlob{}, damaged: map[string]string{}}
	for _, w := range wanted {
		s.missing[w.length] = append(s.missing[w.length], w)
		sum := sha256.Sum256([]byte(w.filename))
		name := hex.EncodeToString(sum[:])
		s.places[name], s.places[name[:2]+"/"+name[2:]] = w, w // in a container, in a folder
	}
	if source != "" {
		if err := s.walk(source); err != nil {
			return nil, err
		}
	}
	list := make([]foundBlob, 0, len(wanted))
	for _, w := range wanted {
		f, ok := s.found[w.filename]
		switch {
		case ok:
			list = append(list, f)
		case s.damaged[w.filename] != "":
			return nil, usage(fmt.Errorf("the bytes of %s in %s are damaged: they are not the %d of sha256 %s", w.filename, s.damaged[w.filename], w.length, w.sha256))
		case source == "":
			return nil, usage(fmt.Errorf("the bytes of %s are missing; name the folder or tar file of the old server's images with --blobs", w.filename))
		default:
			return nil, usage(fmt.Errorf("the bytes of %s, %d of sha256 %s, are not in %s", w.filename, w.length, w.sha256, source))
		}
	}
	return list, nil
}

// look judges one file, a part of source.
func (s *blobSearch) look(name, source string, r io.ReaderAt, offset, size int64) error {
	if s.files++; s.files > maxImportFiles {
		return usage(fmt.Errorf("%s has more than %d files", source, maxImportFiles))
	}
	if err := s.ctx.Err(); err != nil {
		return err
	}
	text := ""
	if len(s.missing[size]) > 0 {
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(r, offset, size)); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		text = hex.EncodeToString(sum.Sum(nil))
	}
	var left []wantedBlob
	for _, w := range s.missing[size] {
		if w.sha256 == text {
			s.found[w.filename] = foundBlob{w, source, offset}
		} else {
			left = append(left, w)
		}
	}
	s.missing[size] = left
	dir, file := path.Split(filepath.ToSlash(name))
	for _, place := range []string{file, path.Join(path.Base(dir), file)} {
		if w, ok := s.places[place]; ok {
			s.damaged[w.filename] = name // unless it was or will be found
		}
	}
	s.done.Store(int64(len(s.found)))
	return nil
}

// walk looks at every regular file of a folder or archive.
func (s *blobSearch) walk(source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return usage(fmt.Errorf("reading --blobs: %w", err))
	}
	if !info.IsDir() {
		return s.walkArchive(source)
	}
	return filepath.WalkDir(source, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		size, err := f.Stat()
		if err != nil {
			return err
		}
		return s.look(name, name, f, 0, size.Size())
	})
}

// walkArchive reads the places of the members of a tar file, and their bytes by
// these, so that a member that unpacks to more than it takes is none of the images.
func (s *blobSearch) walkArchive(source string) error {
	f, err := os.Open(source)
	if err != nil {
		return usage(fmt.Errorf("reading --blobs: %w", err))
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return usage(fmt.Errorf("reading %s: it is no tar file, was cut off, or is compressed: %w", source, err))
		}
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return fmt.Errorf("reading %s: %w", source, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := s.look(h.Name, source, f, offset, h.Size); err != nil {
			return err
		}
	}
}

// storeBlobs stores what was found and is not here.
func storeBlobs(ctx context.Context, v *wiring.Services, found []foundBlob, done *atomic.Int64) error {
	if _, err := v.Repo.Create(ctx, defaultNamespace); err != nil && !errors.Is(err, repo.ErrExists) {
		return err
	}
	for _, b := range found {
		if err := storeBlob(ctx, v, b); err != nil {
			return fmt.Errorf("storing %s: %w", b.filename, err)
		}
		done.Add(1)
	}
	return nil
}

func storeBlob(ctx context.Context, v *wiring.Services, b foundBlob) error {
	there, err := v.Repo.HasBytes(ctx, defaultNamespace, b.filename, b.sha256, b.length)
	if err != nil || there {
		return err
	}
	f, err := os.Open(b.source)
	if err != nil {
		return err
	}
	defer f.Close()
	stored, err := v.Repo.PutImage(ctx, defaultNamespace, b.filename, b.length, io.NewSectionReader(f, b.offset, b.length), "import")
	if err == nil && !strings.EqualFold(stored.SHA256, b.sha256) {
		err = fmt.Errorf("%s was changed while it was read", b.source)
	}
	return err
}
