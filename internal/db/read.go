package db

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"strings"
)

// errBehind: who only reads does not migrate, least of all under a server that runs.
var errBehind = errors.New("an older program made the tables: start the server once with this one")

// OpenToRead is [Open] of a database that is there, for reading alone, beside a
// server that may run on it: whatever would write fails, and [Migrate] only looks
// whether the tables are those of this program.
func OpenToRead(ctx context.Context, url string) (*DB, error) {
	path, isFile := strings.CutPrefix(url, "sqlite:")
	if isFile {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("opening database: %w", err)
		}
	}
	forbid := `SET default_transaction_read_only = on`
	if isFile {
		forbid = `PRAGMA query_only = 1`
	}
	d, err := OpenThrough(ctx, url, func(c driver.Connector) driver.Connector { return reading{c, forbid} })
	if err == nil {
		d.reads = true
	}
	return d, err
}

// reading makes connections that cannot write.
type reading struct {
	driver.Connector
	forbid string
}

func (r reading) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := r.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	e, ok := c.(driver.ExecerContext)
	if !ok {
		err = fmt.Errorf("connecting to database: %T offers too little", c)
	} else {
		_, err = e.ExecContext(ctx, r.forbid, nil)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// compare looks whether the files of a service have been applied.
func compare(ctx context.Context, d *DB, service string, want []migration) error {
	var have []string
	if err := d.SelectContext(ctx, &have, `SELECT sha256 FROM schema_ledger WHERE service = $1 ORDER BY version`, service); err != nil {
		return err
	}
	if err := sameFiles(have, want); err != nil {
		return err
	}
	if len(have) < len(want) {
		return errBehind
	}
	return nil
}
