package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// figure is what is measured, what is wanted of it, and what came out.
type figure struct {
	Name string  `json:"name"`
	Unit string  `json:"unit"`
	Op   string  `json:"op,omitempty"` // "<", "<=", ">=", or "" for no goal
	Goal float64 `json:"goal,omitempty"`

	Value   float64 `json:"value"` // the median of the samples
	Low     float64 `json:"low"`   // the first quartile
	High    float64 `json:"high"`  // the third quartile
	Samples int     `json:"samples"`
	Met     bool    `json:"met"`
	Missing string  `json:"missing,omitempty"` // why it was not measured
	Note    string  `json:"note,omitempty"`
}

// take makes samples the outcome. Of one sample low and high are the same.
func (f *figure) take(samples []float64, note string) {
	sorted := slices.Sorted(slices.Values(samples))
	at := func(part float64) float64 { return sorted[int(part*float64(len(sorted)-1)+0.5)] }
	f.Value, f.Low, f.High, f.Samples = at(0.5), at(0.25), at(0.75), len(sorted)
	f.Missing, f.Note = "", note
	switch f.Op {
	case "<":
		f.Met = f.Value < f.Goal
	case "<=":
		f.Met = f.Value <= f.Goal
	case ">=":
		f.Met = f.Value >= f.Goal
	default:
		f.Met = true
	}
}

func median(samples []float64) float64 {
	var f figure
	f.take(samples, "")
	return f.Value
}

// verdict is what the table says of a figure.
func (f figure) verdict() string {
	switch {
	case f.Missing != "":
		return "not measured"
	case f.Op == "":
		return "reported"
	case f.Met:
		return "met"
	}
	return "MISSED"
}

// cells are a figure's line of the table.
func (f figure) cells() []string {
	value, spread, goal := "-", "", "-"
	if f.Missing == "" {
		value = fmt.Sprintf("%.4g %s", f.Value, f.Unit)
	}
	if f.Samples > 1 {
		spread = fmt.Sprintf("%.3g .. %.3g of %d", f.Low, f.High, f.Samples)
	}
	if f.Op != "" {
		goal = fmt.Sprintf("%s %g", f.Op, f.Goal)
	}
	return []string{f.Name, value, goal, f.verdict(), spread}
}

// printTable writes one line a figure, and then what there is to say of each.
func printTable(w io.Writer, all []figure) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tmedian\tgoal\tverdict\tquartiles")
	for _, f := range all {
		fmt.Fprintln(t, strings.Join(f.cells(), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, f := range all {
		for _, text := range []string{f.Missing, f.Note} {
			if text != "" {
				fmt.Fprintf(w, "%s: %s\n", f.Name, text)
			}
		}
	}
	return nil
}

// writeJSON keeps all figures, and where they were measured.
func writeJSON(path string, on machine, all []figure) error {
	out, err := json.MarshalIndent(struct {
		Machine machine  `json:"machine"`
		Figures []figure `json:"figures"`
	}{on, all}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(out, '\n'), 0o644)
}
