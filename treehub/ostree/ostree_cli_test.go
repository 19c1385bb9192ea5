package ostree_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// ostreeCLI runs the ostree command and returns what it prints. Without the
// command the test is skipped, on CI it fails.
func ostreeCLI(t testing.TB, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("ostree"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("the ostree command is missing: install the package ostree")
		}
		t.Skip("the ostree command is missing")
	}
	cmd := exec.Command("ostree", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ostree %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}
