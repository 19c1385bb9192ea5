package canonical

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrSyntax is wrapped by every error of the reader. The others are wrapped,
// too, where JSON that many readers take is refused because not all take it the
// same way.
var (
	ErrSyntax = errors.New("not acceptable JSON")
	// ErrTwice: an object has a member twice.
	ErrTwice = errors.New("a member twice")
	// ErrCase: an object has members whose names differ in case only.
	ErrCase = errors.New("members that differ in case only")
	// ErrNumber: a number is no integer of 64 bits.
	ErrNumber = errors.New("no integer of 64 bits")
	// ErrText: a string holds a character that it must not.
	ErrText = errors.New("a character that is not allowed")
)

// maxDepth bounds nesting where Options does not.
const maxDepth = 64

// Options says how strict the reader is. The zero value suits what devices
// sign: any Unicode text, integers only.
type Options struct {
	// ASCII refuses any character above 0x7e. Signed metadata needs it, because
	// signing tools disagree on how to write the others.
	ASCII bool
	// Free is for JSON that is stored and shown but never verified: numbers may
	// have any form and are kept as they are spelt, and members may differ in
	// case only.
	Free bool
	// MaxDepth bounds the nesting of arrays and objects; 0 means 64.
	MaxDepth int
	// MaxValues bounds how many values there are in all: each takes some sixty
	// times the two bytes it may be written in. 0 is no bound.
	MaxValues int
}

// Parse reads one JSON value that fills raw. Any error wraps ErrSyntax and
// names the byte offset.
func Parse(raw []byte, o Options) (Value, error) {
	if o.MaxDepth == 0 {
		o.MaxDepth = maxDepth
	}
	p := parser{in: raw, o: o}
	p.space()
	v, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	p.space()
	if p.pos != len(p.in) {
		return Value{}, p.fail("data after the value")
	}
	return v, nil
}

// Normalize parses raw and returns it as Value.Uptane writes it.
func Normalize(raw []byte, o Options) ([]byte, error) {
	v, err := Parse(raw, o)
	if err != nil {
		return nil, err
	}
	return v.Uptane(), nil
}

type parser struct {
	in     []byte
	pos    int
	o      Options
	values int
	open   []Member // of the objects that have not ended, outermost first
}

func (p *parser) fail(why string) error {
	return fmt.Errorf("reading JSON at byte %d: %s: %w", p.pos, why, ErrSyntax)
}

// failAs is fail for what has a name of its own.
func (p *parser) failAs(what error, why string) error {
	return fmt.Errorf("reading JSON at byte %d: %s: %w: %w", p.pos, why, what, ErrSyntax)
}

