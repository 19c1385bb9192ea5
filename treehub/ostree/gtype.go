package ostree

import "strings"

const (
	maxDepth   = 64  // nesting of types and of values
	maxTypeLen = 255 // characters of a type that outside bytes may name
)

// gtype is one GVariant type, parsed.
type gtype struct {
	sig   string
	kind  byte     // first character of sig
	align int      // 1, 2, 4 or 8
	size  int      // bytes of every value, 0 if values differ in size
	plain bool     // of fixed size, and every byte sequence of that size is a value
	sub   []*gtype // element of a and m, members of ( and {
}

// parseType reads a type that stands alone.
func parseType(sig string) (*gtype, error) {
	if len(sig) > maxTypeLen {
		return nil, broken("gvariant_type", "a type has more than %d characters", maxTypeLen)
	}
	t, rest, err := nextType(sig, 0)
	if err == nil && rest != "" {
		err = broken("gvariant_type", "a value has more than one type")
	}
	return t, err
}

// builtinType is parseType for the types of the OSTree format itself.
func builtinType(sig string) *gtype {
	t, err := parseType(sig)
	if err != nil {
		panic(err)
	}
	return t
}

// nextType reads the type sig begins with and returns what follows it.
func nextType(sig string, depth int) (*gtype, string, error) {
	if depth > maxDepth {
		return nil, "", broken("gvariant_too_deep", "a type is nested more than %d deep", maxDepth)
	}
	if sig == "" {
		return nil, "", broken("gvariant_type", "a type is incomplete")
	}
	kind, rest := sig[0], sig[1:]
	t := &gtype{kind: kind}
	var err error
	switch kind {
	case 'a', 'm':
		var elem *gtype
		elem, rest, err = nextType(rest, depth+1)
		if err != nil {
			return nil, "", err
		}
		t.align, t.sub = elem.align, []*gtype{elem}
	case '(', '{':
		rest, err = t.members(rest, depth+1)
		if err != nil {
			return nil, "", err
		}
		t.layout()
	default:
		t.align, t.size, t.plain = basic(kind)
		if t.align == 0 {
			return nil, "", broken("gvariant_type", "a type has the unknown character %q", kind)
		}
	}
	t.sig = sig[:len(sig)-len(rest)]
	return t, rest, nil
}

// basic returns alignment 0 for what is no type without members.
func basic(kind byte) (align, size int, plain bool) {
	switch kind {
	case 'y':
		return 1, 1, true
	case 'b':
		return 1, 1, false
	case 'n', 'q':
		return 2, 2, true
	case 'i', 'u', 'h':
		return 4, 4, true
	case 'x', 't', 'd':
		return 8, 8, true
	case 's', 'o', 'g':
		return 1, 0, false
	case 'v':
		return 8, 0, false
	}
	return 0, 0, false
}

// members reads the members of a tuple or a dictionary entry up to its bracket.
func (t *gtype) members(sig string, depth int) (rest string, err error) {
	end := byte(')')
	if t.kind == '{' {
		end = '}'
	}
	for sig == "" || sig[0] != end {
		var m *gtype
		if m, sig, err = nextType(sig, depth); err != nil {
			return "", err
		}
		t.sub = append(t.sub, m)
	}
	if t.kind == '{' && (len(t.sub) != 2 || !strings.ContainsRune("ybnqiuhxtdsog", rune(t.sub[0].kind))) {
		return "", broken("gvariant_type", "a dictionary entry is a basic key and a value")
	}
	return sig[1:], nil
}

// layout derives alignment and size of a tuple from its members.
func (t *gtype) layout() {
	t.align, t.plain = 1, true
	size, fixed := 0, true
	for _, m := range t.sub {
		t.align = max(t.align, m.align)
		fixed = fixed && m.size > 0
		start := aligned(size, m.align)
		t.plain = t.plain && m.plain && start == size // padding must be zero
		size = start + m.size
	}
	if !fixed {
		t.plain = false
		return
	}
	t.size = max(1, aligned(size, t.align)) // the empty tuple is one zero byte
	t.plain = t.plain && t.size == size
}

func aligned(n, align int) int { return (n + align - 1) &^ (align - 1) }
