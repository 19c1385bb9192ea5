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

// What a delegations block says of one role, cut out, says the same.
func FuzzDelegations(f *testing.F) {
	key := `"44d79db0f1c92a0ee3ac8b0c2e5c1c1bd9b4e8f4fd0a6b0e5e7c6a3c9f1d2b3a":{"keytype":"ED25519","keyval":{"public":"e8b819c020ce57f72521452d341875bb6eb311ecca3cbb711efb63f38e68cde1"}}`
	f.Add([]byte(`{"delegations":{"keys":{` + key + `},"roles":[{"name":"a","keyids":["44d79db0f1c92a0ee3ac8b0c2e5c1c1bd9b4e8f4fd0a6b0e5e7c6a3c9f1d2b3a"],"paths":["a/*"],"threshold":1,"terminating":true}]}}`))
	f.Add([]byte(`{"signatures":[],"signed":{"_type":"Targets","expires":"2027-01-01T00:00:00Z","targets":{},"version":1}}`))
	f.Add([]byte(`{"signatures":[{"keyid":"x","method":"ed25519","sig":"AA=="}],"signed":{"_type":"Targets","expires":"2027-01-01T00:00:00Z","targets":{},"version":2,"delegations":{"keys":{},"roles":[{"name":"a","keyids":[],"paths":["*"],"threshold":0}]}}}`))
	f.Add([]byte(`{"delegations":{"keys":{},"roles":null}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		list, err := uptane.Delegations(uptane.Uptane, doc)
		if err != nil {
			return
		}
		for _, d := range list {
			again, err := uptane.ParseDelegation(uptane.Uptane, d.Raw)
			if err != nil || again.Role != d.Role || again.Ring.Threshold != d.Ring.Threshold || len(again.Ring.Keys) != len(d.Ring.Keys) || string(again.Raw) != string(d.Raw) {
				t.Errorf("%s reads back as %+v, %v", d.Raw, again, err)
			}
			if again.Ring.Threshold < 1 || !again.Role.Delegation() {
				t.Errorf("accepted: %s", d.Raw)
			}
		}
	})
}
