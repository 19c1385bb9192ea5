package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
)

// The levels of --loglevel. What is said at a lower level than asked for is
// left out.
const (
	levelTrace = iota
	levelDebug
	levelInfo
	levelWarning
	levelError
	levelFatal
)

// redraw is how often the progress line changes at most.
const redraw = 100 * time.Millisecond

// screen prints lines and, on a terminal, a progress line below them. Scripts
// read it, so everything goes to one stream and messages stay as they are.
// Safe for concurrent use.
type screen struct {
	w        io.Writer
	terminal bool

	mu    sync.Mutex
	level int
	line  string // the progress line on the terminal
	drawn time.Time
}

func newScreen(w io.Writer, terminal bool) *screen {
	return &screen{w: w, terminal: terminal, level: levelInfo}
}

func (s *screen) setLevel(level int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level = level
}

// say prints a line. Control characters, which a server may have put into it,
// are replaced.
func (s *screen) say(level int, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if level < s.level {
		return
	}
	s.clear()
	fmt.Fprintln(s.w, printable(fmt.Sprintf(format, args...)))
}

// show changes the progress line; last ends it for good.
func (s *screen) show(last bool, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.terminal || s.level > levelInfo || !last && time.Since(s.drawn) < redraw {
		return
	}
	s.clear()
	if last {
		return
	}
	s.line, s.drawn = printable(fmt.Sprintf(format, args...)), time.Now()
	fmt.Fprint(s.w, s.line)
}

func (s *screen) clear() {
	if s.line != "" {
		fmt.Fprint(s.w, "\r\x1b[K")
		s.line = ""
	}
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return '?'
		}
		return r
	}, text)
}

// size writes bytes for people.
func size(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, "kMGT"
	for value >= unit && len(prefix) > 1 {
		value, prefix = value/unit, prefix[1:]
	}
	return fmt.Sprintf("%.1f %cB", value, prefix[0])
}
