package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// plain makes text of devices and servers fit for a terminal: what is not
// printable, above all control characters and those that reverse the direction
// of text, is written as an escape.
func plain(text string) string {
	return escaped(text, func(r rune) bool { return unicode.IsPrint(r) })
}

// plainJSON is plain for JSON text, which stays the same JSON.
func plainJSON(text string) string {
	return escaped(text, func(r rune) bool { return r == '\n' || unicode.IsPrint(r) })
}

func escaped(text string, fit func(rune) bool) string {
	var out strings.Builder
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, text[i])
		case fit(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

// table writes rows of cells in aligned columns, each cell made plain.
type table struct{ w *tabwriter.Writer }

// newTable begins a table with a head.
func newTable(w io.Writer, head ...string) *table {
	t := &table{tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)}
	if len(head) > 0 {
		t.row(head...)
	}
	return t
}

func (t *table) row(cells ...string) {
	for i, cell := range cells {
		if cells[i] = plain(cell); cell == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t *table) end() error { return t.w.Flush() }

// when is a time of the api as people read it, in their own zone.
func when(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

// text is what a pointer of the api points to, empty for null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// shortSerial is a serial as people read it: many are the hash of a key.
func shortSerial(serial string) string {
	if len(serial) == 64 {
		return shortSum(serial)
	}
	return serial
}

// shortSum is a checksum as people read it.
func shortSum(sum string) string { return sum[:min(len(sum), 12)] }
