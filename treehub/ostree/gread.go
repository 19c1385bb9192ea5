package ostree

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"unicode/utf8"
)

// maxMetadata is the size limit of every object but a file: libostree's own.
const maxMetadata = 10 << 20

// check reports whether data is the normal form of a value of type t: the one
// byte sequence an encoder would write. Work and memory are bounded by the size
// of data; nothing is allocated for it.
func (t *gtype) check(data []byte) error {
	if len(data) > maxMetadata {
		return broken("object_too_large", "metadata of %d bytes is more than %d", len(data), maxMetadata)
	}
	return t.normal(data, 0)
}

func (t *gtype) abnormal(what string) error {
	return broken("gvariant_not_normal", "a value of type %s has %s", t.sig, what)
}

func (t *gtype) normal(data []byte, depth int) error {
	if depth > maxDepth {
		return broken("gvariant_too_deep", "a value is nested more than %d deep", maxDepth)
	}
	if t.size > 0 && len(data) != t.size {
		return t.abnormal("the wrong size")
	}
	if t.plain {
		return nil
	}
	switch t.kind {
	case 'b':
		if data[0] > 1 {
			return t.abnormal("a byte that is neither 0 nor 1")
		}
		return nil
	case 's', 'o', 'g':
		return t.normalString(data)
	case 'v':
		inner, value, err := openVariant(data)
		if err != nil {
			return err
		}
		return inner.normal(value, depth+1)
	case 'm':
		return t.normalMaybe(data, depth)
	case 'a':
		if elem := t.sub[0]; elem.plain && len(data)%elem.size == 0 {
			return nil
		}
		return t.each(data, func(elem []byte) error { return t.sub[0].normal(elem, depth+1) })
	}
	var room [8][]byte
	members, err := t.fields(data, room[:0])
	if err != nil {
		return err
	}
	for i, m := range members {
		if err := t.sub[i].normal(m, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (t *gtype) normalString(data []byte) error {
	if bytes.IndexByte(data, 0) != len(data)-1 { // also false for no bytes: -1
		return t.abnormal("a zero byte that is missing or not the last")
	}
	if len(data) == 0 || !utf8.Valid(data) {
		return t.abnormal("bytes that are not UTF-8")
	}
	s := text(data)
	if t.kind == 'o' && !objectPath(s) {
		return t.abnormal("a malformed object path")
	}
	for t.kind == 'g' && s != "" {
		var err error
		if len(s) > maxTypeLen {
			return t.abnormal("a signature that is too long")
		}
		if _, s, err = nextType(s, 0); err != nil {
			return err
		}
	}
	return nil
}

// objectPath reports whether s is a D-Bus object path.
func objectPath(s string) bool {
	if s == "/" {
		return true
	}
	path, ok := strings.CutPrefix(s, "/")
	for part := range strings.SplitSeq(path, "/") {
		word := strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
		ok = ok && word && part != ""
	}
	return ok
}

func (t *gtype) normalMaybe(data []byte, depth int) error {
	elem := t.sub[0]
	if len(data) == 0 {
		return nil
	}
	if elem.size == 0 { // a zero byte tells an empty value from none
		if data[len(data)-1] != 0 {
			return t.abnormal("no zero byte at its end")
		}
		data = data[:len(data)-1]
	}
	return elem.normal(data, depth+1)
}

// openVariant splits a variant into the type it names and the value.
func openVariant(data []byte) (*gtype, []byte, error) {
	i := bytes.LastIndexByte(data, 0)
	if i < 0 {
		return nil, nil, broken("gvariant_not_normal", "a variant names no type")
	}
	t, err := parseType(string(data[i+1:]))
	return t, data[:i], err
}

// text is the string in the bytes of a checked s, o or g.
func text(data []byte) string { return string(data[:len(data)-1]) }

// each calls visit with the bytes of each element of an array. The array's own
// layout is checked on the way, the elements are not.
func (t *gtype) each(data []byte, visit func([]byte) error) error {
	elem := t.sub[0]
	if elem.size > 0 {
		if len(data)%elem.size != 0 {
			return t.abnormal("a broken last element")
		}
		for ; len(data) > 0; data = data[elem.size:] {
			if err := visit(data[:elem.size]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(data) == 0 {
		return nil
	}
	width := widthFor(len(data))
	body := frameOffset(data, len(data)-width, width)
	if body > len(data)-width || (len(data)-body)%width != 0 || packedWidth(body, (len(data)-body)/width) != width {
		return t.abnormal("offsets that do not fit its size")
	}
	end := 0
	for at := body; at < len(data); at += width {
		start := aligned(end, elem.align)
		stop := frameOffset(data, at, width)
		if stop < start || stop > body || !zero(data[end:start]) {
			return t.abnormal("elements that overlap or leave gaps")
		}
		if err := visit(data[start:stop]); err != nil {
			return err
		}
		end = stop
	}
	return nil // the last offset is body, so the elements fill it
}

// fields appends the bytes of each member of a tuple to dst. The tuple's own
// layout is checked on the way, the members are not.
func (t *gtype) fields(data []byte, dst [][]byte) ([][]byte, error) {
	width, body := widthFor(len(data)), len(data)
	offsets, end := 0, 0
	for i, m := range t.sub {
		start := aligned(end, m.align)
		stop := start + m.size
		if m.size == 0 && i < len(t.sub)-1 {
			offsets++
			body -= width
			if body < start {
				return nil, t.abnormal("no room for its offsets")
			}
			stop = frameOffset(data, body, width)
		} else if m.size == 0 {
			stop = body
		}
		if stop < start || stop > body || !zero(data[end:start]) {
			return nil, t.abnormal("members that overlap or leave gaps")
		}
		dst = append(dst, data[start:stop])
		end = stop
	}
	if t.size > 0 { // padded to its size
		if len(data) != t.size || !zero(data[end:]) {
			return nil, t.abnormal("padding that is not zero")
		}
		return dst, nil
	}
	if end != body || offsets > 0 && packedWidth(body, offsets) != width {
		return nil, t.abnormal("offsets that do not fit its size")
	}
	return dst, nil
}

func zero(data []byte) bool {
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}

// widthFor is the size of an offset in a container of n bytes.
func widthFor(n int) int {
	switch {
	case n <= math.MaxUint8:
		return 1
	case n <= math.MaxUint16:
		return 2
	}
	return 4 // maxMetadata is far below 4 GiB
}

// packedWidth is the size an encoder chooses for n offsets after body bytes.
func packedWidth(body, n int) int {
	for _, width := range []int{1, 2} {
		if body+n*width <= 1<<(8*width)-1 {
			return width
		}
	}
	return 4
}

// frameOffset reads an offset; it is larger than any container if it is not
// an offset at all.
func frameOffset(data []byte, at, width int) int {
	switch width {
	case 1:
		return int(data[at])
	case 2:
		return int(binary.LittleEndian.Uint16(data[at:]))
	}
	return int(binary.LittleEndian.Uint32(data[at:]))
}
