package tools_test

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeSession holds the README to what first-light.txtar proves: each
// command line of its session is one of the script, word for word.
func TestReadmeSession(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/first-light.txtar")
	if err != nil {
		t.Fatal(err)
	}
	proved := map[string]bool{}
	for line := range strings.Lines(string(script)) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "exec "); ok {
			proved[typed(command)] = true
		}
	}
	session := sessionOf(string(readme))
	if len(session) == 0 || len(session) > 6 {
		t.Fatalf("the README's session has %d commands, not 1 to 6: %q", len(session), session)
	}
	for _, command := range session {
		if !proved[command] {
			t.Errorf("the README says %q, which first-light.txtar does not run", command)
		}
	}
}

// sessionOf is the first fenced block of the README that starts a server,
// without the line that builds it.
func sessionOf(readme string) []string {
	blocks := strings.Split(readme, "```")
	for i := 1; i < len(blocks); i += 2 {
		if !strings.Contains(blocks[i], "sealift serve") {
			continue
		}
		_, lines, _ := strings.Cut(blocks[i], "\n") // the rest of the fence's line
		var commands []string
		for line := range strings.Lines(strings.ReplaceAll(lines, "\\\n", " ")) {
			line, _, _ = strings.Cut(line, " #")
			command := typed(strings.TrimPrefix(strings.TrimSpace(line), "$ "))
			if command == "" || strings.HasPrefix(command, "#") || strings.HasPrefix(command, "make") {
				continue
			}
			commands = append(commands, command)
		}
		return commands
	}
	return nil
}

// typed is a command without what differs between a shell and a script.
func typed(command string) string {
	words := strings.Fields(strings.TrimPrefix(command, "bin/"))
	if n := len(words); n > 0 && strings.HasPrefix(words[n-1], "&") {
		words[n-1] = "&"
	}
	return strings.Join(words, " ")
}
