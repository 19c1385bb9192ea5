package db_test

import (
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
)

func TestMigrateStepByStep(t *testing.T) {
	const more = `ALTER TABLE entry ADD COLUMN note TEXT; CREATE TABLE extra (namespace TEXT NOT NULL PRIMARY KEY);`
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		for _, f := range []fstest.MapFS{files(schema), files(schema), files(schema, more)} {
			if err := db.Migrate(ctx, d, "shelf", f); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.ExecContext(ctx, `INSERT INTO extra (namespace) VALUES ($1)`, "default"); err != nil {
			t.Error(err)
		}
		if err := db.Migrate(ctx, d, "other", files(`CREATE TABLE other (id TEXT);`)); err != nil {
			t.Errorf("a second service: %v", err)
		}

		err := db.Migrate(ctx, d, "shelf", files(schema))
		if err == nil || !strings.Contains(err.Error(), "newer program") {
			t.Errorf("older program: %v", err)
		}
		err = db.Migrate(ctx, d, "shelf", files(schema+"-- edited", more))
		if err == nil || !strings.Contains(err.Error(), "differs") {
			t.Errorf("edited file: %v", err)
		}
		err = db.Migrate(ctx, d, "shelf", files(schema, more, `CREATE TABLE half (id TEXT); NONSENSE;`))
		if err == nil {
			t.Error("a broken file was applied")
		}
		if _, err := d.ExecContext(ctx, `INSERT INTO half (id) VALUES ($1)`, "x"); err == nil {
			t.Error("half of a broken file stayed")
		}
	})
}

// A server that could not be founded leaves the database as it was: what others had
// there stays, and the next one can be founded.
func TestFoundedForNothing(t *testing.T) {
	const house, room = `CREATE TABLE house (id TEXT PRIMARY KEY);`, `CREATE TABLE room (house TEXT REFERENCES house (id));`
	for engine, url := range map[string]func(testing.TB) string{"sqlite": dbtest.SQLiteURL, "postgres": dbtest.PostgresURL} {
		t.Run(engine, func(t *testing.T) {
			ctx, at := t.Context(), url(t)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			open := func() *db.DB {
				d, err := db.Open(ctx, at)
				must(err)
				t.Cleanup(func() { _ = d.Close() })
				return d
			}
			first := open()
			must(db.Migrate(ctx, first, "shelf", files(schema)))
			_, err := first.ExecContext(ctx, `CREATE TABLE theirs (id TEXT)`)
			must(err)

			second := open()
			must(db.Migrate(ctx, second, "shelf", files(schema, `CREATE TABLE board (id TEXT);`)))
			must(db.Migrate(ctx, second, "house", files(house, room)))
			_, err = second.ExecContext(ctx, `INSERT INTO house (id) VALUES ('a'); INSERT INTO room (house) VALUES ('a')`)
			must(err)
			must(second.DropFounded(ctx))
			must(second.DropFounded(ctx)) // nothing is left to do

			third := open()
			for _, table := range []string{"entry", "board", "theirs"} {
				if _, err := third.ExecContext(ctx, `DELETE FROM `+table); err != nil {
					t.Errorf("%s: %v", table, err)
				}
			}
			must(db.Migrate(ctx, third, "house", files(house, room)))
			var n int
			must(third.GetContext(ctx, &n, `SELECT COUNT(*) FROM house`))
			if n != 0 {
				t.Errorf("%d houses stayed", n)
			}
		})
	}
}

// Who only reads sees what a running server writes, changes nothing, and never
// migrates the tables under it.
func TestReadingBesideAServer(t *testing.T) {
	for engine, url := range map[string]func(testing.TB) string{"sqlite": dbtest.SQLiteURL, "postgres": dbtest.PostgresURL} {
		t.Run(engine, func(t *testing.T) {
			ctx, at := t.Context(), url(t)
			if engine == "sqlite" {
				if d, err := db.OpenToRead(ctx, at); err == nil {
					d.Close()
					t.Error("a database that is not there was opened")
				}
			}
			server, err := db.Open(ctx, at)
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			const other = `CREATE TABLE other (id TEXT NOT NULL PRIMARY KEY);`
			if err := db.Migrate(ctx, server, "other", files(other)); err != nil {
				t.Fatal(err)
			}
			reader, err := db.OpenToRead(ctx, at)
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			if err := db.Migrate(ctx, reader, "other", files(other)); err != nil {
				t.Errorf("the same tables: %v", err)
			}
			for _, newer := range []string{"other", "another"} {
				if err := db.Migrate(ctx, reader, newer, files(other, `CREATE TABLE more (id TEXT);`)); err == nil || !strings.Contains(err.Error(), "start the server once") {
					t.Errorf("tables of an older program: %v", err)
				}
			}
			if _, err := server.ExecContext(ctx, `INSERT INTO other (id) VALUES ('a')`); err != nil {
				t.Error(err)
			}
			var n int
			if err := reader.GetContext(ctx, &n, `SELECT count(*) FROM other`); err != nil || n != 1 {
				t.Errorf("%d rows, %v", n, err)
			}
			if _, err := reader.ExecContext(ctx, `INSERT INTO other (id) VALUES ('b')`); err == nil {
				t.Error("who only reads has written")
			}
		})
	}
}

func TestMigrateRefusesOddNames(t *testing.T) {
	d := dbtest.SQLite(t)
	for _, name := range []string{"schema/0002_late.sql", "schema/1_short.sql", "schema/0001_init.txt", "elsewhere/0001_init.sql"} {
		f := fstest.MapFS{name: {Data: []byte(`CREATE TABLE t (id TEXT);`)}}
		if err := db.Migrate(t.Context(), d, "shelf", f); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestConcurrentStarts lets several processes' worth of pools open and
// migrate one new database at the same time.
func TestConcurrentStarts(t *testing.T) {
	addresses := map[string]func(testing.TB) string{"sqlite": dbtest.SQLiteURL}
	if os.Getenv(dbtest.EnvURL) != "" {
		addresses["postgres"] = dbtest.PostgresURL
	}
	for name, address := range addresses {
		t.Run(name, func(t *testing.T) {
			url := address(t)
			var wg sync.WaitGroup
			for range 6 {
				wg.Go(func() {
					d, err := db.Open(t.Context(), url)
					if err != nil {
						t.Error(err)
						return
					}
					defer d.Close()
					if err := db.Migrate(t.Context(), d, "shelf", files(schema)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}
