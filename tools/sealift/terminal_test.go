package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sealift/fixtures/device"
)

// What devices say cannot move the cursor, clear the screen, change colours or
// turn text around.
func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"truck-1, Übung 日本":          "truck-1, Übung 日本",
		"\x1b[2Jgone":                `\u001b[2Jgone`,
		"a\nb\tc\r":                  `a\u000ab\u0009c\u000d`,
		"c1 \u009b31m":               `c1 \u009b31m`,
		"abc\u202egnp.exe":           `abc\u202egnp.exe`,
		"zero\u200bwidth\ufeff":      `zero\u200bwidth\ufeff`,
		"broken \xff\xc3":            `broken \xff\xc3`,
		"tag \U000e0041":             `tag \udb40\udc41`,
		"del\x7f and no-break\u00a0": `del\u007f and no-break\u00a0`,
	} {
		if got := plain(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

func FuzzPlainJSON(f *testing.F) {
	f.Add("\u009b31m \U000e0041 plain")
	f.Fuzz(func(t *testing.T, text string) {
		raw, err := json.MarshalIndent(map[string]string{"said": text}, "", "  ")
		if err != nil {
			t.Skip()
		}
		var before, after map[string]string
		if err := json.Unmarshal(raw, &before); err != nil {
			t.Fatal(err)
		}
		shown := plainJSON(string(raw))
		if err := json.Unmarshal([]byte(shown), &after); err != nil || after["said"] != before["said"] {
			t.Errorf("%q became %q: %v", before["said"], after["said"], err)
		}
		if strings.ContainsFunc(strings.ReplaceAll(shown, "\n", ""), func(r rune) bool { return plain(string(r)) != string(r) }) {
			t.Errorf("%q is not fit for a terminal", shown)
		}
	})
}

func TestRefusalsAreFitForATerminal(t *testing.T) {
	for name, c := range map[string]struct {
		refusal apiError
		want    string
	}{
		"no body":   {apiError{Status: 502}, "the server answered 502 Bad Gateway"},
		"with text": {apiError{Code: "c", Description: "no such device", Cause: json.RawMessage(`"\u001b[2J"`)}, `no such device: \u001b[2J (c)`},
		"with list": {apiError{Code: "c", Description: "broken", Cause: json.RawMessage(`["a","b"]`)}, `broken: ["a","b"] (c)`},
		"null":      {apiError{Code: "c", Description: "broken", Cause: json.RawMessage(`null`)}, "broken (c)"},
	} {
		if got := c.refusal.Error(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A finding's mark, words and advice.
func TestFindingLines(t *testing.T) {
	var out strings.Builder
	findingAnswer{Level: "error", ECU: strings.Repeat("ab", 32), Text: "failed:\x1b[31m", Advice: "look"}.print(&out, "  ")
	if want := "  [!!] abababababab: failed:\\u001b[31m\n       -> look\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// Idle polls of a simulated device are told once; what happens later brings
// the steps before it along.
func TestNarratorKeepsQuiet(t *testing.T) {
	var out strings.Builder
	n := &narrator{w: &out}
	idle := func() {
		n.step(device.Step{At: time.Now(), Phase: device.PhaseReport, Title: "sent manifest"})
		n.step(device.Step{At: time.Now(), Phase: device.PhaseDirector, Title: "Director targets"})
	}
	n.begin(true)
	idle()
	if strings.Count(out.String(), "\n") != 2 {
		t.Errorf("the first poll: %q", out.String())
	}
	out.Reset()
	n.begin(false)
	idle()
	if out.Len() != 0 {
		t.Errorf("an idle poll was told: %q", out.String())
	}
	n.step(device.Step{At: time.Now(), Phase: device.PhaseDownload, Title: "downloaded image"})
	if strings.Count(out.String(), "\n") != 3 {
		t.Errorf("a poll with an image: %q", out.String())
	}
}

// The demo's build is the same everywhere, large enough, and changes little.
func TestDemoBuild(t *testing.T) {
	first, err := build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	second, err := build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if first.commits != second.commits || first.commits[0] == first.commits[1] {
		t.Errorf("commits %v and %v", first.commits, second.commits)
	}
	if first.objects < 500 || first.changed < 2 || first.changed > first.objects/10 {
		t.Errorf("%d objects, %d of them changed", first.objects, first.changed)
	}
}
