// Command bench measures the built server and prints one line a figure:
//
//	NAME value unit goal OP VALUE met|missed
//
// It also writes bench.json. Wherever two things are compared they are measured
// in one run, in turns, and the median of the turns counts. A missed goal leaves
// a profile in the folder bench-profile and a note that names what took longest.
// What cannot be measured here, because nginx, ostree or PostgreSQL is not
// installed, says so. Run it with make bench; it talks to this machine only and
// ends by itself.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// wholeTime is when bench gives up.
const wholeTime = 40 * time.Minute

// figure is one measured number and its goal.
type figure struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Op      string  `json:"op"` // "<", "<=", ">=", or "" for no goal
	Goal    float64 `json:"goal"`
	Met     bool    `json:"met"`
	Samples int     `json:"samples"`
	Missing string  `json:"missing,omitempty"` // why it was not measured
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
	f.Met = f.Met && f.Missing == ""
	return f
}

func (f figure) String() string {
	goal, verdict := "none", "reported"
	if f.Op != "" {
		goal, verdict = fmt.Sprintf("%s %g", f.Op, f.Goal), "missed"
		if f.Met {
			verdict = "met"
		}
	}
	if f.Missing != "" {
		return fmt.Sprintf("%s - %s goal %s not-measured: %s", f.Name, f.Unit, goal, f.Missing)
	}
	return fmt.Sprintf("%s %.4g %s goal %s %s", f.Name, f.Value, f.Unit, goal, verdict)
}

// measure is a group of figures that come out of one run.
type measure struct {
	name string
	run  func(context.Context, options) ([]figure, error)
}

// options are what the command line says.
type options struct {
	devices int
	only    []string
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == bareCommand {
		if err := runBare(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "bench %s: %v\n", bareCommand, err)
			os.Exit(1)
		}
		return
	}
	var o options
	only := flag.String("only", "", "comma-separated: start, demo, fleet, change, push; empty is all")
	flag.IntVar(&o.devices, "devices", 10_000, "how many devices the fleet has")
	flag.Parse()
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, wholeTime)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// run measures everything; a missed goal is reported, not a failure.
func run(ctx context.Context, o options) error {
	var all []figure
	for _, m := range []measure{{"start", coldStart}, {"demo", demo}, {"fleet", fleetFigures}, {"change", changes}, {"push", pushes}} {
		if len(o.only) > 0 && !slices.Contains(o.only, m.name) {
			continue
		}
		figures, err := m.run(ctx, o)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", m.name, err)
		}
		for _, f := range figures {
			f = f.judged()
			fmt.Println(f)
			if f.Note != "" {
				fmt.Println("  note:", f.Note)
			}
			all = append(all, f)
		}
	}
	out, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile("bench.json", append(out, '\n'), 0o644)
}

// median of an odd number of values, or one of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
