package repo_test

import (
	"os"
	"testing"
	"testing/fstest"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
)

// before is a repository as it was before TUF clients were served: one push
// whose TUF document came with it, and an image.
const before = `
INSERT INTO repo_repository (namespace, id, push, generation, created_at) VALUES ('acme', 'r1', 'p2', 7, 1), ('other', 'r2', 'p1', 1, 1);
INSERT INTO repo_push (namespace, id, base, version, checksum, document, expires, created_at, created_by, published_at) VALUES
	('acme', 'p1', '', 1, 'c1', 'd', 1, 1, 'a', 1), ('acme', 'p2', 'p1', 2, 'c2', 'd', 1, 1, 'a', 2), ('other', 'p1', '', 1, 'c1', 'd', 1, 1, 'a', 1);
INSERT INTO repo_twin (namespace, role, digest, version, document, created_at, published_at) VALUES
	('acme', 'targets', 'x1', 1, 'd', 1, 1), ('acme', 'targets', 'x2', 2, 'd', 1, 2), ('acme', 'targets', 'x3', 2, 'd', 1, 0), ('other', 'targets', 'x1', 1, 'd', 1, 0);
INSERT INTO repo_target (namespace, filename, sha256, length, name, version, format, uri, entry, image, added_at, updated_at) VALUES
	('acme', 'a-1', 'h', 1, 'a', '1', 'BINARY', '', '{}', 'i1', 1, 1), ('acme', 'b-1', 'h', 0, 'b', '1', 'OSTREE', '', '{}', '', 1, 1),
	('other', 'a-1', 'h', 1, 'a', '1', 'BINARY', '', '{}', 'i1', 1, 1);
INSERT INTO repo_document (namespace, role, version, push, root_version, snapshot, payload, document, expires, capped, created_at) VALUES
	('acme', 'snapshot', 5, 'p2', 1, 0, 'p', 'd', 1, FALSE, 1), ('acme', 'timestamp', 6, 'p2', 1, 5, 'p', NULL, 1, TRUE, 1);
`

// A database of the first version keeps its documents, and knows which push TUF
// clients may see.
func TestMigratingToTUF(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		first, err := os.ReadFile("schema/0001_init.sql")
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context(), d, "repo", fstest.MapFS{"schema/0001_init.sql": {Data: first}}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.ExecContext(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context(), d, "repo", os.DirFS(".")); err != nil {
			t.Fatal(err)
		}
		for query, want := range map[string]int{
			`SELECT count(*) FROM repo_repository WHERE NOT tuf AND NOT tuf_anonymous`:                                2,
			`SELECT count(*) FROM repo_repository WHERE namespace = 'acme' AND tuf_push = 'p2'`:                       1,
			`SELECT count(*) FROM repo_repository WHERE namespace = 'other' AND tuf_push = ''`:                        1,
			`SELECT count(*) FROM repo_tuf_target`:                                                                    1,
			`SELECT count(*) FROM repo_tuf_target WHERE namespace = 'acme' AND filename = 'a-1' AND image = 'i1'`:     1,
			`SELECT count(*) FROM repo_document WHERE flavour = 'uptane'`:                                             2,
			`SELECT count(*) FROM repo_document WHERE version = 6 AND snapshot = 5 AND document IS NULL AND NOT void`: 1,
		} {
			var got int
			if err := d.GetContext(t.Context(), &got, query); err != nil || got != want {
				t.Errorf("%s: %d, %v, want %d", query, got, err, want)
			}
		}
	})
}
