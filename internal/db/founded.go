package db

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"
)

var createTable = regexp.MustCompile(`(?mi)^CREATE TABLE (\w+)`)

// found remembers that this DB made the first tables of a service.
func (d *DB) found(service string, files []migration) {
	var tables []string
	for _, m := range files {
		for _, name := range createTable.FindAllStringSubmatch(m.script, -1) {
			tables = append(tables, name[1])
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.founded == nil {
		d.founded = map[string][]string{}
	}
	d.founded[service] = tables
}

// DropFounded takes back what [Migrate] made of nothing through this DB: the tables
// of services that had none before, with all that is in them. Tables that were there
// stay. It is for a server that could not be founded after all, whose keys are gone.
func (d *DB) DropFounded(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		for _, service := range slices.Sorted(maps.Keys(d.founded)) {
			for _, table := range slices.Backward(d.founded[service]) { // some refer to those before them
				if _, err := tx.ExecContext(ctx, `DROP TABLE IF EXISTS `+table); err != nil {
					return err
				}
			}
			if _, err := tx.ExecContext(ctx, `DELETE FROM schema_ledger WHERE service = $1`, service); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("taking back the tables of %s: %w", strings.Join(slices.Sorted(maps.Keys(d.founded)), ", "), err)
	}
	d.founded = nil
	return nil
}
