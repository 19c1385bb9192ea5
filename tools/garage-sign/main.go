// Garage-sign signs root and targets metadata of a repository with offline
// keys and exchanges them with the server. Called as uptane-sign it does the
// same under that name.
//
// Its commands, options, files and exit codes are those of the tool of the same
// name that build systems have called for years: 0 done, 1 failed for a reason
// that is explained, 2 the server's targets have changed since they were
// pulled, 3 failed otherwise, 255 wrong usage.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, system())
	stop()
	os.Exit(code)
}
