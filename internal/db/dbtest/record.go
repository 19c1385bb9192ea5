package dbtest

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync"
	"testing"

	"sealift/internal/db"
)

// Begin is the text of the [Statement] that a transaction begins with.
const Begin = "BEGIN"

// Statement is what an engine was asked to do.
type Statement struct {
	Text  string
	Args  []any
	Whose string // what the recorder's owner calls who asked
}

// Recorder notes every statement. Safe for concurrent use.
type Recorder struct {
	whose func(context.Context) string
	mu    sync.Mutex
	list  []Statement
}

// Take returns what was noted since the last call.
func (r *Recorder) Take() []Statement {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	return list
}

func (r *Recorder) note(ctx context.Context, text string, args []driver.NamedValue) {
	s := Statement{Text: text, Whose: r.whose(ctx)}
	for _, a := range args {
		s.Args = append(s.Args, a.Value)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, s)
}

// Recorded opens the database at url, as [SQLiteURL] and [PostgresURL] give it,
// with a Recorder between it and its engine. The function names who asks.
func Recorded(t testing.TB, url string, whose func(context.Context) string) (*db.DB, *Recorder) {
	t.Helper()
	r := &Recorder{whose: whose}
	d, err := db.OpenThrough(t.Context(), url, func(c driver.Connector) driver.Connector { return connector{c, r} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d, r
}

type connector struct {
	driver.Connector
	recorder *Recorder
}

// engineConn is what both drivers offer and database/sql makes use of.
type engineConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	engine, ok := raw.(engineConn)
	if !ok {
		_ = raw.Close()
		return nil, fmt.Errorf("recording statements: %T offers too little", raw)
	}
	return &conn{engine, c.recorder}, nil
}

// conn notes what passes. Statements prepared ahead count when they are prepared.
type conn struct {
	engineConn
	recorder *Recorder
}

func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.recorder.note(ctx, Begin, nil)
	return c.engineConn.BeginTx(ctx, o)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.recorder.note(ctx, query, nil)
	return c.engineConn.PrepareContext(ctx, query)
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.recorder.note(ctx, query, args)
	return c.engineConn.ExecContext(ctx, query, args)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.recorder.note(ctx, query, args)
	return c.engineConn.QueryContext(ctx, query, args)
}

// CheckNamedValue is the engine's own, where it has one.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if own, ok := c.engineConn.(driver.NamedValueChecker); ok {
		return own.CheckNamedValue(v)
	}
	return driver.ErrSkip
}
