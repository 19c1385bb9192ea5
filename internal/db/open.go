package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"modernc.org/sqlite"
)

// Pool sizes. SQLite readers are bounded by cores, not by connections.
const (
	sqliteReaders = 8
	pgConns       = 24
	pgIdle        = 8
	pgLife        = 30 * time.Minute
)

// sqliteOptions: the busy timeout comes first, so that setting the others
// waits for another process; FULL because a 200 means on disk.
const sqliteOptions = "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)" +
	"&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_txlock=immediate"

func openSQLite(path string, through func(driver.Connector) driver.Connector) (*DB, error) {
	if path == "" || strings.Contains(path, ":memory:") {
		return nil, errors.New("naming a file is required for sqlite")
	}
	// SQLite would create the file readable for everyone; its -wal and -shm
	// files take over the mode of this one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	dsn := fileURI(path) + "?" + sqliteOptions
	// sqlx does not know this driver; it takes $1 as PostgreSQL does.
	sqlx.BindDriver("sqlite", sqlx.DOLLAR)
	read := sqlx.NewDb(sql.OpenDB(through(sqliteConnector{dsn})), "sqlite")
	read.SetMaxOpenConns(sqliteReaders)
	read.SetMaxIdleConns(sqliteReaders)
	write := sqlx.NewDb(sql.OpenDB(through(sqliteConnector{dsn})), "sqlite")
	write.SetMaxOpenConns(1)
	return &DB{DB: read, write: write, dialect: SQLite}, nil
}

// fileURI is a path as SQLite takes it with options behind.
func fileURI(path string) string {
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

// sqliteConnector retries while another connection turns a new file into
// WAL mode: SQLite answers "busy" there without minding its busy timeout.
type sqliteConnector struct{ dsn string }

func (c sqliteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	wait := firstWait
	for try := 1; ; try++ {
		conn, err := c.Driver().Open(c.dsn)
		if err == nil || try == maxTries || !isBusy(err) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(jitter(wait)):
			wait *= 2
		}
	}
}

func (c sqliteConnector) Driver() driver.Driver { return &sqlite.Driver{} }

func openPostgres(dsn string, through func(driver.Connector) driver.Connector) (*DB, error) {
	cfg, err := pq.NewConfig(dsn)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) { // its text is the whole URL, password included
			err = u.Err
		}
		return nil, fmt.Errorf("reading its address: %w", err)
	}
	if cfg.SSLMode == "" {
		cfg.SSLMode = pq.SSLModeVerifyFull
	}
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, err
	}
	pool := sqlx.NewDb(sql.OpenDB(through(connector)), "postgres")
	pool.SetMaxOpenConns(pgConns)
	pool.SetMaxIdleConns(pgIdle)
	pool.SetConnMaxLifetime(pgLife)
	return &DB{DB: pool, write: pool, dialect: Postgres}, nil
}
