//go:build aktualizr

package interop

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// outcome is a row of the table at the end.
type outcome struct {
	number                       int // its place
	id, title, verdict, evidence string
}

var (
	rowsLock sync.Mutex
	rows     []outcome
	begun    int
)

// scenario runs one row of the table, beside the others.
func scenario(t *testing.T, id, title string, run func(t *testing.T) (evidence string)) {
	rowsLock.Lock()
	begun++
	row := outcome{number: begun, id: id, title: title, verdict: "pass"}
	rowsLock.Unlock()
	t.Run("scenario "+id, func(t *testing.T) {
		t.Parallel()
		t.Cleanup(func() {
			if t.Failed() {
				row.verdict = "FAIL"
			}
			rowsLock.Lock()
			defer rowsLock.Unlock()
			rows = append(rows, row)
		})
		row.evidence = run(t)
	})
}

func printTable() {
	slices.SortFunc(rows, func(a, b outcome) int { return cmp.Compare(a.number, b.number) })
	failed := 0
	fmt.Printf("\n%-4s %-5s %-58s %s\n", "id", "", "scenario", "evidence")
	for _, r := range rows {
		if r.verdict != "pass" {
			failed++
		}
		fmt.Printf("%-4s %-5s %-58s %s\n", r.id, r.verdict, r.title, r.evidence)
	}
	fmt.Printf("%d scenarios with the real client, %d failed\n", len(rows), failed)
}