func (p *parser) space() {
	for p.pos < len(p.in) && strings.IndexByte(" \t\r\n", p.in[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *parser) peek() byte {
	if p.pos == len(p.in) {
		return 0
	}
	return p.in[p.pos]
}

func (p *parser) value(depth int) (Value, error) {
	if p.values++; p.o.MaxValues > 0 && p.values > p.o.MaxValues {
		return Value{}, p.fail("too many values")
	}
	switch c := p.peek(); {
	case c == '{' || c == '[':
		if depth == p.o.MaxDepth {
			return Value{}, p.fail("nested too deeply")
		}
		p.pos++
		if c == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case c == '"':
		s, err := p.str()
		return Value{kind: String, text: s}, err
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	case c == 't':
		return Value{kind: Bool, text: "true"}, p.word("true")
	case c == 'f':
		return Value{kind: Bool}, p.word("false")
	case c == 'n':
		return Value{}, p.word("null")
	}
	return Value{}, p.fail("no value here")
}

func (p *parser) word(w string) error {
	if !strings.HasPrefix(string(p.in[p.pos:min(len(p.in), p.pos+len(w))]), w) {
		return p.fail("no value here")
	}
	p.pos += len(w)
	return nil
}

func (p *parser) array(depth int) (Value, error) {
	v := Value{kind: Array}
	for {
		p.space()
		if p.peek() == ']' && len(v.items) == 0 {
			p.pos++
			return v, nil
		}
		item, err := p.value(depth)
		if err != nil {
			return Value{}, err
		}
		v.items = append(v.items, item)
		more, err := p.next(']')
		if err != nil || !more {
			return v, err
		}
	}
}

func (p *parser) object(depth int) (Value, error) {
	v := Value{kind: Object}
	first := len(p.open)
	for {
		p.space()
		if p.peek() == '}' && len(p.open) == first {
			p.pos++
			return v, nil
		}
		if p.peek() != '"' {
			return Value{}, p.fail("no member name here")
		}
		name, err := p.str()
		if err != nil {
			return Value{}, err
		}
		p.space()
		if p.peek() != ':' {
			return Value{}, p.fail("no colon after a member name")
		}
		p.pos++
		p.space()
		x, err := p.value(depth)
		if err != nil {
			return Value{}, err
		}
		p.open = append(p.open, Member{name, x})
		more, err := p.next('}')
		if err != nil {
			return Value{}, err
		}
		if !more {
			v.members = slices.Clone(p.open[first:]) // as long as it must be
			p.open = p.open[:first]
			return v, p.arrange(v.members)
		}
	}
}

// next passes a comma or the closing bracket and tells whether more follows.
func (p *parser) next(closing byte) (bool, error) {
	p.space()
	c := p.peek()
	if c != ',' && c != closing || p.pos == len(p.in) {
		return false, p.fail("neither a comma nor the end of an array or object")
	}
	p.pos++
	return c == ',', nil
}

// arrange sorts the members and refuses names that any reader might take for
// one another: many match member names without regard to case.
func (p *parser) arrange(members []Member) error {
	byName := func(a, b Member) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(members, byName) {
		slices.SortFunc(members, byName)
	}
	for i := 1; i < len(members); i++ {
		if members[i].Name == members[i-1].Name {
			return p.failAs(ErrTwice, fmt.Sprintf("member %q occurs twice", members[i].Name))
		}
	}
	if p.o.Free || len(members) < 2 {
		return nil
	}
	return p.caseTwins(members)
}

// fewMembers is up to which number comparing every two names costs less than a
// map of them.
const fewMembers = 12

func (p *parser) caseTwins(members []Member) error {
	if len(members) <= fewMembers {
		for i, m := range members {
			for _, other := range members[:i] {
				if strings.EqualFold(m.Name, other.Name) {
					return p.failAs(ErrCase, fmt.Sprintf("members %q and %q differ in case only", other.Name, m.Name))
				}
			}
		}
		return nil
	}
	seen := make(map[string]string, len(members))
	for _, m := range members {
		key := fold(m.Name)
		if other, ok := seen[key]; ok {
			return p.failAs(ErrCase, fmt.Sprintf("members %q and %q differ in case only", other, m.Name))
		}
		seen[key] = m.Name
	}
	return nil
}

// fold maps names that differ only in case (as encoding/json sees it) to one.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && !('a' <= r && r <= 'z') {
			return r
		}
		for next := unicode.SimpleFold(r); ; next = unicode.SimpleFold(next) {
			if next <= r { // the orbit wrapped around: this is its smallest rune
				return next
			}
			r = next
		}
	}, s)
}

func (p *parser) number() (Value, error) {
	start := p.pos
	digits := func() int {
		from := p.pos
		for p.peek() >= '0' && p.peek() <= '9' {
			p.pos++
		}
		return p.pos - from
	}
	if p.peek() == '-' {
		p.pos++
	}
	whole := p.pos
	if n := digits(); n == 0 || n > 1 && p.in[whole] == '0' {
		return Value{}, p.fail("a number has no digits or a leading zero")
	}
	plain := true
	if p.peek() == '.' {
		plain = false
		p.pos++
		if digits() == 0 {
			return Value{}, p.fail("a number ends in a point")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		plain = false
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		if digits() == 0 {
			return Value{}, p.fail("a number has an empty exponent")
		}
	}
	text := string(p.in[start:p.pos])
	if p.o.Free {
		return Value{kind: Number, text: text}, nil
	}
	if !plain {
		return Value{}, p.failAs(ErrNumber, "only integers are allowed")
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return Value{}, p.failAs(ErrNumber, "an integer does not fit 64 bits")
	}
	return Int(n), nil // writes -0 as 0
}
