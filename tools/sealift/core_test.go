package main

import (
	"log/slog"
	"syscall"
	"testing"
)

// A crash of whoever has opened private keys leaves no copy of them.
func TestNoCoreDumps(t *testing.T) {
	data := t.TempDir()
	if _, err := openServices(t.Context(), settings{Data: data}, slog.New(slog.DiscardHandler), false); err == nil {
		t.Fatal("an empty folder was opened")
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 || limit.Max != 0 {
		t.Errorf("a core dump may have %+v, %v", limit, err)
	}
}
