package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"sealift/treehub/ostree"
)

// The generated root file system: so many packages with so many files each.
const (
	demoPackages = 120
	demoFiles    = 6
	maxFileSize  = 16 << 10
	// demoChanged is the package that the second version changes.
	demoChanged = 42
)

// demoRef is the ref that the builds of the demo move.
const demoRef = "demo/main"

// writeRootFS writes a root file system of hundreds of files that is the same
// each time; release says which version the changed package has.
func writeRootFS(root string, release int) error {
	for p := range demoPackages {
		version := 1
		if p == demoChanged {
			version = release
		}
		if err := writePackage(root, p, version); err != nil {
			return fmt.Errorf("generating a root file system: %w", err)
		}
	}
	etc := filepath.Join(root, "usr", "etc") // where OSTree keeps defaults
	if err := os.MkdirAll(etc, 0o755); err != nil {
		return fmt.Errorf("generating a root file system: %w", err)
	}
	text := fmt.Sprintf("NAME=\"Sealift demo\"\nID=sealift-demo\nVERSION_ID=%d\n", release)
	return os.WriteFile(filepath.Join(etc, "os-release"), []byte(text), 0o644)
}

// writePackage writes a program, libraries and documentation of random but
// repeatable content.
func writePackage(root string, number, version int) error {
	name := fmt.Sprintf("package-%03d", number)
	seed := sha256.Sum256(fmt.Appendf(nil, "%s %d", name, version))
	random := rand.NewChaCha8(seed)
	for i := range demoFiles {
		path := filepath.Join(root, "usr", "share", name, fmt.Sprintf("data-%d", i))
		mode := os.FileMode(0o644)
		switch i {
		case 0:
			path, mode = filepath.Join(root, "usr", "bin", name), 0o755
		case 1:
			path = filepath.Join(root, "usr", "lib", "lib"+name+".so."+fmt.Sprint(version))
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		content := make([]byte, 1+random.Uint64()%maxFileSize)
		if _, err := random.Read(content); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, mode); err != nil {
			return err
		}
	}
	return nil
}

// demoBuild is what a build system would hand over: a local archive repository
// with two commits.
type demoBuild struct {
	dir      *ostree.Dir
	commits  [2]ostree.Checksum
	objects  int // of the second commit
	changed  int // of these, not in the first one
	firmware []byte
}

// build generates and commits both versions. Dates are fixed, so that the
// commits are the same on every machine.
func build(ctx context.Context, folder string) (demoBuild, error) {
	b := demoBuild{firmware: make([]byte, 300<<10)}
	var err error
	if b.dir, err = ostree.InitDir(filepath.Join(folder, "ostree")); err != nil {
		return b, err
	}
	for i := range b.commits {
		root := filepath.Join(folder, fmt.Sprint("rootfs-", i+1))
		if err := writeRootFS(root, i+1); err != nil {
			return b, err
		}
		options := ostree.CommitOptions{
			Ref: demoRef, Subject: fmt.Sprintf("Sealift demo, release %d", i+1), Version: fmt.Sprint(i + 1),
			Timestamp: time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC), Mode: demoMode,
		}
		if i > 0 {
			options.Parent = b.commits[i-1]
		}
		if b.commits[i], err = b.dir.Commit(ctx, os.DirFS(root), options); err != nil {
			return b, err
		}
	}
	first, err := objectsOf(ctx, b.dir, b.commits[0])
	if err != nil {
		return b, err
	}
	second, err := objectsOf(ctx, b.dir, b.commits[1])
	if err != nil {
		return b, err
	}
	b.objects = len(second)
	for name := range second {
		if !first[name] {
			b.changed++
		}
	}
	_, err = rand.NewChaCha8(sha256.Sum256([]byte("firmware"))).Read(b.firmware)
	return b, err
}

// demoMode makes the commit independent of the umask.
func demoMode(_ string, permissions uint32) uint32 {
	if permissions&0o100 != 0 {
		return 0o755
	}
	return 0o644
}

// objectsOf lists all objects of a commit.
func objectsOf(ctx context.Context, from ostree.Source, commit ostree.Checksum) (map[ostree.ObjectName]bool, error) {
	all := map[ostree.ObjectName]bool{}
	todo := []ostree.ObjectName{{Checksum: commit, Type: ostree.TypeCommit}}
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if all[name] {
			continue
		}
		all[name] = true
		if name.Type != ostree.TypeCommit && name.Type != ostree.TypeDirTree {
			continue
		}
		r, size, err := from.Object(ctx, name)
		if err != nil {
			return nil, err
		}
		found, err := ostree.VerifyReader(name, size, r)
		_ = r.Close()
		if err != nil {
			return nil, err
		}
		todo = append(todo, found.Edges...)
	}
	return all, nil
}
