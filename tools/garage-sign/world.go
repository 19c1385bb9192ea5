package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// world is everything outside the program that it uses besides files and the
// network.
type world struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	prompt         func(question string) ([]byte, error) // nil where nobody can be asked
	now            func() time.Time
	wait           func(context.Context, time.Duration) error
}

func system() world {
	w := world{stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, now: time.Now, wait: wait}
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		w.prompt = func(question string) ([]byte, error) {
			fmt.Fprint(os.Stderr, question)
			defer fmt.Fprintln(os.Stderr)
			return term.ReadPassword(fd)
		}
	}
	return w
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
