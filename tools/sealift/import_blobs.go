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

	"sealift/repo"
	"sealift/tools/sealift/wiring"
)

// maxImportFiles bounds a folder or archive of images.
const maxImportFiles = 1_000_000

// foundBlob is where the bytes of an image are: a file, or a member of an archive.
type foundBlob struct {
	wantedBlob
	source string
	member string // "" of a folder
}

// findBlobs reads everything in a folder or tar file and finds the images in it by
// their content: under which names the old server kept them does not matter. An
// image that is missing is an error, which says where a damaged one lies.
func findBlobs(source string, wanted []wantedBlob) ([]foundBlob, error) {
	byContent := map[string][]wantedBlob{}
	places := map[string]wantedBlob{}
	for _, w := range wanted {
		byContent[w.sha256] = append(byContent[w.sha256], w)
		places[placeOf(w.filename)] = w
	}
	var found []foundBlob
	have, damaged := map[string]bool{}, map[string]string{}
	look := func(name, file, member string, r io.Reader, size int64) error {
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		text := hex.EncodeToString(sum.Sum(nil))
		for _, w := range byContent[text] {
			if !have[w.filename] && w.length == size {
				have[w.filename] = true
				found = append(found, foundBlob{w, file, member})
			}
		}
		if w, ok := places[lastTwo(name)]; ok && w.sha256 != text {
			damaged[w.filename] = name
		}
		return nil
	}
	if source != "" {
		if err := walkBlobs(source, look); err != nil {
			return nil, err
		}
	}
	for _, w := range wanted {
		switch {
		case have[w.filename]:
		case damaged[w.filename] != "":
			return nil, usage(fmt.Errorf("the bytes of %s in %s are damaged: they do not have sha256 %s", w.filename, damaged[w.filename], w.sha256))
		case source == "":
			return nil, usage(fmt.Errorf("the bytes of %s are missing; name the folder or tar file of the old server's images with --blobs", w.filename))
		default:
			return nil, usage(fmt.Errorf("the bytes of %s, sha256 %s, are not in %s", w.filename, w.sha256, source))
		}
	}
	return found, nil
}

// placeOf is where the old server kept an image, below the folder of a repository.
func placeOf(filename string) string {
	sum := sha256.Sum256([]byte(filename))
	text := hex.EncodeToString(sum[:])
	return text[:2] + "/" + text[2:]
}

func lastTwo(name string) string {
	dir, file := path.Split(filepath.ToSlash(name))
	return path.Join(path.Base(dir), file)
}

// walkBlobs hands every regular file to look.
func walkBlobs(source string, look func(name, file, member string, r io.Reader, size int64) error) error {
	info, err := os.Stat(source)
	if err != nil {
		return usage(fmt.Errorf("reading --blobs: %w", err))
	}
	if !info.IsDir() {
		return eachMember(source, func(h *tar.Header, r io.Reader) error { return look(h.Name, source, h.Name, r, h.Size) })
	}
	n := 0
	return filepath.WalkDir(source, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if n++; n > maxImportFiles {
			return fmt.Errorf("%s has more than %d files", source, maxImportFiles)
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
		return look(name, name, "", f, size.Size())
	})
}

func eachMember(source string, do func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("reading --blobs: %w", err)
	}
	defer f.Close()
	r := tar.NewReader(f)
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil || n > maxImportFiles {
			return usage(errors.Join(fmt.Errorf("reading %s: it is no tar file, or has more than %d members", source, maxImportFiles), err))
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := do(h, r); err != nil {
			return err
		}
	}
}

// storeBlobs stores what was found and is not here.
func storeBlobs(ctx context.Context, v *wiring.Services, found []foundBlob) error {
	if _, err := v.Repo.Create(ctx, defaultNamespace); err != nil && !errors.Is(err, repo.ErrExists) {
		return err
	}
	inArchive := map[string][]foundBlob{}
	archive := ""
	for _, b := range found {
		if b.member != "" {
			archive = b.source
			inArchive[b.member] = append(inArchive[b.member], b)
			continue
		}
		f, err := os.Open(b.source)
		if err != nil {
			return fmt.Errorf("reading an image: %w", err)
		}
		err = errors.Join(storeBlob(ctx, v, b, f), f.Close())
		if err != nil {
			return err
		}
	}
	if archive == "" {
		return nil
	}
	return eachMember(archive, func(h *tar.Header, r io.Reader) error {
		list := inArchive[h.Name]
		delete(inArchive, h.Name)
		if len(list) > 1 {
			return fmt.Errorf("%s has the bytes of several images, %s and %s; unpack the archive and name the folder", h.Name, list[0].filename, list[1].filename)
		}
		for _, b := range list {
			if err := storeBlob(ctx, v, b, r); err != nil {
				return err
			}
		}
		return nil
	})
}

func storeBlob(ctx context.Context, v *wiring.Services, b foundBlob, r io.Reader) error {
	there, err := v.Repo.HasBytes(ctx, defaultNamespace, b.filename, b.sha256, b.length)
	if err != nil || there {
		return err
	}
	stored, err := v.Repo.PutImage(ctx, defaultNamespace, b.filename, b.length, r, "import")
	if err == nil && !strings.EqualFold(stored.SHA256, b.sha256) {
		err = fmt.Errorf("%s was changed while it was read", b.source)
	}
	return err
}
