package ostree_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sealift/treehub/ostree"
)

// someTree is a small root file system with everything a commit can hold.
func someTree() fstest.MapFS {
	return fstest.MapFS{
		".":                  {Mode: fs.ModeDir | 0o755},
		"bin":                {Mode: fs.ModeDir | 0o755},
		"bin/tool":           {Mode: 0o755, Data: []byte("#!/bin/sh\necho one\n")},
		"bin/su":             {Mode: fs.ModeSetuid | 0o4755, Data: []byte("set-uid")},
		"bin/again":          {Mode: 0o755, Data: []byte("#!/bin/sh\necho one\n")},
		"etc":                {Mode: fs.ModeDir | 0o755},
		"etc/empty":          {Mode: 0o644},
		"etc/link":           {Mode: fs.ModeSymlink | 0o777, Data: []byte("../bin/tool")},
		"etc/dangling":       {Mode: fs.ModeSymlink | 0o777, Data: []byte("/no/such")},
		"tmp":                {Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		"usr":                {Mode: fs.ModeDir | 0o755},
		"usr/größe":          {Mode: fs.ModeDir | 0o750},
		"usr/größe/日本 語.txt": {Mode: 0o600, Data: []byte("utf-8")},
		"usr/zeros":          {Mode: 0o644, Data: make([]byte, 3<<20)},
	}
}

func newRepo(t testing.TB) *ostree.Dir {
	t.Helper()
	d, err := ostree.InitDir(filepath.Join(t.TempDir(), "repo"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustCommit(t testing.TB, d *ostree.Dir, tree fs.FS, opts ostree.CommitOptions) ostree.Checksum {
	t.Helper()
	c, err := d.Commit(context.Background(), tree, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCommitIsWhatOstreeReads(t *testing.T) {
	d := newRepo(t)
	first := mustCommit(t, d, someTree(), ostree.CommitOptions{
		Ref: "main/board", Subject: "first", Body: "a\nb", Version: "1.0", Timestamp: time.Unix(1700000000, 0),
	})
	tree := someTree()
	tree["bin/tool"] = &fstest.MapFile{Mode: 0o755, Data: []byte("#!/bin/sh\necho two\n")}
	second := mustCommit(t, d, tree, ostree.CommitOptions{
		Ref: "main/board", Subject: "second", Parent: first, Timestamp: time.Unix(1700000001, 0),
	})

	repo := "--repo=" + d.Path()
	if got := ostreeCLI(t, repo, "rev-parse", "main/board"); got != second.String() {
		t.Errorf("ref is %s, want %s", got, second)
	}
	if got := ostreeCLI(t, repo, "rev-parse", "main/board^"); got != first.String() {
		t.Errorf("parent is %s, want %s", got, first)
	}
	if out := ostreeCLI(t, repo, "fsck", "--verify-bindings"); !strings.Contains(out, "object fsck of 2 commits completed successfully - no errors found.") {
		t.Errorf("fsck: %s", out)
	}
	show := ostreeCLI(t, repo, "show", first.String())
	for _, want := range []string{"Date:  2023-11-14 22:13:20 +0000", "Version: 1.0", "    first\n\n    a\n    b"} {
		if !strings.Contains(show, want) {
			t.Errorf("show lacks %q:\n%s", want, show)
		}
	}
	want := `d00755 0 0      0 /
d00755 0 0      0 /bin
-00755 0 0     19 /bin/again
-04755 0 0      7 /bin/su
-00755 0 0     19 /bin/tool
d00755 0 0      0 /etc
l00777 0 0      0 /etc/dangling -> /no/such
-00644 0 0      0 /etc/empty
l00777 0 0      0 /etc/link -> ../bin/tool
d01777 0 0      0 /tmp
d00755 0 0      0 /usr
-00644 0 0 3145728 /usr/zeros
d00750 0 0      0 /usr/größe
-00600 0 0      5 /usr/größe/日本 語.txt`
	if got := ostreeCLI(t, repo, "ls", "-R", first.String()); got != want {
		t.Errorf("ls -R:\n%s\nwant:\n%s", got, want)
	}
	out := filepath.Join(t.TempDir(), "out")
	ostreeCLI(t, repo, "checkout", "-U", second.String(), out)
	compareTrees(t, os.DirFS(out), tree)
}

// compareTrees compares names, kinds, contents and link targets.
func compareTrees(t *testing.T, got, want fs.FS) {
	t.Helper()
	g, w := listTree(t, got), listTree(t, want)
	for name, is := range w {
		if g[name] != is {
			t.Errorf("%s is %.60q, want %.60q", name, g[name], is)
		}
	}
	for name := range g {
		if _, ok := w[name]; !ok {
			t.Errorf("%s should not be there", name)
		}
	}
}

func listTree(t *testing.T, tree fs.FS) map[string]string {
	t.Helper()
	list := map[string]string{}
	err := fs.WalkDir(tree, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		content := ""
		switch e.Type() {
		case 0:
			data, err := fs.ReadFile(tree, name)
			if err != nil {
				return err
			}
			content = string(data)
		case fs.ModeSymlink:
			if content, err = fs.ReadLink(tree, name); err != nil {
				return err
			}
		}
		list[name] = e.Type().String() + content
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
