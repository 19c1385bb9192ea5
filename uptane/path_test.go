package uptane_test

import (
	"errors"
	"path"
	"strings"
	"testing"

	"sealift/uptane"
)

// What fnmatch(3) of the GNU C library answers without flags.
func TestMatchPath(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "ab", false}, {"ab", "a", false},
		{"*", "a/b/c", true}, {"d/*", "d/x/y.bin", true}, {"d/*", "d/", true}, {"d/*", "e/x", false}, {"d*", "d", true},
		{"*.bin", "a/b.bin", true}, {"*.bin", "a/b.binary", false}, {"a*b*c", "a/xb/b/c", true}, {"a*b*c", "acb", false},
		{"?", "/", true}, {"a?c", "abc", true}, {"a?c", "ac", false},
		{"v[0-9]", "v7", true}, {"v[0-9]", "va", false}, {"v[!0-9]", "va", true}, {"v[^0-9]", "v1", false},
		{"[]x]", "]", true}, {"[]x]", "x", true}, {"[!]x]", "y", true}, {"[a-]", "-", true}, {"[a-]", "b", false},
		{"[abc", "[abc", true}, {"[abc", "a", false}, {"a[/]b", "a/b", true},
		{"{a,b}", "a", false}, {"{a,b}", "{a,b}", true}, {".x", ".x", true}, {"*", ".x", true},
		{"**", "a/b", true}, {"a**", "ab", true},
	} {
		if got := uptane.MatchPath(c.pattern, c.name); got != c.want {
			t.Errorf("MatchPath(%q, %q) = %t", c.pattern, c.name, got)
		}
	}
	for _, bad := range []string{"", "a/../b", "a\\*", "[[:alpha:]]", "a\nb", "ä*"} {
		if err := uptane.CheckPath(bad); !errors.Is(err, uptane.ErrName) {
			t.Errorf("CheckPath(%q): %v", bad, err)
		}
	}
	if err := uptane.CheckPath("supplier/[a-c]?/*.bin"); err != nil {
		t.Error(err)
	}
}

// What matches segment by segment, as clients of TUF 1.0 match, always matches.
func FuzzMatchPath(f *testing.F) {
	for _, s := range [][2]string{{"a/*", "a/b"}, {"*[a-z]?", "xyz"}, {strings.Repeat("*a", 30), strings.Repeat("a", 60)}, {"[", "["}, {"[!]", "x"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if uptane.CheckPath(pattern) != nil || uptane.CheckFilename(name) != nil || strings.ContainsAny(pattern, "[") {
			return
		}
		if ok, err := path.Match(pattern, name); err == nil && ok && !uptane.MatchPath(pattern, name) {
			t.Errorf("%q matches %q for TUF clients only", pattern, name)
		}
		if !uptane.MatchPath("*", name) || !uptane.MatchPath(strings.Repeat("?", len(name)), name) {
			t.Errorf("%q is not matched by what matches all", name)
		}
	})
}
