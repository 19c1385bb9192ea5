package canonical

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Kind tells what a Value is.
type Kind uint8

// The kinds of JSON value. The zero Value is Null.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

// Member is one name and value of an object.
type Member struct {
	Name  string
	Value Value
}

// Value is a parsed JSON value. Objects keep their members sorted by the bytes
// of the name, which is the order of both canonical forms.
type Value struct {
	kind    Kind
	text    string // of a string its content, of a number its spelling, of a boolean "true" or ""
	items   []Value
	members []Member
}

// Of converts a Go value by way of encoding/json and the strict reader, so that
// what Of accepts is what Parse accepts.
func Of(v any, o Options) (Value, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return Value{}, fmt.Errorf("encoding as JSON: %w", err)
	}
	return Parse(buf.Bytes(), o)
}

// Text makes a string.
func Text(s string) Value { return Value{kind: String, text: s} }

// Int makes an integer.
func Int(n int64) Value { return Value{kind: Number, text: strconv.FormatInt(n, 10)} }

// Flag makes a boolean.
func Flag(b bool) Value {
	if b {
		return Value{kind: Bool, text: "true"}
	}
	return Value{kind: Bool}
}

// List makes an array.
func List(items ...Value) Value { return Value{kind: Array, items: items} }

// Fields makes an object. A name given twice keeps its last value.
func Fields(members ...Member) Value {
	sorted := slices.Clone(members)
	slices.SortStableFunc(sorted, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	v := Value{kind: Object, members: sorted[:0]}
	for i, m := range sorted {
		if i+1 == len(sorted) || sorted[i+1].Name != m.Name {
			v.members = append(v.members, m)
		}
	}
	return v
}

// Kind tells what v is.
func (v Value) Kind() Kind { return v.kind }

// Text returns the content of a string, and whether v is one.
func (v Value) Text() (string, bool) { return v.text, v.kind == String }

// Flag returns a boolean, and whether v is one.
func (v Value) Flag() (value, ok bool) { return v.text == "true", v.kind == Bool }

// Int returns an integer, and whether v is one that fits 64 bits.
func (v Value) Int() (int64, bool) {
	if v.kind != Number {
		return 0, false
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	return n, err == nil
}

// Items returns the elements of an array; the caller must not change them.
func (v Value) Items() []Value { return v.items }

// Members returns the members of an object, sorted by name; the caller must not
// change them.
func (v Value) Members() []Member { return v.members }

// Member returns the value of a member of exactly that name.
func (v Value) Member(name string) (Value, bool) {
	i, found := v.find(name)
	if !found {
		return Value{}, false
	}
	return v.members[i].Value, true
}

// With returns a copy of the object v in which the member name is x.
func (v Value) With(name string, x Value) Value {
	i, found := v.find(name)
	members := slices.Clone(v.members)
	if found {
		members[i].Value = x
	} else {
		members = slices.Insert(members, i, Member{name, x})
	}
	return Value{kind: Object, members: members}
}

// Without returns a copy of the object v that has no member name.
func (v Value) Without(name string) Value {
	i, found := v.find(name)
	if !found {
		return v
	}
	return Value{kind: Object, members: slices.Delete(slices.Clone(v.members), i, i+1)}
}

func (v Value) find(name string) (int, bool) {
	return sort.Find(len(v.members), func(i int) int { return strings.Compare(name, v.members[i].Name) })
}
