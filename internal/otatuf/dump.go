package otatuf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// What bounds a dump.
const (
	maxDump    = 4 << 30  // bytes
	maxValue   = 64 << 10 // bytes of one value
	maxColumns = 64
	maxRows    = 10_000_000
)

// row is one row of a table by its columns. NULL is absent.
type row map[string]string

// readDump calls take for every row of the named tables, in the order in which
// they stand. Columns are known from the INSERT itself or from the CREATE TABLE
// before it. Everything else in the dump is passed over, but the line that ends a
// whole one must be the last: rows that were cut off are missed by nobody else.
// Errors wrap ErrDump or are those of take.
func readDump(r io.Reader, tables []string, take func(table string, r row) error) error {
	d := &dump{lexer: lexer{in: bufio.NewReaderSize(io.LimitReader(r, maxDump), 64<<10), keep: maxValue}, columns: map[string][]string{}, take: take}
	d.wanted = map[string]bool{}
	for _, t := range tables {
		d.wanted[t] = true
	}
	for {
		err := d.statement()
		if errors.Is(err, io.EOF) && !d.whole {
			err = fmt.Errorf("the line -- Dump completed is not the last one: the dump was cut off, or made without comments: %w", ErrDump)
		} else if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a dump, line %d: %w", d.line+1, err)
		}
	}
}

type dump struct {
	lexer
	wanted  map[string]bool
	columns map[string][]string // of CREATE TABLE
	take    func(string, row) error
	rows    int
}

// statement reads one to its semicolon. io.EOF is the end before any.
func (d *dump) statement() error {
	t, err := d.next()
	if err != nil {
		return err
	}
	switch {
	case t.is(";"):
		return nil
	case t.word("INSERT"):
		return unexpectedEnd(d.insert())
	case t.word("CREATE"):
		return unexpectedEnd(d.create())
	}
	return unexpectedEnd(d.pass(t))
}

func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("it ends in the middle of a statement: %w", ErrDump)
	}
	return err
}

// pass reads to the end of the statement that t began, or is in.
func (d *dump) pass(t token) (err error) {
	for !t.is(";") {
		if t, err = d.next(); err != nil {
			return err
		}
	}
	return nil
}

// create notes the columns of CREATE TABLE `name` (`column` ..., KEY ..., ...).
func (d *dump) create() error {
	t, err := d.next()
	if err != nil || !t.word("TABLE") {
		return orPass(d, t, err)
	}
	if t, err = d.next(); err != nil {
		return err
	}
	for t.word("IF") || t.word("NOT") || t.word("EXISTS") {
		if t, err = d.next(); err != nil {
			return err
		}
	}
	name := t.text
	if !t.name() || !d.wanted[name] {
		return d.pass(t)
	}
	if err := d.expect("("); err != nil {
		return err
	}
	var list []string
	depth, begins := 1, true
	for depth > 0 {
		if t, err = d.next(); err != nil {
			return err
		}
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case t.is(";"):
			return fmt.Errorf("table %.64q ends early: %w", name, ErrDump)
		case begins && t.kind == quotedName:
			list = append(list, t.text)
		}
		begins = depth == 1 && t.is(",")
		if len(list) > maxColumns {
			return fmt.Errorf("table %.64q has too many columns: %w", name, ErrDump)
		}
	}
	d.columns[name] = list
	return d.pass(t)
}

func orPass(d *dump, t token, err error) error {
	if err != nil {
		return err
	}
	return d.pass(t)
}

// insert reads INSERT INTO `name` [(`column`, ...)] VALUES (...), (...);
func (d *dump) insert() error {
	t, err := d.next()
	for err == nil && (t.word("IGNORE") || t.word("INTO")) {
		t, err = d.next()
	}
	if err != nil || !t.name() || !d.wanted[t.text] {
		return orPass(d, t, err)
	}
	name := t.text
	columns := d.columns[name]
	if t, err = d.next(); err == nil && t.is("(") {
		if columns, err = d.names(); err == nil {
			t, err = d.next()
		}
	}
	if err != nil {
		return err
	}
	if !t.word("VALUES") {
		return fmt.Errorf("rows of %.64q do not follow VALUES: %w", name, ErrDump)
	}
	if len(columns) == 0 {
		return fmt.Errorf("the columns of %.64q are not named; dump with --complete-insert: %w", name, ErrDump)
	}
	for {
		r, err := d.values(columns)
		if err != nil {
			return err
		}
		if d.rows++; d.rows > maxRows {
			return fmt.Errorf("more than %d rows: %w", maxRows, ErrDump)
		}
		if err := d.take(name, r); err != nil {
			return err
		}
		if t, err = d.next(); err != nil {
			return err
		}
		if t.is(";") {
			return nil
		}
		if !t.is(",") {
			return fmt.Errorf("%.40q after a row of %.64q: %w", t.text, name, ErrDump)
		}
	}
}

// names reads names up to a closing parenthesis.
func (d *dump) names() (list []string, err error) {
	for len(list) <= maxColumns {
		t, err := d.next()
		if err != nil {
			return nil, err
		}
		if !t.name() {
			return nil, fmt.Errorf("%.40q is no name of a column: %w", t.text, ErrDump)
		}
		list = append(list, t.text)
		if t, err = d.next(); err != nil {
			return nil, err
		}
		if t.is(")") {
			return list, nil
		}
		if !t.is(",") {
			return nil, fmt.Errorf("%.40q between names of columns: %w", t.text, ErrDump)
		}
	}
	return nil, fmt.Errorf("too many columns: %w", ErrDump)
}

// values reads one row in parentheses.
func (d *dump) values(columns []string) (row, error) {
	if err := d.expect("("); err != nil {
		return nil, err
	}
	r := row{}
	for i, column := range columns {
		t, err := d.next()
		if err == nil && strings.HasPrefix(t.text, "_") && t.kind == bareWord { // _binary 'text'
			t, err = d.next()
		}
		if err != nil {
			return nil, err
		}
		switch {
		case t.kind == textValue, t.kind == bareWord && t.number():
			r[column] = t.text
		case t.word("NULL"):
		default:
			return nil, fmt.Errorf("%.40q is no value: %w", t.text, ErrDump)
		}
		end := ","
		if i == len(columns)-1 {
			end = ")"
		}
		if err := d.expect(end); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (d *dump) expect(text string) error {
	t, err := d.next()
	if err == nil && !t.is(text) {
		err = fmt.Errorf("%.40q where %q is expected: %w", t.text, text, ErrDump)
	}
	return err
}
