package otatuf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

type kind int

const (
	mark kind = iota // one character
	bareWord
	quotedName
	textValue
)

// token is a word of SQL.
type token struct {
	kind kind
	text string
}

func (t token) is(text string) bool { return t.kind == mark && t.text == text }

func (t token) word(w string) bool { return t.kind == bareWord && strings.EqualFold(t.text, w) }

// name tells whether it can be that of a table or column.
func (t token) name() bool { return t.kind == quotedName || t.kind == bareWord }

func (t token) number() bool {
	return t.text != "" && strings.Trim(t.text, "0123456789.+-") == ""
}

// lexer splits a dump into words. Comments are passed over, those that only some
// versions of the database read too.
type lexer struct {
	in    *bufio.Reader
	keep  int // bytes of one token
	line  int
	whole bool // the last thing read is the line that ends a whole dump
}

// lastLine begins the comment that mysqldump writes when it has written all.
const lastLine = "- Dump completed" // after the first character

func (l *lexer) read() (byte, error) {
	c, err := l.in.ReadByte()
	if c == '\n' && err == nil {
		l.line++
	}
	return c, err
}

func (l *lexer) peek() byte {
	if b, err := l.in.Peek(1); err == nil {
		return b[0]
	}
	return 0
}

// next returns the next token, io.EOF after the last.
func (l *lexer) next() (token, error) {
	t, err := l.token()
	if err == nil {
		l.whole = false
	}
	return t, err
}

func (l *lexer) token() (token, error) {
	for {
		c, err := l.read()
		if err != nil {
			return token{}, err
		}
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			continue
		case c == '#', c == '-' && l.peek() == '-':
			var text string
			text, err = l.comment("\n")
			l.whole = l.whole || strings.HasPrefix(text, lastLine)
		case c == '/' && l.peek() == '*':
			_, _ = l.read()
			_, err = l.comment("*/")
		case c == '\'' || c == '"':
			return l.quoted(c, textValue)
		case c == '`':
			return l.quoted(c, quotedName)
		case isWord(c):
			return l.bare(c)
		default:
			return token{mark, string(rune(c))}, nil
		}
		if err != nil {
			return token{}, err
		}
	}
}

// comment reads up to its end, which for a line may be that of the text, and
// returns its beginning.
func (l *lexer) comment(end string) (string, error) {
	var begin []byte
	seen := 0
	for seen < len(end) {
		c, err := l.read()
		if errors.Is(err, io.EOF) && end == "\n" {
			break
		}
		if errors.Is(err, io.EOF) {
			return "", fmt.Errorf("a comment does not end: %w", ErrDump)
		}
		if err != nil {
			return "", err
		}
		if len(begin) < len(lastLine) {
			begin = append(begin, c)
		}
		switch c {
		case end[seen]:
			seen++
		case end[0]:
			seen = 1
		default:
			seen = 0
		}
	}
	return string(begin), nil
}

// quoted reads to the quote that ends it. Two of them stand for one; in values a
// backslash has the meanings that mysqldump gives it.
func (l *lexer) quoted(quote byte, k kind) (token, error) {
	var b strings.Builder
	for {
		c, err := l.read()
		if errors.Is(err, io.EOF) {
			return token{}, fmt.Errorf("a quoted text does not end: %w", ErrDump)
		}
		if err != nil {
			return token{}, err
		}
		switch {
		case c == '\\' && k == textValue:
			if c, err = l.read(); err != nil {
				return token{}, fmt.Errorf("a quoted text does not end: %w", ErrDump)
			}
			c = escaped(c)
		case c == quote && l.peek() == quote:
			_, _ = l.read()
		case c == quote:
			return token{k, b.String()}, nil
		}
		if b.Len() >= l.keep {
			return token{}, fmt.Errorf("a value has more than %d bytes; dump only the tables that are asked for: %w", l.keep, ErrDump)
		}
		b.WriteByte(c)
	}
}

func escaped(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 't':
		return '\t'
	case 'r':
		return '\r'
	case '0':
		return 0
	case 'b':
		return '\b'
	case 'Z':
		return 26
	}
	return c
}

func (l *lexer) bare(first byte) (token, error) {
	b := []byte{first}
	for isWord(l.peek()) {
		c, err := l.read()
		if err != nil {
			return token{}, err
		}
		if b = append(b, c); len(b) > l.keep {
			return token{}, fmt.Errorf("a word has more than %d bytes: %w", l.keep, ErrDump)
		}
	}
	return token{bareWord, string(b)}, nil
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_.+-@$", c) >= 0 && c != 0 || c >= 0x80
}
