package tools_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// trustBlock is a session of docs/trust.md and the script that proves it.
var trustBlock = regexp.MustCompile("(?s)<!-- ([a-z-]+\\.txtar) -->\n```\n(.*?)```")

// TestTrustSessions holds docs/trust.md to what scripts prove: each command line of
// a ceremony is one of the script that the session names, word for word and in the
// same order; every script of a ceremony is on the page.
func TestTrustSessions(t *testing.T) {
	page, err := os.ReadFile("../docs/trust.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, block := range trustBlock.FindAllStringSubmatch(string(page), -1) {
		script, err := os.ReadFile(filepath.Join("testdata", block[1]))
		if err != nil {
			t.Fatal(err)
		}
		shown[block[1]] = true
		left := commandsOf(string(script))
		count := 0
		for line := range strings.Lines(block[2]) {
			command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
			if !ok {
				continue
			}
			count++
			i := slices.Index(left, typed(command))
			if i < 0 {
				t.Errorf("the page says %q, which %s does not run, or not after what stands above it", command, block[1])
				continue
			}
			left = left[i+1:]
		}
		if count == 0 {
			t.Errorf("a session of %s on the page has no command", block[1])
		}
	}
	if fences := strings.Count(string(page), "\n```\n") / 2; fences != len(trustBlock.FindAllString(string(page), -1)) {
		t.Errorf("of %d sessions on the page only %d name their script", fences, len(shown))
	}
	scripts, err := filepath.Glob("testdata/trust-*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts of ceremonies: %v", err)
	}
	for _, script := range scripts {
		if !shown[filepath.Base(script)] {
			t.Errorf("%s is not on the page", script)
		}
	}
}

// commandsOf are the commands that a script runs, in order. Those that end with a
// code of their own count, too.
func commandsOf(script string) (list []string) {
	for line := range strings.Lines(script) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "! ")
		if command, ok := strings.CutPrefix(line, "exec "); ok {
			list = append(list, typed(command))
		} else if words := strings.Fields(line); len(words) > 2 && words[0] == "exits" {
			list = append(list, strings.Join(words[2:], " "))
		}
	}
	return list
}
