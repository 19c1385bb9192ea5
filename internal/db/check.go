package db

import (
	"context"
	"fmt"
)

// maxProblems bounds what an engine is asked to list.
const maxProblems = 100

// Check lets the engine verify its own files and returns what it finds wrong,
// in its words: SQLite its pages, indexes and foreign keys. PostgreSQL does
// that with tools of its own, so nothing is found there. It only reads.
func (d *DB) Check(ctx context.Context) ([]string, error) {
	if d.dialect != SQLite {
		return nil, nil
	}
	var problems []string
	if err := d.SelectContext(ctx, &problems, fmt.Sprintf(`PRAGMA integrity_check(%d)`, maxProblems)); err != nil {
		return nil, fmt.Errorf("checking the database file: %w", err)
	}
	if len(problems) == 1 && problems[0] == "ok" {
		problems = nil
	}
	var keys []struct {
		Table  string `db:"table"`
		RowID  *int64 `db:"rowid"`
		Parent string `db:"parent"`
		Key    int    `db:"fkid"`
	}
	if err := d.SelectContext(ctx, &keys, `PRAGMA foreign_key_check`); err != nil {
		return nil, fmt.Errorf("checking foreign keys: %w", err)
	}
	for _, k := range keys[:min(len(keys), maxProblems)] {
		problems = append(problems, fmt.Sprintf("a row of %s refers to %s, where nothing is", k.Table, k.Parent))
	}
	return problems, nil
}
