// Package dbtest gives each test an empty database of its own.
package dbtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
)

// EnvURL names the environment variable with the address of a PostgreSQL
// database in which tests may create schemas.
const EnvURL = "SEALIFT_TEST_DB_URL"

// Each runs fn as a sub-test on SQLite and, when [EnvURL] is set, on
// PostgreSQL, each time with an empty database that is gone afterwards.
func Each(t *testing.T, fn func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, SQLite(t)) })
	if os.Getenv(EnvURL) != "" {
		t.Run("postgres", func(t *testing.T) { fn(t, Postgres(t)) })
	}
}

// SQLite returns an empty SQLite database in a file of its own.
func SQLite(t testing.TB) *db.DB {
	t.Helper()
	return open(t, SQLiteURL(t))
}

// SQLiteURL returns the address of an SQLite database that does not exist yet.
func SQLiteURL(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "test.db")
}

// Postgres returns an empty PostgreSQL schema, or skips the test when
// [EnvURL] is not set.
func Postgres(t testing.TB) *db.DB {
	t.Helper()
	return open(t, PostgresURL(t))
}

// PostgresURL creates a schema, dropped at the end of the test, and returns
// an address under which it is the only one seen. Without [EnvURL] it skips
// the test.
func PostgresURL(t testing.TB) string {
	t.Helper()
	base := os.Getenv(EnvURL)
	if base == "" {
		t.Skip(EnvURL + " is not set")
	}
	admin := open(t, base)
	schema := "t" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if _, err := admin.ExecContext(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			t.Errorf("dropping schema: %v", err)
		}
	})
	u, err := inSchema(base, schema)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func inSchema(base, schema string) (string, error) {
	if !strings.Contains(base, "://") {
		return base + " search_path=" + schema, nil
	}
	u, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", EnvURL, err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func open(t testing.TB, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// Copy returns a database of its own with all that another one of this package
// holds, on the same engine.
func Copy(t testing.TB, from *db.DB) *db.DB {
	t.Helper()
	if from.Dialect() == db.SQLite {
		path := filepath.Join(t.TempDir(), "copy.db")
		if _, err := from.ExecContext(t.Context(), "VACUUM INTO $1", path); err != nil {
			t.Fatal(err)
		}
		return open(t, "sqlite:"+path)
	}
	to := Postgres(t)
	var schema string
	var tables []string
	err := errors.Join(sqlx.GetContext(t.Context(), to, &schema, "SELECT current_schema()"),
		sqlx.SelectContext(t.Context(), from, &tables, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"))
	for _, table := range tables {
		for _, statement := range []string{"CREATE TABLE %[1]s.%[2]s (LIKE %[2]s INCLUDING ALL)", "INSERT INTO %[1]s.%[2]s SELECT * FROM %[2]s"} {
			if err == nil {
				_, err = from.ExecContext(t.Context(), fmt.Sprintf(statement, schema, table))
			}
		}
	}
	if err != nil {
		t.Fatalf("copying a database: %v", err)
	}
	return to
}
