package ostree_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"sealift/treehub/ostree"
)

func TestDirRefusesOtherRepositories(t *testing.T) {
	for _, mode := range []string{"bare", "bare-user", "bare-user-only"} {
		repo := filepath.Join(t.TempDir(), "repo")
		ostreeCLI(t, "--repo="+repo, "init", "--mode="+mode)
		_, err := ostree.OpenDir(repo)
		if err == nil || !strings.Contains(err.Error(), `"`+mode+`", but only archive repositories`) {
			t.Errorf("%s: %v", mode, err)
		}
	}
	if _, err := ostree.OpenDir(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
	repo := newRepo(t).Path()
	for config, want := range map[string]string{
		"[core]\nrepo_version=2\nmode=archive\n":            "version",
		"[other]\nmode=archive\nrepo_version=1\n":           "mode",
		"[core]\n#mode=archive\n":                           "mode",
		"# x\n[core]\n repo_version = 1\nmode = archive \n": "",
	} {
		check(t, os.WriteFile(filepath.Join(repo, "config"), []byte(config), 0o644))
		_, err := ostree.OpenDir(repo)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", config, err)
		}
	}
}

func TestDirRefs(t *testing.T) {
	ctx := context.Background()
	d := newRepo(t)
	a := mustCommit(t, d, someTree(), ostree.CommitOptions{Ref: "poky/a", Subject: "a"})
	b := mustCommit(t, d, someTree(), ostree.CommitOptions{Subject: "b"})
	check(t, d.SetRef(ctx, "b", b))
	refs, err := d.Refs(ctx)
	if err != nil || len(refs) != 2 || refs["poky/a"] != a || refs["b"] != b {
		t.Errorf("refs are %v, %v", refs, err)
	}
	for rev, want := range map[string]struct {
		commit ostree.Checksum
		isRef  bool
	}{"poky/a": {a, true}, "b": {b, true}, b.String(): {b, false}} {
		if c, isRef, err := d.Resolve(ctx, rev); err != nil || c != want.commit || isRef != want.isRef {
			t.Errorf("%s is %s, %v, %v", rev, c, isRef, err)
		}
	}
	for _, rev := range []string{"c", "poky", "poky/a/x", "../../config", strings.Repeat("0", 64), ""} {
		if _, _, err := d.Resolve(ctx, rev); !errors.Is(err, ostree.ErrNotFound) {
			t.Errorf("%q: %v", rev, err)
		}
	}
	if err := d.SetRef(ctx, "b", ostree.Checksum{1}); !errors.Is(err, ostree.ErrNotFound) {
		t.Errorf("a ref to nothing: %v", err)
	}
	if err := d.SetRef(ctx, "../b", b); ruleOf(t, err) != "ref_name" {
		t.Errorf("a ref outside: %v", err)
	}
}

func TestPutKeepsOnlyWhatIsWhole(t *testing.T) {
	ctx := context.Background()
	from, to := newRepo(t), newRepo(t)
	mustCommit(t, from, someTree(), ostree.CommitOptions{Ref: "main"})
	for name, data := range objects(t, from.Path()) {
		bad := bytes.Clone(data)
		bad[len(bad)/2] ^= 1
		if err := to.Put(ctx, name, -1, bytes.NewReader(bad)); err == nil {
			t.Errorf("%s was stored broken", name)
		}
		if err := to.Put(ctx, name, int64(len(data)), bytes.NewReader(data[1:])); err == nil {
			t.Errorf("%s was stored in part", name)
		}
		if has, err := to.Has(ctx, name); has || err != nil {
			t.Errorf("%s is there: %v, %v", name, has, err)
		}
		if _, _, err := to.Object(ctx, name); !errors.Is(err, ostree.ErrNotFound) {
			t.Errorf("%s opens: %v", name, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(to.Path(), "tmp", "put-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for name, data := range objects(t, from.Path()) {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := to.Put(ctx, name, int64(len(data)), bytes.NewReader(data)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		r, size, err := to.Object(ctx, name)
		check(t, err)
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || size != int64(len(data)) || !bytes.Equal(got, data) {
			t.Errorf("%s reads back %d bytes, %v", name, len(got), err)
		}
	}
}

func TestCommitmetaCanChange(t *testing.T) {
	ctx := context.Background()
	d := newRepo(t)
	name := ostree.ObjectName{Checksum: ostree.Checksum{1}, Type: ostree.TypeCommitMeta}
	signed := ostree.Metadata{{Key: "k", Type: "y", Value: []byte{1}}}.Encode()
	for _, data := range []string{"", string(signed)} {
		check(t, d.Put(ctx, name, int64(len(data)), strings.NewReader(data)))
		r, _, err := d.Object(ctx, name)
		check(t, err)
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || string(got) != data {
			t.Errorf("reads back %q, %v", got, err)
		}
	}
}

func TestCommitRefusesWhatItCannotKeep(t *testing.T) {
	d := newRepo(t)
	ctx, cancel := context.WithCancel(context.Background())
	for what, tree := range map[string]fstest.MapFS{
		"a device": {"null": {Mode: os.ModeDevice | os.ModeCharDevice | 0o666}},
		"a socket": {"a/b": {Mode: os.ModeSocket}},
	} {
		if _, err := d.Commit(ctx, tree, ostree.CommitOptions{}); err == nil || !strings.Contains(err.Error(), "only files, folders and symbolic links") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := d.Commit(ctx, someTree(), ostree.CommitOptions{Ref: "a/../b"}); ruleOf(t, err) != "ref_name" {
		t.Errorf("bad ref: %v", err)
	}
	cancel()
	if _, err := d.Commit(ctx, someTree(), ostree.CommitOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCommitWritesOnlyWhatIsNew(t *testing.T) {
	d := newRepo(t)
	opts := ostree.CommitOptions{UID: 5, GID: 6, Mode: func(path string, bits uint32) uint32 {
		if path == "bin/su" {
			return 0o700
		}
		return bits
	}}
	mustCommit(t, d, someTree(), opts)
	times := func() map[string]int64 {
		all := map[string]int64{}
		for name := range objects(t, d.Path()) {
			fi, err := os.Stat(filepath.Join(d.Path(), "objects", name.Path()))
			check(t, err)
			all[name.String()] = fi.ModTime().UnixNano()
		}
		return all
	}
	before := times()
	tree := someTree()
	tree["etc/empty"].Data = []byte("no more")
	second := mustCommit(t, d, tree, opts)
	after := times()
	if n := len(after) - len(before); n != 4 { // the file, two folders, the commit
		t.Errorf("%d new objects, want 4", n)
	}
	for name, at := range before {
		if after[name] != at {
			t.Errorf("%s was written again", name)
		}
	}
	ls := ostreeCLI(t, "--repo="+d.Path(), "ls", second.String(), "/bin/su")
	if ls != "-00700 5 6      7 /bin/su" {
		t.Errorf("owner and mode: %s", ls)
	}
}
