package db

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lib/pq"
	"modernc.org/sqlite"
)

var (
	// ErrExists: a row with this key is already there.
	ErrExists = errors.New("row exists")
	// ErrNoRows: nothing matched. It is sql.ErrNoRows.
	ErrNoRows = sql.ErrNoRows
)

// Extended result codes of SQLite and SQLSTATEs of PostgreSQL.
const (
	sqliteBusy       = 5 // low byte of the extended codes
	sqlitePrimaryKey = 1555
	sqliteUnique     = 2067
	sqliteFull       = 13   // low byte of the extended codes
	sqliteShmSize    = 4874 // no room for the index of the write-ahead log
	pgUnique         = "23505"
	pgSerialization  = "40001"
	pgDeadlock       = "40P01"
	pgDiskFull       = "53100"
)

// Err makes the errors of both drivers alike: a violated primary key or
// unique index becomes [ErrExists], nothing found is [ErrNoRows]; everything
// else, nil too, is returned as it is. The driver's error stays in the chain.
func Err(err error) error {
	var pg *pq.Error
	if errors.As(err, &pg) && pg.Code == pgUnique {
		return fmt.Errorf("%w: %w", ErrExists, err)
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) && (lite.Code() == sqlitePrimaryKey || lite.Code() == sqliteUnique) {
		return fmt.Errorf("%w: %w", ErrExists, err)
	}
	return err
}

// IsFull reports whether there was no room for what was to be written. SQLite does
// not tell a quota that is used up from a disk that is broken; a full disk it does.
func IsFull(err error) bool {
	var pg *pq.Error
	if errors.As(err, &pg) {
		return pg.Code == pgDiskFull
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && (lite.Code()&0xff == sqliteFull || lite.Code() == sqliteShmSize)
}

// lostRace reports whether the same transaction may well succeed next time.
func lostRace(err error) bool {
	var pg *pq.Error
	return errors.As(err, &pg) && (pg.Code == pgSerialization || pg.Code == pgDeadlock)
}

func isBusy(err error) bool {
	var lite *sqlite.Error
	return errors.As(err, &lite) && lite.Code()&0xff == sqliteBusy
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }
