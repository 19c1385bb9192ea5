// Command sealift is the update server and its operator's command.
//
// Only init, serve, clock, fsck, backup, restore and keys open the data folder; every
// other subcommand speaks the API with a token.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(exitCode(newCommand().ExecuteContext(ctx)))
}

// errUsage marks errors of a wrong call: exit code 2 instead of 1.
var errUsage = errors.New("wrong usage")

// usageError is an error of a wrong call that reads as the error itself.
type usageError struct{ error }

func (e usageError) Is(target error) bool { return target == errUsage }
func (e usageError) Unwrap() error        { return e.error }

// exitCode prints what went wrong and says 0 done, 1 failed, 2 usage or not
// available here.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "sealift: %v\n", err)
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}
