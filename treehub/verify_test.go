package treehub_test

import (
	"slices"
	"strings"
	"testing"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fsck"
	"sealift/treehub"
)

// verify returns what a check finds damaged, one line each, and its account.
func (f *fixture) verify() ([]string, fsck.Result) {
	f.t.Helper()
	var damages []string
	a := fsck.New(func(d fsck.Damage) { damages = append(damages, d.String()) })
	if err := f.Verify(f.t.Context(), a); err != nil {
		f.t.Fatal(err)
	}
	return damages, a.Result()
}

func looked(r fsck.Result, kind string) int64 {
	for _, c := range r.Looked {
		if c.Kind == kind {
			return c.N
		}
	}
	return 0
}

// A TreeHub in any honest state is clean: half a push, two commits that share
// files, a ref, signatures that were renewed. What a crash leaves is counted.
func TestVerifyFindsNothingWrong(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFixture(t, d)
		all := f.closure(f.commit)
		f.mustPut(all[:len(all)/2]...) // the commit first: it waits for the rest
		if damages, r := f.verify(); len(damages) > 0 || looked(r, "objects") != int64(len(all)/2) || looked(r, "objects only referred to") == 0 {
			t.Errorf("half a push: %q, %+v", damages, r)
		}
		f.mustPut(all[len(all)/2:]...)
		second := f.closure(f.write(f.commit, "second"))
		f.mustPut(slices.DeleteFunc(slices.Clone(second), f.has)...)
		if err := f.SetRef(t.Context(), ns, treehub.RefUpdate{Name: "main", Commit: f.commit}); err != nil {
			t.Fatal(err)
		}
		if err := f.bucket.WriteAll(t.Context(), string(ns)+"/objects/aa/left-over", []byte("12345"), nil); err != nil {
			t.Fatal(err)
		}
		damages, r := f.verify()
		if len(damages) > 0 || looked(r, "commits") != 2 || looked(r, "refs") != 1 || looked(r, "objects only referred to") != 0 {
			t.Errorf("both commits: %q, %+v", damages, r)
		}
		if r.LeftOver != 1 || r.LeftOverLength != 5 || r.Bytes == 0 {
			t.Errorf("left-overs: %+v", r)
		}
	})
}

// Whatever goes wrong with a row or a blob is named.
func TestVerifyNamesDamage(t *testing.T) {
	for _, c := range []struct{ what, statement, want string }{
		{"an edge is gone", `DELETE FROM treehub_edge WHERE parent LIKE '%.commit' AND child LIKE '%.dirmeta'`, "edges in the table"},
		{"an edge waits", `UPDATE treehub_edge SET waiting = TRUE WHERE parent LIKE '%.commit'`, "says waiting true"},
		{"an object lacks something", `UPDATE treehub_object SET lacks = 2 WHERE name LIKE '%.commit'`, "its row says that it lacks 2 objects, its edges that it lacks 0"},
		{"a file lacks something", `UPDATE treehub_object SET lacks = 1 WHERE name LIKE '%.filez'`, "its row says that it lacks 1 objects"},
		{"a size", `UPDATE treehub_object SET size = size + 1 WHERE name LIKE '%.dirmeta'`, "object_length_mismatch"},
		{"a row is gone", `DELETE FROM treehub_object WHERE name LIKE '%.dirmeta'`, "one of the two is not there"},
		{"a child unknown", `UPDATE treehub_object SET generation = '' WHERE name LIKE '%.dirmeta'`, "it is not stored, yet"},
		{"the list of commits", `DELETE FROM treehub_commit`, "the list of commits lacks it"},
		{"the subject", `UPDATE treehub_commit SET subject = 'other'`, "says otherwise about its parent"},
		{"a commit too many", `UPDATE treehub_commit SET checksum = '` + strings.Repeat("ab", 32) + `'`, "it is listed, but its object is not stored"},
		{"a ref", `UPDATE treehub_ref SET checksum = '` + strings.Repeat("ab", 32) + `'`, "ref main: its commit"},
		{"a name", `UPDATE treehub_object SET name = 'x' WHERE name LIKE '%.commit'`, "it is no name of an object"},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := pushed(t)
			if _, err := f.db.ExecContext(t.Context(), c.statement); err != nil {
				t.Fatal(err)
			}
			wantDamage(t, f, c.want)
		})
	}
	t.Run("a blob is gone", func(t *testing.T) {
		f := pushed(t)
		key := f.blobs()[0]
		if err := f.bucket.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		wantDamage(t, f, "its blob "+key+" is gone")
	})
	t.Run("a bit has turned", func(t *testing.T) {
		f := pushed(t)
		i := slices.IndexFunc(f.blobs(), func(key string) bool { return strings.Contains(key, ".filez.") })
		key := f.blobs()[i]
		raw, err := f.bucket.ReadAll(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)-1] ^= 1
		if err := f.bucket.WriteAll(t.Context(), key, raw, nil); err != nil {
			t.Fatal(err)
		}
		wantDamage(t, f, "is not what its name says")
	})
}

// stored is a TreeHub with one commit and a ref, and its database.
type stored struct {
	*fixture
	db *db.DB
}

func pushed(t *testing.T) stored {
	t.Helper()
	d := dbtest.SQLite(t)
	f := newFixture(t, d)
	f.mustPut(f.closure(f.commit)...)
	if err := f.SetRef(t.Context(), ns, treehub.RefUpdate{Name: "main", Commit: f.commit}); err != nil {
		t.Fatal(err)
	}
	return stored{f, d}
}

func wantDamage(t *testing.T, f stored, want string) {
	t.Helper()
	damages, r := f.verify()
	if r.Damaged == 0 || !slices.ContainsFunc(damages, func(d string) bool {
		return strings.Contains(d, want) && strings.HasPrefix(d, "namespace default, ")
	}) {
		t.Errorf("damages %q, want %q among them", damages, want)
	}
}
