// Package db opens the one database all services share, SQLite or PostgreSQL,
// and evens out what differs between the two: transactions, migrations and
// the errors of the drivers. The drivers are linked here and nowhere else.
//
// Statements are written once for both engines: placeholders $1, $2; column
// types TEXT, BIGINT, BOOLEAN and BYTEA; times in Unix milliseconds; JSON as
// TEXT. After sqlx.In, whose placeholders are question marks, call
// [DB.Rebind]. Text must be valid UTF-8 without NUL: PostgreSQL refuses
// anything else, so check what comes from outside before it gets here.
//
// # Transactions
//
// Everything that belongs together runs in [DB.Tx]; a lone read or a lone
// write needs none. On SQLite writers queue for one connection while readers
// go on undisturbed, and a committed transaction is on disk. On PostgreSQL a
// statement that fails makes the whole transaction fail: to meet a row that
// may exist, write ON CONFLICT, or let Tx return [ErrExists] and read again
// outside.
package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

// Dialect names an engine. Statements seldom need to ask.
type Dialect string

// The two engines.
const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
)

// DB is an open database. Its methods are safe for concurrent use.
type DB struct {
	*sqlx.DB
	write   *sqlx.DB // SQLite: a pool of one; PostgreSQL: the same as DB
	dialect Dialect
	reads   bool // and never writes

	mu      sync.Mutex
	founded map[string][]string // services whose first tables it made -> the tables
}

var dsnWord = regexp.MustCompile(`^\s*[a-z_]+\s*=`)

// Open connects to the database that url names and checks that it answers:
//
//	sqlite:PATH, or a bare path     a file, created with mode 0600
//	postgres://USER@HOST/NAME       PostgreSQL
//	host=/run/postgresql dbname=x   PostgreSQL, words of libpq
//
// Over TCP the PostgreSQL server's certificate is verified unless url says
// otherwise with sslmode. Errors never repeat a password out of url.
func Open(ctx context.Context, url string) (*DB, error) {
	return OpenThrough(ctx, url, func(c driver.Connector) driver.Connector { return c })
}

// OpenThrough is [Open] with every connection made by what through returns for
// the engine's own connector, so that somebody can watch what passes.
func OpenThrough(ctx context.Context, url string, through func(driver.Connector) driver.Connector) (*DB, error) {
	outermost := through
	through = func(c driver.Connector) driver.Connector { return outermost(preparing{c}) }
	var d *DB
	var err error
	path, isFile := strings.CutPrefix(url, "sqlite:")
	switch {
	case isFile:
		d, err = openSQLite(path, through)
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"), dsnWord.MatchString(url):
		d, err = openPostgres(url, through)
	default:
		d, err = openSQLite(url, through)
	}
	if err != nil {
		return nil, fmt.Errorf("opening database: %w", err)
	}
	if err := d.PingContext(ctx); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("opening database: %w", err)
	}
	return d, nil
}

// Dialect returns which engine this is.
func (d *DB) Dialect() Dialect { return d.dialect }

// Close closes all connections. Transactions under way fail.
func (d *DB) Close() error {
	err := d.DB.Close()
	if d.write != d.DB {
		err = errors.Join(d.write.Close(), err)
	}
	return err
}

// Two bugs of ours. On SQLite the inner writer would wait for the outer one for
// ever, so it is refused on both engines. Who reads on another connection does not
// see what the transaction wrote, and as many of them as there are connections wait
// for one another for ever.
var (
	errNested  = errors.New("writing outside the transaction at hand: use its *sqlx.Tx")
	errOutside = errors.New("reading outside the transaction at hand: use its *sqlx.Tx")
)

type inTx struct{}

func nested(ctx context.Context) bool { return ctx.Value(inTx{}) != nil }

// ExecContext runs one statement on its own. It fails inside the function of
// a [DB.Tx] whose context it is given.
func (d *DB) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if nested(ctx) {
		return nil, errNested
	}
	return d.write.ExecContext(ctx, query, args...)
}

// NamedExecContext is [DB.ExecContext] with sqlx's named parameters.
func (d *DB) NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error) {
	if nested(ctx) {
		return nil, errNested
	}
	return d.write.NamedExecContext(ctx, query, arg)
}

// GetContext reads one row, as sqlx does. It fails inside the function of a
// [DB.Tx] whose context it is given, as its sisters do.
func (d *DB) GetContext(ctx context.Context, dest any, query string, args ...any) error {
	if nested(ctx) {
		return errOutside
	}
	return d.DB.GetContext(ctx, dest, query, args...)
}

// SelectContext reads all rows.
func (d *DB) SelectContext(ctx context.Context, dest any, query string, args ...any) error {
	if nested(ctx) {
		return errOutside
	}
	return d.DB.SelectContext(ctx, dest, query, args...)
}

// QueryxContext reads row by row.
func (d *DB) QueryxContext(ctx context.Context, query string, args ...any) (*sqlx.Rows, error) {
	if nested(ctx) {
		return nil, errOutside
	}
	return d.DB.QueryxContext(ctx, query, args...)
}

// QueryRowxContext reads one row; what is wrong is told when it is scanned.
func (d *DB) QueryRowxContext(ctx context.Context, query string, args ...any) *sqlx.Row {
	if nested(ctx) {
		dead, cancel := context.WithCancel(ctx)
		cancel()
		ctx = dead
	}
	return d.DB.QueryRowxContext(ctx, query, args...)
}

const (
	maxTries  = 10
	firstWait = 2 * time.Millisecond
)

// Tx runs fn in one transaction and commits when fn returns nil; any error or
// panic of fn rolls back and is passed on. On PostgreSQL a transaction that
// lost against another (serialization failure, deadlock) is run again, so fn
// may be called several times and must keep its effects inside tx.
//
// Hand the context fn receives to whatever fn calls: a second Tx, a lone write or
// a lone read under it fails instead of waiting for itself.
func (d *DB) Tx(ctx context.Context, fn func(ctx context.Context, tx *sqlx.Tx) error) error {
	if nested(ctx) {
		return errNested
	}
	wait := firstWait
	for try := 1; ; try++ {
		err := d.tryTx(ctx, fn)
		if err == nil || try == maxTries || !lostRace(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(jitter(wait)):
			wait *= 2
		}
	}
}

func (d *DB) tryTx(ctx context.Context, fn func(context.Context, *sqlx.Tx) error) error {
	tx, err := d.write.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning transaction: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if err := fn(context.WithValue(ctx, inTx{}, true), tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing transaction: %w", err)
	}
	return nil
}
