package ostree_test

import (
	"strings"
	"testing"

	"sealift/treehub/ostree"
)

const someHex = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func TestObjectPath(t *testing.T) {
	good := someHex[:2] + "/" + someHex[2:]
	for _, ext := range []string{"filez", "commit", "dirtree", "dirmeta", "commitmeta", "tombstone-commit"} {
		name, err := ostree.ParseObjectPath(good + "." + ext)
		if err != nil || name.Path() != good+"."+ext || name.String() != someHex+"."+ext {
			t.Errorf("%s: %v, %v", ext, name, err)
		}
		if same, err := ostree.ParseObjectName(name.String()); err != nil || same != name {
			t.Errorf("%s: %v, %v", name, same, err)
		}
	}
	for _, bad := range []string{
		"", "0", "00/", good, good + ".", good + ".file", good + ".filez ", good + ".filez.commit", good + ".Commit",
		someHex + ".filez", someHex[:3] + "/" + someHex[3:] + ".filez", strings.ToUpper(good) + ".filez",
		"/" + good + ".filez", good[:len(good)-1] + ".filez", good + "0.filez", "../" + good[3:] + ".filez",
		good[:10] + "/" + good[11:] + ".filez", good + "\n.filez", "00.filez",
	} {
		if name, err := ostree.ParseObjectPath(bad); ruleOf(t, err) != "name" {
			t.Errorf("%q was read as %v", bad, name)
		}
	}
}

func TestRefNames(t *testing.T) {
	for _, good := range []string{"main", "a/b/c", "poky-1.0_x86", "1", "_x", "größe", "a/" + someHex} {
		if err := ostree.CheckRef(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.b", "-a", "a b", "a:b", "a\n", "a\x00", "a\\b", "a%2fb", "\xff",
		someHex, strings.Repeat("a", 256),
	} {
		if ruleOf(t, ostree.CheckRef(bad)) != "ref_name" {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestDeltaPath(t *testing.T) {
	from, err := ostree.ParseChecksum(someHex)
	check(t, err)
	to, err := ostree.ParseChecksum(strings.Repeat("ff", 32))
	check(t, err)
	if got, want := to.MB64(), strings.Repeat("_", 42)+"8"; got != want {
		t.Errorf("mb64 of ff... is %s, want %s", got, want)
	}
	for _, d := range []ostree.DeltaName{{From: from, To: to}, {To: from}} {
		if same, err := ostree.ParseDeltaPath(d.Path()); err != nil || same != d {
			t.Errorf("%s was read as %v, %v", d.Path(), same, err)
		}
	}
	good := ostree.DeltaName{From: from, To: to}.Path()
	zero := strings.Repeat("A", 43)
	for _, bad := range []string{
		"", good[:2], strings.Replace(good, "/", "", 1), good + "-", good[:len(good)-1] + "9", good + "=",
		strings.Replace(good, "_", "/", 1), good[:20] + "\n" + good[20:], zero[:2] + "/" + zero[2:] + "-" + to.MB64(),
	} {
		if d, err := ostree.ParseDeltaPath(bad); ruleOf(t, err) != "name" {
			t.Errorf("%q was read as %v", bad, d)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add(someHex[:2] + "/" + someHex[2:] + ".filez")
	f.Add(ostree.DeltaName{To: ostree.Checksum{1}}.Path())
	f.Add("main/board")
	f.Add(ostree.Checksum{1}.MB64())
	f.Add(someHex + ".commit")
	f.Fuzz(func(t *testing.T, s string) {
		if name, err := ostree.ParseObjectPath(s); err == nil && name.Path() != s {
			t.Errorf("object path %q is written %q", s, name.Path())
		}
		if name, err := ostree.ParseObjectName(s); err == nil && name.String() != s {
			t.Errorf("object %q is written %q", s, name)
		}
		if sum, err := ostree.ParseMB64(s); err == nil && sum.MB64() != s {
			t.Errorf("checksum %q is written %q", s, sum.MB64())
		}
		if name, err := ostree.ParseDeltaPath(s); err == nil && name.Path() != s {
			t.Errorf("delta path %q is written %q", s, name.Path())
		}
		if ostree.CheckRef(s) == nil && (strings.Contains(s, "..") && strings.Contains("/"+s+"/", "/../") || strings.HasPrefix(s, "/")) {
			t.Errorf("ref %q leaves its folder", s)
		}
	})
}
