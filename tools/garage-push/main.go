// Command garage-push sends an OSTree commit to a TreeHub. Called by the name
// garage-check it finds out whether a commit is there and offered to devices;
// garage-deploy, which copies between servers, is not available yet.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/term"
)

var version = "unknown" // set by the build

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	program := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	os.Exit(run(ctx, program, os.Args[1:], newScreen(os.Stdout, term.IsTerminal(int(os.Stdout.Fd())))))
}

// run returns the exit code: 0 done, 1 failed, 2 not available here.
func run(ctx context.Context, program string, args []string, out *screen) int {
	switch program {
	case "garage-check":
		return runCheck(ctx, args, out)
	case "garage-deploy":
		out.say(levelFatal, "garage-deploy is not available yet; fetch with ostree pull, then use garage-push and garage-sign")
		if slices.Contains(args, "--help") {
			return 0 // build hosts test that every tool answers this
		}
		return 2
	}
	return runPush(ctx, args, out)
}

func versionText(program string) string {
	return fmt.Sprintf("Current %s version is: %s", program, version)
}
