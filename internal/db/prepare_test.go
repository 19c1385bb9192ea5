package db_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
)

// TestStatementsComeBack uses the same statements again in the ways in which one
// that is kept could be in the way of another.
func TestStatementsComeBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		migrated(t, d)
		ctx := t.Context()
		const bigger = `SELECT id FROM entry WHERE namespace = $1 AND size > $2 ORDER BY size`
		err := d.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
			for i := range 5 {
				if _, err := tx.ExecContext(ctx, insert, "default", fmt.Sprint("e", i), i, true, nil); err != nil {
					return err
				}
			}
			if d.Dialect() == db.Postgres {
				return nil // it answers one question at a time
			}
			outer, err := tx.QueryxContext(ctx, bigger, "default", 0)
			if err != nil {
				return err
			}
			defer outer.Close()
			for n := 1; outer.Next(); n++ {
				var inner []string
				if err := tx.SelectContext(ctx, &inner, bigger, "default", n); err != nil {
					return err
				}
				if len(inner) != 4-n {
					t.Errorf("%d rows inside of row %d", len(inner), n)
				}
			}
			return outer.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // one that fails is as good the next time
			if _, err := d.ExecContext(ctx, insert, "default", "e1", 9, true, nil); !errors.Is(db.Err(err), db.ErrExists) {
				t.Errorf("inserting again: %v", err)
			}
			cancelled, cancel := context.WithCancel(ctx)
			cancel()
			if err := d.SelectContext(cancelled, new([]string), bigger, "default", 0); !errors.Is(err, context.Canceled) {
				t.Errorf("a question that nobody waits for: %v", err)
			}
			var found []string
			if err := d.SelectContext(ctx, &found, bigger, "default", 0); err != nil || len(found) != 4 {
				t.Errorf("%v, %v", found, err)
			}
		}
		if _, err := d.ExecContext(ctx, `ALTER TABLE entry ADD COLUMN note TEXT`); err != nil {
			t.Fatal(err)
		}
		for i := range 500 { // more than are kept, some of them long
			var n int
			query := fmt.Sprintf(`SELECT COUNT(*) + %d FROM entry WHERE namespace = $1 %*s`, i, i*10, "")
			if err := d.GetContext(ctx, &n, query, "default"); err != nil || n != i+5 {
				t.Fatalf("statement %d: %d, %v", i, n, err)
			}
		}
		if _, err := d.ExecContext(ctx, `DROP INDEX entry_size`); err != nil {
			t.Fatalf("something is still open: %v", err)
		}
		var found []string
		if err := d.SelectContext(ctx, &found, bigger, "default", 0); err != nil || len(found) != 4 {
			t.Errorf("after the index was dropped: %v, %v", found, err)
		}
	})
}
