package canonical_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"

	"sealift/fixtures"
	"sealift/uptane/canonical"
)

func parse(t *testing.T, s string) canonical.Value {
	t.Helper()
	v, err := canonical.Parse([]byte(s), canonical.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// What jsoncpp writes, as the compiled client was seen to write it.
func TestUptaneForm(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`"\" \\ \/ \b \f \n \r \t"`, `"\" \\ / \b \f \n \r \t"`},
		{`"\u0001\u001f\u007f"`, "\"\\u0001\\u001f\x7f\""},
		{`"<>&'/"`, `"<>&'/"`},
		{`"\u00E9 ł € 😀 \ud83d\ude00"`, `"\u00e9 \u0142 \u20ac \ud83d\ude00 \ud83d\ude00"`},
		{"\"\u2028\ufffd\uffff\"", `"\u2028\ufffd\uffff"`},
		{` { "b" : 1 , "a" : [ ] , "aa" : { } , "B!" : null } `, `{"B!":null,"a":[],"aa":{},"b":1}`},
		{`{"é":1,"z":2,"\ue000":3,"😀":4}`, `{"z":2,"\u00e9":1,"\ue000":3,"\ud83d\ude00":4}`},
		{`[true,false,null,-0,0,-1,9223372036854775807,-9223372036854775808]`, `[true,false,null,0,0,-1,9223372036854775807,-9223372036854775808]`},
		{`{"":{"":[[],[{}]]}}`, `{"":{"":[[],[{}]]}}`},
	} {
		if got := string(parse(t, c.in).Uptane()); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func TestTUFFormIsThatOfTheLibrary(t *testing.T) {
	for _, in := range []string{
		`{"b":[1,-2,{"x":null}],"a":"line\nbreak \u0001 \"\\ é 😀 <>&","z":true,"":false}`,
		`"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"`, `[]`, `{}`, `[[],{}]`,
	} {
		var v any
		dec := json.NewDecoder(strings.NewReader(in))
		dec.UseNumber()
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
		want, err := cjson.EncodeCanonical(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := parse(t, in).TUF(); !bytes.Equal(got, want) {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	deep := strings.Repeat("[", 65) + strings.Repeat("]", 65)
	for name, in := range map[string]string{
		"nothing": ``, "blank": ` `, "word": `nul`, "other word": `True`, "two values": `1 2`, "rubbish after": `{}x`,
		"comment": `{}/**/`, "comma at end": `[1,]`, "comma at end of object": `{"a":1,}`, "no comma": `[1 2]`,
		"no colon": `{"a" 1}`, "no name": `{1:2}`, "open array": `[1`, "open object": `{"a":1`, "open string": `"a`,
		"fraction": `1.0`, "exponent": `1e3`, "big exponent": `1E+3`, "beyond int64": `9223372036854775808`,
		"below int64": `-9223372036854775809`, "leading zero": `01`, "plus": `+1`, "lone minus": `-`, "point": `1.`,
		"twice": `{"a":1,"a":1}`, "twice by escape": `{"a":1,"\u0061":1}`, "case": `{"Version":1,"version":1}`,
		"case of Kelvin": `{"k":1,"` + "\u212a" + `":1}`, "case of long s": `{"s":1,"` + "\u017f" + `":1}`,
		"control character": "\"\n\"", "control behind escape": "\"\\n\n\"", "escape": `"\x"`, "half escape": `"\u12"`,
		"lone surrogate": `"\ud83d"`, "swapped surrogates": `"\ude00\ud83d"`, "surrogate and text": `"\ud83dabcdef"`,
		"not UTF-8": "\"\xff\"", "overlong": "\"\xc0\xaf\"", "surrogate in UTF-8": "\"\xed\xa0\x80\"",
		"NUL": `"\u0000"`, "too deep": deep, "byte order mark": "\ufeff{}",
	} {
		if v, err := canonical.Parse([]byte(in), canonical.Options{}); !errors.Is(err, canonical.ErrSyntax) {
			t.Errorf("%s: %q became %s, error %v", name, in, v.Uptane(), err)
		}
	}
	if _, err := canonical.Parse([]byte(deep[1:129]), canonical.Options{}); err != nil {
		t.Errorf("64 levels: %v", err)
	}
	if _, err := canonical.Parse([]byte(`[[1]]`), canonical.Options{MaxDepth: 1}); err == nil {
		t.Error("MaxDepth 1 let two levels pass")
	}
}

func TestOptions(t *testing.T) {
	ascii := canonical.Options{ASCII: true}
	for _, in := range []string{`"é"`, `"\u00e9"`, `{"é":1}`, "\"\x7f\""} {
		if _, err := canonical.Parse([]byte(in), ascii); err == nil {
			t.Errorf("%s passed as ASCII", in)
		}
	}
	if _, err := canonical.Parse([]byte(`"PEM\n"`), ascii); err != nil {
		t.Error(err)
	}
	free := `{"A":1.50,"a":1e3,"b":18446744073709551615,"c":0.1}`
	got, err := canonical.Normalize([]byte(free), canonical.Options{Free: true})
	if err != nil || string(got) != free {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := canonical.Parse([]byte(`{"a":1,"a":2}`), canonical.Options{Free: true}); err == nil {
		t.Error("a member given twice passed as free JSON")
	}
}

func TestAccess(t *testing.T) {
	v := parse(t, `{"n":5,"s":"x","b":true,"l":[1,2],"o":{"k":"v"}}`)
	n, _ := v.Member("n")
	if i, ok := n.Int(); !ok || i != 5 {
		t.Errorf("got %d, %v", i, ok)
	}
	if _, ok := n.Text(); ok {
		t.Error("a number is no text")
	}
	if _, ok := v.Member("N"); ok {
		t.Error("names must match exactly")
	}
	changed := v.With("n", canonical.Int(6)).With("a", canonical.Flag(false)).Without("s").Without("none")
	if got := string(changed.Uptane()); got != `{"a":false,"b":true,"l":[1,2],"n":6,"o":{"k":"v"}}` {
		t.Errorf("got %s", got)
	}
	if got := string(v.Uptane()); got != `{"b":true,"l":[1,2],"n":5,"o":{"k":"v"},"s":"x"}` {
		t.Errorf("the original changed: %s", got)
	}
}

// Every body the real client wrote in canonical form comes back byte for byte.
func TestRecordedBodies(t *testing.T) {
	seen := 0
	err := fs.WalkDir(fixtures.Aktualizr(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".json") {
			return err
		}
		raw, err := fs.ReadFile(fixtures.Aktualizr(), path)
		if err != nil {
			return err
		}
		got, err := canonical.Normalize(raw, canonical.Options{})
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !bytes.Equal(got, raw) {
			t.Errorf("%s: rewritten as\n%s\nfrom\n%s", path, got, raw)
		}
		seen++
		return nil
	})
	if err != nil || seen < 40 {
		t.Errorf("%d recordings, %v", seen, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"b":[1,-0,"é\n\ud83d\ude00"],"a":null}`, `[[[]]]`, `"\u0001"`, `{"A":1.5,"a":1e9}`} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, free bool) {
		o := canonical.Options{Free: free}
		var v canonical.Value
		var err error
		if cost := fixtures.Allocated(func() { v, err = canonical.Parse(raw, o) }); cost > uint64(4<<20+400*len(raw)) {
			t.Errorf("%d bytes cost %d", len(raw), cost)
		}
		if err != nil {
			return
		}
		once := v.Uptane()
		if !json.Valid(once) {
			t.Fatalf("%q was written as %q", raw, once)
		}
		again, err := canonical.Parse(once, o)
		if err != nil || !bytes.Equal(again.Uptane(), once) || !bytes.Equal(again.TUF(), v.TUF()) {
			t.Fatalf("%q reads as %q, then as %q, %v", raw, once, again.Uptane(), err)
		}
		if !json.Valid(raw) {
			t.Fatalf("%q is no JSON", raw)
		}
	})
}
