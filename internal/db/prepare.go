package db

import (
	"context"
	"database/sql/driver"
	"fmt"
)

const (
	// maxPrepared is how many statements a connection keeps.
	maxPrepared = 200
	// maxText is how long, in bytes, a statement may be that is kept: longer ones
	// are made up for so many rows and seldom come again.
	maxText = 4 << 10
)

// preparing makes connections that keep what they have prepared. To SQLite
// parsing a statement is more work than answering most of ours, to PostgreSQL
// it is a round trip more.
type preparing struct{ driver.Connector }

// engine is what the connections of both drivers offer and database/sql makes
// use of.
type engine interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// statement is what both drivers prepare.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

func (p preparing) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c, ok := raw.(engine)
	if !ok {
		_ = raw.Close()
		return nil, fmt.Errorf("connecting to database: %T offers too little", raw)
	}
	_, lite := p.Connector.(sqliteConnector)
	return &conn{engine: c, idle: map[string]statement{}, tidy: lite}, nil
}

// conn is used by one goroutine at a time, as every driver.Conn.
type conn struct {
	engine
	idle map[string]statement // by text; one that is under way is not here
	tidy bool                 // statements outlive the engine's connection unless they are closed
}

func lasting(query string, args []driver.NamedValue) bool {
	return len(args) > 0 && len(query) <= maxText
}

// take returns a statement for the caller alone.
func (c *conn) take(ctx context.Context, query string) (statement, error) {
	if s, ok := c.idle[query]; ok {
		delete(c.idle, query)
		return s, nil
	}
	raw, err := c.engine.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s, ok := raw.(statement)
	if !ok {
		_ = raw.Close()
		return nil, fmt.Errorf("preparing statement: %T offers too little", raw)
	}
	return s, nil
}

// keep takes a statement back. Of two of one text, and of more than there is
// room for, any is given up.
func (c *conn) keep(query string, s statement) {
	if other, ok := c.idle[query]; ok {
		_ = other.Close()
	}
	c.idle[query] = s
	for text, other := range c.idle {
		if len(c.idle) <= maxPrepared {
			break
		}
		delete(c.idle, text)
		_ = other.Close()
	}
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if !lasting(query, args) {
		return c.engine.ExecContext(ctx, query, args)
	}
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	result, err := s.ExecContext(ctx, args)
	if err != nil {
		_ = s.Close() // it may be what is wrong
		return nil, err
	}
	c.keep(query, s)
	return result, nil
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if !lasting(query, args) {
		return c.engine.QueryContext(ctx, query, args)
	}
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	found, err := s.QueryContext(ctx, args)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return &rows{Rows: found, conn: c, query: query, statement: s}, nil
}

// CheckNamedValue is the driver's own, where it has one.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if own, ok := c.engine.(driver.NamedValueChecker); ok {
		return own.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// Close gives up all statements first where they would keep the file open.
func (c *conn) Close() error {
	if c.tidy {
		for _, s := range c.idle {
			_ = s.Close()
		}
	}
	return c.engine.Close()
}

// rows gives its statement back in the end.
type rows struct {
	driver.Rows
	conn      *conn
	query     string
	statement statement // nil once it is given back
}

func (r *rows) Close() error {
	err := r.Rows.Close()
	s := r.statement
	if s == nil {
		return err
	}
	if r.statement = nil; err != nil {
		_ = s.Close()
		return err
	}
	r.conn.keep(r.query, s)
	return nil
}
