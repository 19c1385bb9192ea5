package main

import (
	"log/slog"
	"syscall"
)

// keepNoCore lets no crash write the memory of this process, with the keys in it,
// to a disk.
func keepNoCore(log *slog.Logger) {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		log.Warn("core dumps are not switched off; one would hold private keys", "error", err)
	}
}
