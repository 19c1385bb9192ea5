package diskblob

import (
	"encoding/hex"
	"strings"
)

// encode returns the path of a key below the folder. Different keys have
// different paths, no segment of a path is empty, "." or "..", and none
// begins with a dot: such names are ours.
func encode(key string) string {
	segs := strings.Split(key, "/")
	for i, s := range segs {
		segs[i] = encodeSegment(s)
	}
	return strings.Join(segs, "/")
}

// empty stands for a segment without characters; an escape is never shorter
// than three.
const empty = "%"

func encodeSegment(s string) string {
	if s == "" {
		return empty
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f || c == '%' || c == '.' && i == 0 {
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// decodeSegment reverses encodeSegment; false means that it never returns
// this name.
func decodeSegment(name string) (string, bool) {
	if name == empty {
		return "", true
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			b.WriteByte(name[i])
			continue
		}
		if i+3 > len(name) {
			return "", false
		}
		c, err := hex.DecodeString(name[i+1 : i+3])
		if err != nil {
			return "", false
		}
		b.WriteByte(c[0])
		i += 2
	}
	return b.String(), encodeSegment(b.String()) == name
}
