package db

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
)

// The ledger says which files of which service have been applied.
const ledger = `CREATE TABLE IF NOT EXISTS schema_ledger (
	service TEXT NOT NULL,
	version BIGINT NOT NULL,
	name TEXT NOT NULL,
	sha256 TEXT NOT NULL,
	applied BIGINT NOT NULL,
	PRIMARY KEY (service, version)
)`

// ledgerLock is PostgreSQL's advisory lock under which migrations take turns.
const ledgerLock = 0x5ea11f7

type migration struct {
	version           int
	name, sum, script string
}

// Migrate brings the tables of service up to date with the files
// schema/NNNN_NAME.sql of files, numbered from 0001 without a gap. All
// missing ones are applied in one transaction: after an error the tables are
// as before. Any number of processes may call it at once; each file is
// applied by one of them.
//
// It refuses a database that a newer program has migrated, and a file that
// was edited after it was applied. There is no way back down. One that was opened
// with [OpenToRead] is only looked at.
func Migrate(ctx context.Context, d *DB, service string, files fs.FS) error {
	err := migrate(ctx, d, service, files)
	if err != nil {
		return fmt.Errorf("migrating tables of %s: %w", service, err)
	}
	return nil
}

func migrate(ctx context.Context, d *DB, service string, files fs.FS) error {
	want, err := readMigrations(files)
	if err != nil {
		return err
	}
	if d.reads {
		return compare(ctx, d, service, want)
	}
	var have []string
	err = d.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if d.dialect == Postgres { // SQLite has one writer anyway
			if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, ledgerLock); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, ledger); err != nil {
			return err
		}
		have = nil
		err := tx.SelectContext(ctx, &have, `SELECT sha256 FROM schema_ledger WHERE service = $1 ORDER BY version`, service)
		if err != nil {
			return err
		}
		if err := sameFiles(have, want); err != nil {
			return err
		}
		for _, m := range want[len(have):] {
			if err := apply(ctx, tx, service, m); err != nil {
				return fmt.Errorf("applying %s: %w", m.name, err)
			}
		}
		return nil
	})
	if err == nil && len(have) == 0 {
		d.found(service, want)
	}
	return err
}

// sameFiles refuses what was applied by a newer program, or from other files.
func sameFiles(have []string, want []migration) error {
	if len(have) > len(want) {
		return fmt.Errorf("the database is at version %d, this program knows %d: run the newer program", len(have), len(want))
	}
	for i, sum := range have {
		if sum != want[i].sum {
			return fmt.Errorf("%s differs from what was applied", want[i].name)
		}
	}
	return nil
}

// apply runs a whole file; without arguments both drivers take several
// statements at once.
func apply(ctx context.Context, tx *sqlx.Tx, service string, m migration) error {
	if _, err := tx.ExecContext(ctx, m.script); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx,
		`INSERT INTO schema_ledger (service, version, name, sha256, applied) VALUES ($1, $2, $3, $4, $5)`,
		service, m.version, m.name, m.sum, time.Now().UnixMilli())
	return err
}

var migrationName = regexp.MustCompile(`^([0-9]{4})_[a-z0-9_]+\.sql$`)

func readMigrations(files fs.FS) ([]migration, error) {
	entries, err := fs.ReadDir(files, "schema") // sorted by name
	if err != nil {
		return nil, err
	}
	var list []migration
	for _, e := range entries {
		m := migrationName.FindStringSubmatch(e.Name())
		if m == nil {
			return nil, fmt.Errorf("schema/%s is not named NNNN_name.sql", e.Name())
		}
		if n, err := strconv.Atoi(m[1]); err != nil || n != len(list)+1 {
			return nil, fmt.Errorf("schema/%s should have number %04d", e.Name(), len(list)+1)
		}
		script, err := fs.ReadFile(files, "schema/"+e.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(script)
		list = append(list, migration{len(list) + 1, e.Name(), hex.EncodeToString(sum[:]), string(script)})
	}
	return list, nil
}
