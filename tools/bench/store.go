package main

import (
	"context"

	"sealift/internal/db"
)

// entries is a table for bare inserts.
type entries struct{ db *db.DB }

func openEntries(ctx context.Context, url string) (*entries, error) {
	d, err := db.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	_, err = d.ExecContext(ctx, `CREATE TABLE bench_entry (id TEXT NOT NULL PRIMARY KEY, at BIGINT NOT NULL, body TEXT NOT NULL)`)
	return &entries{d}, err
}

// add inserts one row; it is on disk then.
func (e *entries) add(ctx context.Context, id string, at int64, body string) error {
	_, err := e.db.ExecContext(ctx, `INSERT INTO bench_entry (id, at, body) VALUES ($1, $2, $3)`, id, at, body)
	return err
}

// withoutLeaves leaves of the table of signatures what signing would need if they
// were no leaves: the rows, and an index for the clock.
func withoutLeaves(ctx context.Context, d *db.DB) error {
	for _, statement := range []string{
		`DROP INDEX signature_record_waiting`,
		`DROP INDEX signature_record_batch`,
		`DROP INDEX signature_record_message`,
		`CREATE INDEX signature_record_clock ON signature_record (clock, signed)`,
	} {
		if _, err := d.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// neverFlush lets commits of a throw-away database not wait for the disk, whose
// flush costs the kernel more, and less evenly, than what is measured.
func neverFlush(ctx context.Context, d *db.DB) error {
	_, err := d.ExecContext(ctx, `PRAGMA synchronous = OFF`)
	return err
}
