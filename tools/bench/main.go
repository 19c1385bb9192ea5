// Command bench measures the built server and prints one line a figure:
//
//	NAME value unit goal OP VALUE met|missed
//
// It also writes bench.json. A missed goal leaves a profile in the folder
// bench-profile. Run it with make bench; it talks to this machine only and
// ends by itself.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// figure is one measured number and its goal.
type figure struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Op      string  `json:"op"` // "<", ">=", or "" for no goal
	Goal    float64 `json:"goal"`
	Met     bool    `json:"met"`
	Samples int     `json:"samples"`
	Note    string  `json:"note,omitempty"`
}

func (f figure) judged() figure {
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
	return f
}

func (f figure) String() string {
	if f.Op == "" {
		return fmt.Sprintf("%s %.3g %s goal none reported", f.Name, f.Value, f.Unit)
	}
	verdict := "met"
	if !f.Met {
		verdict = "missed"
	}
	return fmt.Sprintf("%s %.3g %s goal %s %g %s", f.Name, f.Value, f.Unit, f.Op, f.Goal, verdict)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// run measures everything; a missed goal is reported, not a failure.
func run(ctx context.Context) error {
	var all []figure
	for _, measure := range []func(context.Context) ([]figure, error){coldStart, demo} {
		figures, err := measure(ctx)
		if err != nil {
			return err
		}
		for _, f := range figures {
			f = f.judged()
			fmt.Println(f)
			all = append(all, f)
		}
	}
	out, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile("bench.json", append(out, '\n'), 0o644)
}
