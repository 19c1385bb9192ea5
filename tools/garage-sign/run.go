package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"sealift/internal/home"
	"sealift/uptane"
)

// Exit codes; scripts know them.
const (
	exitDone      = 0
	exitExplained = 1
	exitConflict  = 2
	exitFailed    = 3
	exitUsage     = 255
)

// exitError carries the exit code of a failure.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

// explained marks a failure whose text tells all the user needs.
func explained(format string, args ...any) error {
	return exitError{exitExplained, fmt.Errorf(format, args...)}
}

// run is the program: args with the program's name first, the exit code back.
func run(ctx context.Context, args []string, w world) int {
	c := &call{world: w, ctx: ctx, program: programName(args)}
	err := c.parse(commands(), args[min(1, len(args)):])
	if err == nil {
		err = c.dispatch()
	}
	var usage usageError
	var exit exitError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintf(w.stderr, "Error: %s\n\n", usage.why)
		c.usage(w.stderr)
		return exitUsage
	case errors.As(err, &exit):
		fmt.Fprintf(w.stderr, "%s: %s\n", c.program, printable(err.Error()))
		return exit.code
	case errors.Is(err, home.ErrPast), errors.Is(err, home.ErrDirector):
		fmt.Fprintf(w.stderr, "%s: %s\n", c.program, printable(err.Error()))
		return exitExplained
	}
	fmt.Fprintf(w.stderr, "%s: %s\n", c.program, printable(err.Error()))
	return exitFailed
}

func (c *call) dispatch() error {
	cmd := c.command()
	switch {
	case c.has("print-version"):
		c.say("%s %s", c.program, version())
		return nil
	case c.has("help") || len(c.path) == 1:
		c.usage(c.stdout)
		return nil
	case cmd.run == nil:
		return usagef("%s needs a command", c.name())
	}
	if err := c.check(); err != nil {
		return err
	}
	defer func() {
		for _, unlock := range c.locks {
			unlock()
		}
	}()
	return cmd.run(c)
}

// programName keeps to the two names this tool is known by.
func programName(args []string) string {
	if len(args) > 0 && filepath.Base(args[0]) == "uptane-sign" {
		return "uptane-sign"
	}
	return "garage-sign"
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

// say reports what was done.
func (c *call) say(format string, args ...any) {
	fmt.Fprintln(c.stdout, printable(fmt.Sprintf(format, args...)))
}

// warn reports what the user should look at.
func (c *call) warn(message string) {
	fmt.Fprintf(c.stderr, "%s: warning: %s\n", c.program, printable(message))
}

// printable keeps what a server or a file says from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// readInput reads a file that an option names.
func readInput(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("reading %s: larger than %d bytes", path, limit)
	}
	return os.ReadFile(path)
}

// rootRefusal reports whether err says that a root is not what it should be.
func rootRefusal(err error) bool {
	for _, kind := range []error{uptane.ErrMalformed, uptane.ErrType, uptane.ErrKey, uptane.ErrSignature, uptane.ErrVersion, uptane.ErrRollback, uptane.ErrName} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
