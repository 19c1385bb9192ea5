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
