package canonical

import (
	"unicode/utf16"
	"unicode/utf8"
)

// str reads a string; p stands on the opening quote.
func (p *parser) str() (string, error) {
	p.pos++
	start := p.pos
	for p.pos < len(p.in) {
		switch c := p.in[p.pos]; {
		case c == '"':
			s := string(p.in[start:p.pos])
			p.pos++
			return s, p.text(s)
		case c == '\\':
			return p.escaped(append([]byte(nil), p.in[start:p.pos]...))
		case c < 0x20:
			return "", p.fail("a control character in a string")
		}
		p.pos++
	}
	return "", p.fail("a string has no end")
}

// escaped reads on from the first backslash of a string.
func (p *parser) escaped(b []byte) (string, error) {
	for p.pos < len(p.in) {
		c := p.in[p.pos]
		if c < 0x20 {
			return "", p.fail("a control character in a string")
		}
		p.pos++
		switch c {
		case '"':
			return string(b), p.text(string(b))
		case '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, c)
		}
	}
	return "", p.fail("a string has no end")
}

// escape reads what follows a backslash.
func (p *parser) escape() (rune, error) {
	c := p.peek()
	p.pos = min(p.pos+1, len(p.in))
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		r, ok := p.unit()
		if ok && utf16.IsSurrogate(r) {
			var low rune
			if ok = p.peek() == '\\' && p.pos+1 < len(p.in) && p.in[p.pos+1] == 'u'; ok {
				p.pos += 2
				low, ok = p.unit()
			}
			r = utf16.DecodeRune(r, low)
			ok = ok && r != utf8.RuneError
		}
		if !ok {
			return 0, p.fail("a broken \\u escape")
		}
		return r, nil
	}
	return 0, p.fail("an unknown escape")
}

// unit reads the four hex digits of a \u escape.
func (p *parser) unit() (rune, bool) {
	if len(p.in)-p.pos < 4 {
		return 0, false
	}
	var r rune
	for _, c := range p.in[p.pos : p.pos+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	p.pos += 4
	return r, true
}

// text refuses what no string may hold. U+0000 is refused because databases and
// C programs end strings there.
func (p *parser) text(s string) error {
	ascii := true
	for i := 0; i < len(s); i++ {
		if s[i] == 0 {
			return p.failAs(ErrText, "U+0000 in a string")
		}
		ascii = ascii && s[i] < 0x7f
	}
	if p.o.ASCII && !ascii {
		return p.failAs(ErrText, "a character that is not ASCII")
	}
	if !ascii && !utf8.ValidString(s) {
		return p.failAs(ErrText, "a string that is not UTF-8")
	}
	return nil
}
