package ostree_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"sealift/fixtures"
	"sealift/treehub/ostree"
)

// What GLib 2.74 writes (or refuses as not normal) for these types.
func TestNormalForm(t *testing.T) {
	for _, v := range []struct{ sig, hex, rule string }{
		{"y", "7f", ""},
		{"y", "", "gvariant_not_normal"},
		{"b", "01", ""},
		{"b", "02", "gvariant_not_normal"},
		{"s", "616200", ""},
		{"s", "6162", "gvariant_not_normal"},
		{"s", "61006200", "gvariant_not_normal"},
		{"s", "ff00", "gvariant_not_normal"},
		{"s", "", "gvariant_not_normal"},
		{"o", "2f612f6200", ""},
		{"o", "2f612f00", "gvariant_not_normal"},
		{"g", "617b737600", "gvariant_type"},
		{"g", "617b73767d00", ""},
		{"(yu)", "0100000002000000", ""},
		{"(yu)", "0101000002000000", "gvariant_not_normal"},
		{"(uy)", "0200000001000000", ""},
		{"(uy)", "0200000001000001", "gvariant_not_normal"},
		{"()", "00", ""},
		{"()", "01", "gvariant_not_normal"},
		{"(ss)", "610062000200", "gvariant_not_normal"},
		{"(ss)", "6100620002", ""},
		{"(ss)", "6100620003", "gvariant_not_normal"},
		{"(ss)", "", "gvariant_not_normal"},
		{"as", "", ""},
		{"as", "610062630003" + "06", "gvariant_not_normal"},
		{"as", "61006263000205", ""},
		{"as", "61006263000305", "gvariant_not_normal"},
		{"as", "61006263000206", "gvariant_not_normal"},
		{"au", "0100000002000000", ""},
		{"au", "010000000200", "gvariant_not_normal"},
		{"a{sv}", "", ""},
		{"a{sv}", "6100000000000000" + "05000000" + "0075" + "02" + "0f", ""},
		{"a{sv}", "6100000000010000" + "05000000" + "0075" + "02" + "0f", "gvariant_not_normal"},
		{"v", "050079", ""},
		{"v", "0579", "gvariant_not_normal"},
		{"v", "05007979", "gvariant_type"},
		{"v", "05007a", "gvariant_type"},
		{"ms", "610000", ""},
		{"ms", "", ""},
		{"ms", "6100", "gvariant_not_normal"},
		{"as", strings.Repeat("00", 128) + offsets(128, 1), "gvariant_not_normal"}, // needs wider offsets
		{"as", strings.Repeat("00", 128) + offsets(128, 2), ""},
		{"as", strings.Repeat("00", 100) + offsets(100, 2), "gvariant_not_normal"}, // needs narrower ones
		{strings.Repeat("a", 70) + "y", "", "gvariant_too_deep"},
		{"ay" + strings.Repeat("y", 300), "", "gvariant_type"},
		{"v", "0079" + strings.Repeat("0076", 70), "gvariant_too_deep"},
		{"{sv}", "", "gvariant_not_normal"},
		{"a{vs}", "", "gvariant_type"},
		{"(s", "", "gvariant_type"},
	} {
		data, err := hex.DecodeString(v.hex)
		check(t, err)
		if got := ruleOf(t, ostree.CheckValue(v.sig, data)); got != v.rule {
			t.Errorf("%.40s %.80s: rule %q, want %q", v.sig, v.hex, got, v.rule)
		}
	}
}

// offsets are 1..n in the given width.
func offsets(n, width int) string {
	var b []byte
	for i := range n {
		b = append(b, append([]byte{byte(i + 1)}, make([]byte, width-1)...)...)
	}
	return hex.EncodeToString(b)
}

// ruleOf returns the rule that err says is broken, "" for no error.
func ruleOf(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var rule *ostree.RuleError
	if !errors.As(err, &rule) {
		t.Fatalf("%v is no RuleError", err)
	}
	if rule.Detail == "" {
		t.Errorf("rule %s comes without a detail", rule.Rule)
	}
	return rule.Rule
}

func FuzzValue(f *testing.F) {
	f.Add("a{sv}", []byte("a\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00u\x02\x0f"))
	f.Add("(a(say)a(sayay))", []byte("\x00"))
	f.Add("(yv(sas)b)", []byte("\x00"))
	f.Add("v", []byte("\x00()\x00v"))
	f.Fuzz(func(t *testing.T, sig string, data []byte) {
		var err error
		if cost := fixtures.Allocated(func() { err = ostree.CheckValue(sig, data) }); cost > uint64(1<<20+200*(len(sig)+len(data))) {
			t.Errorf("%d bytes of type %q cost %d", len(data), sig, cost)
		}
		if err != nil {
			return
		}
		if again, err := ostree.RepackValue(sig, data); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%s %x encodes to %x: %v", sig, data, again, err)
		}
	})
}
