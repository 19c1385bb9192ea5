package dbtest

import (
	"context"
	"database/sql/driver"
	"errors"
	"os"
	"sync"
	"testing"

	"sealift/internal/db"
)

// ErrPower is what a database answers that has gone away.
var ErrPower = errors.New("the power is gone")

// Power is that of a database: it can go at the n-th step from now, a statement,
// a beginning or an end of a transaction. Safe for concurrent use.
type Power struct {
	mu   sync.Mutex
	left int // steps until it goes, -1 never
}

// Fail lets the power go after so many steps, and stay away. A negative number
// brings it back.
func (p *Power) Fail(after int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = after
}

func (p *Power) step() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		return ErrPower
	}
	if p.left > 0 {
		p.left--
	}
	return nil
}

// EachPowered runs fn as sub-tests of that name like [Each], with a database that
// can go away.
func EachPowered(t *testing.T, name string, fn func(*testing.T, *db.DB, *Power)) {
	t.Helper()
	t.Run(name+"/sqlite", func(t *testing.T) {
		d, p := Powered(t, SQLiteURL(t))
		fn(t, d, p)
	})
	if os.Getenv(EnvURL) != "" {
		t.Run(name+"/postgres", func(t *testing.T) {
			d, p := Powered(t, PostgresURL(t))
			fn(t, d, p)
		})
	}
}

// Powered opens the database at url on a supply of its own.
func Powered(t testing.TB, url string) (*db.DB, *Power) {
	t.Helper()
	p := &Power{left: -1}
	d, err := db.OpenThrough(t.Context(), url, func(c driver.Connector) driver.Connector { return poweredConnector{c, p} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d, p
}

type poweredConnector struct {
	driver.Connector
	power *Power
}

func (c poweredConnector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &poweredConn{raw.(engineConn), c.power}, nil
}

type poweredConn struct {
	engineConn
	power *Power
}

func (c *poweredConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if err := c.power.step(); err != nil {
		return nil, err
	}
	tx, err := c.engineConn.BeginTx(ctx, o)
	return poweredTx{tx, c.power}, err
}

func (c *poweredConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.power.step(); err != nil {
		return nil, err
	}
	return c.engineConn.PrepareContext(ctx, query)
}

func (c *poweredConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.power.step(); err != nil {
		return nil, err
	}
	return c.engineConn.ExecContext(ctx, query, args)
}

func (c *poweredConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.power.step(); err != nil {
		return nil, err
	}
	return c.engineConn.QueryContext(ctx, query, args)
}

// CheckNamedValue is the engine's own, where it has one.
func (c *poweredConn) CheckNamedValue(v *driver.NamedValue) error {
	if own, ok := c.engineConn.(driver.NamedValueChecker); ok {
		return own.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

type poweredTx struct {
	driver.Tx
	power *Power
}

func (t poweredTx) Commit() error {
	if err := t.power.step(); err != nil {
		_ = t.Tx.Rollback() // as the engine does when it comes back
		return err
	}
	return t.Tx.Commit()
}
