package db

import (
	"fmt"
	"strings"
)

// Values returns a list VALUES (...), (...) of so many rows, with placeholders
// from $1 on, one for each of the column types. A statement for many rows does
// best with a list that is always as long, filled up with its last row: it stays
// prepared, and SQLite takes long for long lists.
func Values(rows int, types ...string) string {
	var b strings.Builder
	b.WriteString("VALUES ")
	for row := range rows {
		if row > 0 {
			b.WriteString(", ")
		}
		for i, typ := range types {
			before := ", "
			if i == 0 {
				before = "("
			}
			fmt.Fprintf(&b, "%sCAST($%d AS %s)", before, row*len(types)+i+1, typ)
		}
		b.WriteString(")")
	}
	return b.String()
}
