//go:build libostree && cgo

package ostree_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ostreedev/ostree-go/pkg/otbuiltin"

	"sealift/treehub/ostree"
)

// The C library itself, through its Go binding, commits a tree; our reader
// finds and verifies every object of it. Run with make test-libostree.
func TestObjectsOfTheCLibrary(t *testing.T) {
	tree, repo := t.TempDir(), filepath.Join(t.TempDir(), "repo")
	for name, content := range map[string]string{"usr/bin/app": "#!/bin/sh\n", "usr/etc/empty": "", "usr/share/ünïcode": "text"} {
		path := filepath.Join(tree, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, []byte(content), 0o644))
	}
	check(t, os.Symlink("app", filepath.Join(tree, "usr/bin/link")))
	check(t, os.MkdirAll(repo, 0o755))
	options := otbuiltin.NewInitOptions()
	options.Mode = "archive"
	_, err := otbuiltin.Init(repo, options)
	check(t, err)
	lib, err := otbuiltin.OpenRepo(repo)
	check(t, err)
	_, err = lib.PrepareTransaction()
	check(t, err)
	subject := otbuiltin.NewCommitOptions()
	subject.Subject = "by the C library"
	commit, err := lib.Commit(tree, "main", subject)
	check(t, err)
	_, err = lib.CommitTransaction()
	check(t, err)

	ours, err := ostree.OpenDir(repo)
	check(t, err)
	sum, err := ostree.ParseChecksum(commit)
	check(t, err)
	stats, err := ostree.Copy(t.Context(), ours, newRepo(t), sum, ostree.CopyOptions{WalkTree: true})
	check(t, err)
	if stats.Total < 8 || stats.Uploaded != stats.Total {
		t.Errorf("of %d objects %d were verified and copied", stats.Total, stats.Uploaded)
	}
}
