package treehub_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/treehub"
	"sealift/treehub/ostree"
)

func TestRefs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFixture(t, d)
		second := f.write(f.commit, "second")
		unrelated := f.write(ostree.Checksum{}, "unrelated")
		for _, c := range []ostree.Checksum{f.commit, second, unrelated} {
			for _, n := range f.closure(c) {
				if err := f.put(n); err != nil && !errors.Is(err, treehub.ErrObjectExists) {
					t.Fatal(err)
				}
			}
		}
		set := func(name string, c ostree.Checksum, force bool) error {
			return f.SetRef(t.Context(), ns, treehub.RefUpdate{Name: name, Commit: c, Force: force, By: "token:ci"})
		}
		for _, step := range []struct {
			commit ostree.Checksum
			force  bool
			want   error
		}{
			{f.commit, false, nil}, {f.commit, false, nil}, {second, false, nil},
			{unrelated, false, treehub.ErrForcePush}, {unrelated, true, nil}, {second, false, treehub.ErrForcePush},
			{ostree.Checksum{1}, true, treehub.ErrCommitMissing},
		} {
			if err := set("board/main", step.commit, step.force); !errors.Is(err, step.want) {
				t.Errorf("setting to %s with force %v: %v, want %v", step.commit, step.force, err, step.want)
			}
		}
		if c, err := f.Ref(t.Context(), ns, "board/main"); err != nil || c != unrelated {
			t.Errorf("ref = %s, %v", c, err)
		}
		for _, bad := range []string{"", "../x", "a//b", "a b", unrelated.String()} {
			if err := set(bad, f.commit, true); !errors.Is(err, treehub.ErrInvalidRef) {
				t.Errorf("ref %q: %v", bad, err)
			}
			if _, err := f.Ref(t.Context(), ns, bad); !errors.Is(err, treehub.ErrRefMissing) {
				t.Errorf("reading ref %q: %v", bad, err)
			}
		}
		if _, err := f.Ref(t.Context(), "other", "board/main"); !errors.Is(err, treehub.ErrRefMissing) {
			t.Errorf("another namespace's ref: %v", err)
		}
		if err := set("alpha", second, false); err != nil {
			t.Fatal(err)
		}
		refs, total, err := f.Refs(t.Context(), ns, 1, 1)
		if err != nil || total != 2 || len(refs) != 1 || refs[0].Name != "board/main" || refs[0].UpdatedBy != "token:ci" {
			t.Errorf("refs = %+v, %d, %v", refs, total, err)
		}
		commits, total, err := f.Commits(t.Context(), ns, 0, 10)
		if err != nil || total != 3 || len(commits) != 3 {
			t.Fatalf("commits = %+v, %d, %v", commits, total, err)
		}
		for _, c := range commits {
			if c.Checksum == second && (c.Parent != f.commit || !slices.Equal(c.Refs, []string{"alpha"})) {
				t.Errorf("second = %+v", c)
			}
		}
	})
}

// TestCommitmetaIsReplaced: signatures can be renewed, their old blob goes.
func TestCommitmetaIsReplaced(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFixture(t, d)
		meta := name(f.commit, ostree.TypeCommitMeta)
		// An a{sv} of one entry "k" -> byte, and the empty one.
		one := []byte("k\x00\x00\x00\x00\x00\x00\x00\x07\x00y\x02\x0c")
		if _, err := ostree.ParseMetadata(one); err != nil {
			t.Fatal(err)
		}
		var tags []string
		for _, data := range [][]byte{one, nil} {
			if err := f.Put(t.Context(), ns, treehub.Upload{Name: meta, Size: int64(len(data))}, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			at, err := f.Locate(t.Context(), ns, meta)
			if err != nil || !at.Mutable || at.Size != int64(len(data)) {
				t.Fatalf("located %+v, %v", at, err)
			}
			if got, err := f.Bucket().ReadAll(t.Context(), at.Key); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %q, %v", got, err)
			}
			tags = append(tags, at.ETag)
		}
		if tags[0] == tags[1] || len(f.blobs()) != 1 {
			t.Errorf("tags %v, blobs %v", tags, f.blobs())
		}
	})
}

func TestManifest(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	doc := []byte(`{"manifest":{"project":[{"linkfile":{"@src":"a"}}]}}`)
	if err := f.PutManifest(t.Context(), ns, f.commit, doc); !errors.Is(err, treehub.ErrCommitMissing) {
		t.Errorf("manifest of an unknown commit: %v", err)
	}
	f.mustPut(f.closure(f.commit)...)
	for _, bad := range []string{"", "[]", "null", `{"a":`, "{}{}", "{\"\xff\":1}"} {
		if err := f.PutManifest(t.Context(), ns, f.commit, []byte(bad)); !errors.Is(err, treehub.ErrManifest) {
			t.Errorf("manifest %q: %v", bad, err)
		}
	}
	if _, err := f.Manifest(t.Context(), ns, f.commit); !errors.Is(err, treehub.ErrNoManifest) {
		t.Errorf("before: %v", err)
	}
	if err := f.PutManifest(t.Context(), ns, f.commit, doc); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Manifest(t.Context(), ns, f.commit); err != nil || !bytes.Equal(got, doc) {
		t.Errorf("manifest = %s, %v", got, err)
	}
}

// TestBlobOutlivesNobody: what a caller who left had sent is gone.
func TestCancelledUploadLeavesNothing(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	n := f.closure(f.commit)[0]
	ctx, cancel := context.WithCancel(t.Context())
	r := readFunc(func([]byte) (int, error) { cancel(); return 0, io.EOF })
	err := f.Put(ctx, ns, treehub.Upload{Name: n, Size: -1}, io.MultiReader(bytes.NewReader(f.read(n)), r))
	if err == nil || f.has(n) || len(f.blobs()) != 0 {
		t.Errorf("%v, blobs %v", err, f.blobs())
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }
