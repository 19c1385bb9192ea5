package treehub_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/diskblob"
	"sealift/internal/fault"
	"sealift/treehub"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

const ns = uptane.Namespace("default")

// fixture is a TreeHub and a local repository with a commit to push to it.
type fixture struct {
	*treehub.TreeHub
	t      testing.TB
	bucket *blob.Bucket
	dir    *ostree.Dir
	commit ostree.Checksum
}

func newFixture(t testing.TB, d *db.DB) *fixture {
	t.Helper()
	bucket, err := diskblob.Open(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	hub, err := treehub.New(t.Context(), treehub.Config{DB: d, Bucket: bucket, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := ostree.InitDir(filepath.Join(t.TempDir(), "repo"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{TreeHub: hub, t: t, bucket: bucket, dir: dir}
	f.commit = f.write(ostree.Checksum{}, "first")
	return f
}

// write commits a tree of three folders, one of them twice, and a link.
func (f *fixture) write(parent ostree.Checksum, text string) ostree.Checksum {
	f.t.Helper()
	root := f.t.TempDir()
	for name, content := range map[string]string{"etc/os-release": text, "usr/bin/sh": strings.Repeat("sh", 9000),
		"usr/share/doc/a": "a", "usr/share/doc/b": "b", "srv/doc/a": "a", "srv/doc/b": "b"} {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			f.t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := os.Symlink("usr/bin", filepath.Join(root, "bin")); err != nil {
		f.t.Fatal(err)
	}
	c, err := f.dir.Commit(f.t.Context(), os.DirFS(root), ostree.CommitOptions{Parent: parent, Subject: text, Timestamp: time.Unix(1e9, 0)})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// closure lists a commit and all below it, parents first, each once.
func (f *fixture) closure(commit ostree.Checksum) []ostree.ObjectName {
	f.t.Helper()
	var list []ostree.ObjectName
	seen := map[ostree.ObjectName]bool{}
	var visit func(ostree.ObjectName)
	visit = func(n ostree.ObjectName) {
		seen[n] = true
		res, err := ostree.VerifyReader(n, -1, bytes.NewReader(f.read(n)))
		if err != nil {
			f.t.Fatal(err)
		}
		for _, edge := range res.Edges {
			if !seen[edge] {
				visit(edge)
			}
		}
		list = append(list, n)
	}
	visit(name(commit, ostree.TypeCommit))
	slices.Reverse(list)
	return list
}

func (f *fixture) read(name ostree.ObjectName) []byte {
	f.t.Helper()
	r, _, err := f.dir.Object(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		f.t.Fatal(err)
	}
	return data
}

func (f *fixture) put(name ostree.ObjectName) error {
	data := f.read(name)
	return f.Put(f.t.Context(), ns, treehub.Upload{Name: name, Size: int64(len(data)), By: "token:ci"}, bytes.NewReader(data))
}

func (f *fixture) mustPut(names ...ostree.ObjectName) {
	f.t.Helper()
	for _, name := range names {
		if err := f.put(name); err != nil {
			f.t.Fatalf("putting %s: %v", name, err)
		}
	}
}

func (f *fixture) has(name ostree.ObjectName) bool {
	f.t.Helper()
	_, err := f.Locate(f.t.Context(), ns, name)
	if err != nil && !errors.Is(err, treehub.ErrObjectMissing) {
		f.t.Fatal(err)
	}
	return err == nil
}

func (f *fixture) blobs() (keys []string) {
	f.t.Helper()
	for it := f.bucket.List(nil); ; {
		o, err := it.Next(f.t.Context())
		if err == io.EOF {
			return keys
		}
		if err != nil {
			f.t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
}

func name(c ostree.Checksum, t ostree.ObjectType) ostree.ObjectName {
	return ostree.ObjectName{Checksum: c, Type: t}
}

// TestAnyOrderCompletes uploads one tree from the top, from the bottom and in
// random orders: the commit appears with the last object and never before.
func TestAnyOrderCompletes(t *testing.T) {
	orders := map[string]func([]ostree.ObjectName){
		"top down":  func([]ostree.ObjectName) {},
		"bottom up": slices.Reverse[[]ostree.ObjectName],
	}
	for seed := range uint64(4) {
		orders[fmt.Sprintf("random %d", seed)] = func(list []ostree.ObjectName) {
			r := rand.New(rand.NewPCG(seed, 0))
			r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFixture(t, d)
		for order, arrange := range orders {
			// The same tree anew, in a namespace of its own.
			space := uptane.Namespace(strings.ReplaceAll(order, " ", "-"))
			list := f.closure(f.commit)
			arrange(list)
			for i, n := range list {
				before, err := f.Missing(t.Context(), space, []ostree.ObjectName{name(f.commit, ostree.TypeCommit)})
				if err != nil || len(before) != 1 {
					t.Fatalf("%s: the commit is there %d objects early (%v)", order, len(list)-i, err)
				}
				if err := f.RequireComplete(t.Context(), space, f.commit); !errors.Is(err, treehub.ErrCommitMissing) {
					t.Fatalf("%s: RequireComplete = %v", order, err)
				}
				data := f.read(n)
				if err := f.Put(t.Context(), space, treehub.Upload{Name: n, Size: int64(len(data))}, bytes.NewReader(data)); err != nil {
					t.Fatalf("%s: %v", order, err)
				}
			}
			missing, err := f.Missing(t.Context(), space, list)
			if err != nil || len(missing) != 0 {
				t.Errorf("%s: missing in the end: %v, %v", order, missing, err)
			}
			if err := f.RequireComplete(t.Context(), space, f.commit); err != nil {
				t.Errorf("%s: %v", order, err)
			}
		}
	})
}

// TestIncompleteIsInvisible pushes a commit without one file, then the file.
func TestIncompleteIsInvisible(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFixture(t, d)
		list := f.closure(f.commit)
		at := slices.IndexFunc(list, func(n ostree.ObjectName) bool { return n.Type == ostree.TypeFile })
		late := list[at]
		f.mustPut(slices.Delete(slices.Clone(list), at, at+1)...)

		commit := name(f.commit, ostree.TypeCommit)
		if f.has(commit) {
			t.Error("an incomplete commit is reported")
		}
		if err := f.put(commit); !errors.Is(err, treehub.ErrObjectExists) {
			t.Errorf("putting it again: %v", err)
		}
		err := f.SetRef(t.Context(), ns, treehub.RefUpdate{Name: "main", Commit: f.commit, Force: true})
		if fa := fault.Of(err); fa == nil || fa.Code() != "commit_missing" || !strings.Contains(fa.Cause(), late.String()) {
			t.Errorf("SetRef = %v, want it to name %s", err, late)
		}
		if c, err := f.Commit(t.Context(), ns, f.commit); err != nil || c.Complete || c.Objects != 0 {
			t.Errorf("commit = %+v, %v", c, err)
		}
		if err := f.RequireComplete(t.Context(), "other", f.commit); !errors.Is(err, treehub.ErrCommitMissing) {
			t.Errorf("another namespace: %v", err)
		}

		f.mustPut(late)
		for _, n := range list {
			if !f.has(n) {
				t.Errorf("%s is not there", n)
			}
		}
		if err := f.SetRef(t.Context(), ns, treehub.RefUpdate{Name: "main", Commit: f.commit}); err != nil {
			t.Error(err)
		}
		c, err := f.Commit(t.Context(), ns, f.commit)
		if err != nil || !c.Complete || int(c.Objects) != len(list) || c.Subject != "first" || c.PushedBy != "token:ci" ||
			!slices.Equal(c.Refs, []string{"main"}) || c.Size == 0 {
			t.Errorf("commit = %+v, %v; want %d objects", c, err, len(list))
		}
	})
}

func TestRefusedUploadLeavesNothing(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	list := f.closure(f.commit)
	var file, tree, meta ostree.ObjectName
	for _, n := range list {
		switch {
		case n.Type == ostree.TypeFile && (file.Checksum.IsZero() || len(f.read(n)) > len(f.read(file))):
			file = n
		case n.Type == ostree.TypeDirTree:
			tree = n
		case n.Type == ostree.TypeDirMeta:
			meta = n
		}
	}
	content := f.read(file)
	sizeOff := bytes.Clone(content) // only the size in the header is wrong
	sizeOff[15]++
	for what, up := range map[string]struct {
		name  ostree.ObjectName
		data  []byte
		size  int64
		cause string
	}{
		"corrupt":        {file, append(content[:len(content)/2:len(content)/2], make([]byte, len(content)-len(content)/2)...), -1, "filez_"},
		"truncated":      {file, content[:len(content)-1], -1, "filez_truncated"},
		"oversized":      {file, append(bytes.Clone(content), 0), -1, "filez_trailing_data"},
		"wrong size":     {file, sizeOff, -1, "filez_size_mismatch"},
		"misnamed":       {name(tree.Checksum, ostree.TypeFile), content, -1, "object_hash_mismatch"},
		"another type":   {name(meta.Checksum, ostree.TypeDirTree), f.read(meta), -1, "gvariant"},
		"length lies":    {file, content, int64(len(content)) + 7, "object_length_mismatch"},
		"nothing":        {file, nil, 0, "filez_truncated"},
		"no tombstones":  {name(f.commit, ostree.TypeTombstone), []byte("x"), 1, "tombstones"},
		"other metadata": {tree, append(f.read(tree), 0), -1, "object_hash_mismatch"},
	} {
		err := f.Put(t.Context(), ns, treehub.Upload{Name: up.name, Size: up.size}, bytes.NewReader(up.data))
		if fa := fault.Of(err); !errors.Is(err, treehub.ErrInvalidObject) || !strings.Contains(fa.Cause(), up.cause) {
			t.Errorf("%s: %v, want it to name %s", what, err, up.cause)
		}
		if f.has(up.name) {
			t.Errorf("%s: the object is visible", what)
		}
	}
	broken := io.MultiReader(bytes.NewReader(content[:len(content)/2]), errReader{io.ErrUnexpectedEOF})
	err := f.Put(t.Context(), ns, treehub.Upload{Name: file, Size: int64(len(content))}, broken)
	if !errors.Is(err, treehub.ErrUploadBroken) {
		t.Errorf("a broken connection: %v", err)
	}
	err = f.Put(t.Context(), ns, treehub.Upload{Name: file, Size: treehub.MaxObject + 1}, strings.NewReader("x"))
	if fault.Status(err) != 413 {
		t.Errorf("too large: %v", err)
	}
	if left := f.blobs(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	f.mustPut(file) // the name is not burnt
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// TestConcurrentPushes sends the same tree from several clients at once, each
// in an order of its own: every object is stored once, and all is complete.
func TestConcurrentPushes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFixture(t, d)
		for round := range 3 {
			commit := f.write(f.commit, fmt.Sprintf("round %d", round))
			list := f.closure(commit)
			stored := make(chan ostree.ObjectName, 8*len(list))
			var wg sync.WaitGroup
			for client := range uint64(8) {
				wg.Go(func() {
					mine := slices.Clone(list)
					r := rand.New(rand.NewPCG(client, uint64(round)))
					r.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
					for _, n := range mine {
						err := f.put(n)
						if err == nil {
							stored <- n
						} else if !errors.Is(err, treehub.ErrObjectExists) {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			close(stored)
			seen := map[ostree.ObjectName]int{}
			for n := range stored {
				seen[n]++
			}
			for n, times := range seen {
				if times != 1 {
					t.Errorf("%s was stored %d times", n, times)
				}
			}
			if missing, err := f.Missing(t.Context(), ns, list); err != nil || len(missing) != 0 {
				t.Fatalf("missing %v, %v", missing, err)
			}
		}
		objects := map[string]bool{}
		for _, key := range f.blobs() {
			objects[strings.TrimSuffix(key, filepath.Ext(key))] = true
		}
		if n := len(f.blobs()); n != len(objects) {
			t.Errorf("%d blobs for %d objects", n, len(objects))
		}
	})
}

// TestAccidentKeepsTheBlob: when nobody can say whether an upload was entered,
// its blob stays; a row without its blob would be damage.
func TestAccidentKeepsTheBlob(t *testing.T) {
	d := dbtest.SQLite(t)
	f := newFixture(t, d)
	n := f.closure(f.commit)[0]
	r := readFunc(func([]byte) (int, error) { d.Close(); return 0, io.EOF })
	err := f.Put(t.Context(), ns, treehub.Upload{Name: n, Size: -1}, io.MultiReader(bytes.NewReader(f.read(n)), r))
	if err == nil || fault.Of(err) != nil || len(f.blobs()) != 1 {
		t.Errorf("%v, blobs %v", err, f.blobs())
	}
}
