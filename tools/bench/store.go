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

// dropLeafIndexes takes away what the record needs of the table of signatures,
// beside the rows themselves.
func dropLeafIndexes(ctx context.Context, d *db.DB) error {
	for _, name := range []string{"signature_record_waiting", "signature_record_batch", "signature_record_message"} {
		if _, err := d.ExecContext(ctx, `DROP INDEX `+name); err != nil {
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
