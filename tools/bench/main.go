// Command bench measures the built server and prints a table, one line a figure:
//
//	figure  median  goal  verdict  quartiles
//
// and below it what there is to say about each. It also writes bench.json.
//
// A figure with a goal is a ratio of two things that were measured in this run,
// in turns that follow one another, so that other work on the machine meets both;
// the median of the turns counts. A goal that is missed leaves a profile in the
// folder bench-profile, as it comes (.pprof) and as text (.txt). What cannot be
// measured here, because nginx, ostree or PostgreSQL is not installed, says so.
//
// Run it with make bench. It talks to this machine only, and ends by itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// wholeTime is when bench stops measuring, profiles and all.
const wholeTime = 5*time.Minute + 15*time.Second

func main() {
	if len(os.Args) == 2 && os.Args[1] == bareCommand {
		if err := runBare(os.Stdin); err != nil {
			fmt.Fprintf(os.Stderr, "bench %s: %v\n", bareCommand, err)
			os.Exit(1)
		}
		return
	}
	var names []string
	for _, m := range measures() {
		names = append(names, m.name)
	}
	var o options
	only := flag.String("only", "", "comma-separated: "+strings.Join(names, ", ")+"; empty is all")
	flag.IntVar(&o.devices, "devices", 10_000, "how many devices the fleet has")
	flag.BoolVar(&o.profile, "profile", false, "keep profiles also of goals that are met")
	flag.Parse()
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			fmt.Fprintf(os.Stderr, "bench: -only %s is unknown: it is one of %s\n", name, strings.Join(names, ", "))
			os.Exit(2)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, wholeTime)
	defer cancel()
	if err := run(ctx, os.Stdout, o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// run measures everything; a missed goal is told, and no failure.
func run(ctx context.Context, w io.Writer, o options) error {
	on := thisMachine(ctx)
	var all []figure
	var failed error
	for _, m := range measures() {
		if len(o.only) > 0 && !slices.Contains(o.only, m.name) {
			continue
		}
		begin := time.Now()
		figures, err := m.do(ctx, o)
		fmt.Fprintf(os.Stderr, "bench: %s took %.0f s\n", m.name, time.Since(begin).Seconds())
		all, failed = append(all, figures...), errors.Join(failed, err)
	}
	on.LoadAfter = loadAverage()
	fmt.Fprintln(w, on)
	return errors.Join(printTable(w, all), writeJSON("bench.json", on, all), failed)
}
