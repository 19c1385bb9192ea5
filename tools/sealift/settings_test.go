package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// FuzzSettings: a settings file is refused, or names only what is known, the same
// after it was written again.
func FuzzSettings(f *testing.F) {
	for _, s := range []string{"gateway-url: https://a\nlog_level: debug\n", "names: [a, b]", "a: &a [*a]", "- 1", "log-level: {a: 1}", "log-level: !!binary aGk=", "x: 1"} {
		f.Add(s)
	}
	known := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	for _, name := range []string{"gateway-url", "log-level", "names"} {
		known.String(name, "", "")
	}
	path := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := readSettingsFile(path, known)
		if err != nil {
			return
		}
		for name := range found {
			if known.Lookup(name) == nil || strings.Contains(name, "_") {
				t.Errorf("%q gives the setting %q", text, name)
			}
		}
	})
}
