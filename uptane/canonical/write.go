package canonical

import "unicode/utf8"

const hexDigits = "0123456789abcdef"

// Uptane returns v as jsoncpp writes it, which is what Uptane clients sign,
// verify and hash: no white space, control characters and everything above
// ASCII escaped. It is valid JSON and therefore also what is stored and served.
func (v Value) Uptane() []byte { return v.append(make([]byte, 0, v.size()), appendEscaped) }

// TUF returns v in OLPC canonical form, which is what TUF clients sign and
// verify: only quotes and backslashes are escaped. It is not valid JSON when a
// string holds a control character, as every PEM text does: never serve it.
func (v Value) TUF() []byte { return v.append(make([]byte, 0, v.size()), appendRaw) }

// size is how many bytes v takes when it is written and nothing is escaped.
func (v Value) size() int {
	n := len(v.text) + len(`""`)
	for _, item := range v.items {
		n += item.size() + len(",")
	}
	for _, m := range v.members {
		n += len(m.Name) + len(`"":,`) + m.Value.size()
	}
	return n
}

func (v Value) append(b []byte, str func([]byte, string) []byte) []byte {
	switch v.kind {
	case Bool:
		if v.text == "true" {
			return append(b, "true"...)
		}
		return append(b, "false"...)
	case Number:
		return append(b, v.text...)
	case String:
		return str(b, v.text)
	case Array:
		b = append(b, '[')
		for i, item := range v.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.append(b, str)
		}
		return append(b, ']')
	case Object:
		b = append(b, '{')
		for i, m := range v.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(str(b, m.Name), ':')
			b = m.Value.append(b, str)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

func appendRaw(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

func appendEscaped(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			b = appendRune(b, r)
			i += size
			continue
		}
		i++
		if short := shortEscape(c); short != 0 {
			b = append(b, '\\', short)
		} else if c < 0x20 {
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// shortEscape is the letter behind the backslash, 0 when there is none. The
// solidus and 0x7f stand for themselves.
func shortEscape(c byte) byte {
	switch c {
	case '"', '\\':
		return c
	case '\b':
		return 'b'
	case '\f':
		return 'f'
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	case '\t':
		return 't'
	}
	return 0
}

func appendRune(b []byte, r rune) []byte {
	if r >= 0x10000 {
		r -= 0x10000
		return appendUnit(appendUnit(b, 0xd800+r>>10), 0xdc00+r&0x3ff)
	}
	return appendUnit(b, r)
}

func appendUnit(b []byte, u rune) []byte {
	return append(b, '\\', 'u', hexDigits[u>>12&15], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
}
