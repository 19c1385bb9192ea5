package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// measure is a group of figures that come out of one run. A new one is a file
// with a function that returns it, and a line in measures.
type measure struct {
	name    string        // for -only
	limit   time.Duration // after which it is cut off
	figures []figure      // what will come out, and what is wanted of it
	run     func(context.Context, *results) error
}

func measures() []measure {
	return []measure{idleMeasure(), changeMeasure(), startMeasure(), demoMeasure(), pushMeasure(), fleetMeasure(), gateMeasure(), delegationMeasure(), sealMeasure()}
}

// options are what the command line says.
type options struct {
	devices int      // of the fleet
	only    []string // names of measures; empty is all
	profile bool     // keep profiles also of goals that are met
}

// results takes what a measure measures.
type results struct {
	options
	figures []figure
}

func (r *results) figure(name string) *figure {
	for i := range r.figures {
		if r.figures[i].Name == name {
			return &r.figures[i]
		}
	}
	panic("bench: no figure is called " + name)
}

// take enters the samples of a figure, one of each turn, and what there is to
// say about them.
func (r *results) take(name string, samples []float64, format string, args ...any) {
	r.figure(name).take(samples, fmt.Sprintf(format, args...))
}

// miss says why figures cannot be measured.
func (r *results) miss(why string, names ...string) {
	for _, name := range names {
		r.figure(name).Missing = why
	}
}

// wantsProfile tells whether to keep a profile of a figure that was taken.
func (r *results) wantsProfile(name string) bool { return r.options.profile || !r.figure(name).Met }

// note adds to what there is to say about a figure.
func (r *results) note(name, text string) {
	f := r.figure(name)
	f.Note = strings.TrimPrefix(f.Note+"; "+text, "; ")
}

// do runs a measure. Figures it did not come to say so; only what is not a
// matter of time is an error.
func (m measure) do(ctx context.Context, o options) ([]figure, error) {
	r := &results{options: o, figures: m.figures}
	for i := range r.figures {
		r.figures[i].Missing = "it was not come to"
	}
	limited, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	err := m.run(limited, r)
	if errors.Is(limited.Err(), context.DeadlineExceeded) {
		for i, f := range r.figures {
			if f.Missing != "" {
				r.figures[i].Missing = fmt.Sprintf("it took longer than there was time for: %.200v", err)
			}
		}
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("measuring %s: %w", m.name, err)
	}
	return r.figures, err
}

// interleave runs turns until there are most of them, or the time is over and
// there are least. The first one warms up and does not count.
func interleave(ctx context.Context, least, most int, patience time.Duration, turn func(number int) error) error {
	begin := time.Now()
	for n := range most + 1 {
		if n > least && time.Since(begin) > patience {
			break
		}
		if err := errors.Join(ctx.Err(), turn(n)); err != nil {
			return err
		}
	}
	return nil
}
