package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// factWidth is the column in which evidence begins.
const factWidth = 18

// story tells what a demo does, step by step, each with its evidence.
type story struct {
	w     io.Writer
	began time.Time
	step  int
	since time.Time
	label string
}

func newStory(w io.Writer) *story {
	now := time.Now()
	return &story{w: w, began: now, since: now}
}

// next begins a step.
func (s *story) next(format string, values ...any) {
	s.step++
	s.since, s.label = time.Now(), ""
	fmt.Fprintf(s.w, "\n%2d. %s\n", s.step, fmt.Sprintf(format, values...))
}

// fact is a line of evidence. A label that was just said is not said again.
func (s *story) fact(label, format string, values ...any) {
	said := label
	if label == s.label {
		said = ""
	}
	s.label = label
	fmt.Fprintf(s.w, "    %-*s %s\n", factWidth, said, plain(fmt.Sprintf(format, values...)))
}

// took ends a step with its time.
func (s *story) took() { s.fact("took", "%s", time.Since(s.since).Round(time.Millisecond)) }

// bytesOf is a number of bytes as people read it.
func bytesOf(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	size, exponent := float64(n)/unit, 0
	for size >= unit && exponent < 3 {
		size, exponent = size/unit, exponent+1
	}
	return fmt.Sprintf("%.1f %ciB", size, "KMGT"[exponent])
}

// lastLine is what a tool said at last.
func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

// lineWith is the line of a tool's output that has a text in it, or the last.
func lineWith(out, text string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, text) {
			return strings.TrimSpace(line)
		}
	}
	return lastLine(out)
}
