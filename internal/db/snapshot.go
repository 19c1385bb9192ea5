package db

import (
	"context"
	"database/sql"
	"fmt"
	"os"
)

// Snapshot writes an SQLite database as it is at one moment into a new file of
// its own, while others go on writing: it only reads, beside them. The file to
// must not exist; it is not on disk for sure before somebody syncs it.
func Snapshot(ctx context.Context, from, to string) error {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // SQLite would let everybody read it
	if err != nil {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	pool := sql.OpenDB(sqliteConnector{fileURI(from) + "?mode=ro&_pragma=busy_timeout(10000)"})
	defer func() { _ = pool.Close() }()
	if _, err := pool.ExecContext(ctx, `VACUUM INTO $1`, to); err != nil {
		return fmt.Errorf("taking a snapshot of %s: %w", from, err)
	}
	return nil
}
