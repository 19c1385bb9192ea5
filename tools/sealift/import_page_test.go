package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTheMigrationPageCallsWhatIsThere: every call of sealift in the session of
// docs/migration.md names a command and flags that exist.
func TestTheMigrationPageCallsWhatIsThere(t *testing.T) {
	page, err := os.ReadFile("../../docs/migration.md")
	must(t, err)
	calls := regexp.MustCompile(`(?m)^sealift (.+)$`).FindAllStringSubmatch(string(page), -1)
	if len(calls) < 4 {
		t.Fatalf("%d calls", len(calls))
	}
	for _, call := range calls {
		c, rest, err := newCommand().Find(strings.Fields(call[1]))
		if err != nil || c.Parent() == nil {
			t.Errorf("sealift %s: %v", call[1], err)
			continue
		}
		if err := c.ParseFlags(rest); err != nil {
			t.Errorf("sealift %s: %v", call[1], err)
		}
	}
}
