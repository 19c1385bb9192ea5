package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// Three officers hold a root key each, two must sign. The next root goes from one
// to the other as a file.
func TestRootOfSeveralPeople(t *testing.T) {
	r := newRepository(t, true)
	first := newShell(t)
	first.credentials(r, nil)
	check(t, r.offline.Connect([]byte(first.file("credentials.zip"))))
	second, third := builder(t, r), builder(t, r)
	first.dir = filepath.Dir(r.offline.Dir())
	for _, s := range []*shell{second, third} {
		s.must("key generate -r a -h $D -n mine")
	}
	first.write("second.pub", second.file("a/keys/mine.pub"))
	first.write("third.pub", third.file("a/keys/mine.pub"))
	for _, line := range []string{
		"root pull -r image -h $D",
		"user-keys importpub -r image -h $D -k second -i $D/second.pub", "user-keys importpub -r image -h $D -k third -i $D/third.pub",
		"root key add -r image -h $D -k second", "root key add -r image -h $D -k third", "root set-threshold -r image -h $D -t 2",
		"root sign -r image -h $D -k root",
	} {
		first.must(line)
	}
	first.fails(1, "is not valid", "root push -r image -h $D") // one of two
	if len(r.roots) != 1 {
		t.Fatal("half a root was published")
	}

	// The second looks, then signs and hands it on.
	second.write("root.json", first.file("image/roles/root.json"))
	second.write("root.tuf.json", first.file("image/roles/root.tuf.json"))
	second.must("root cosign -r a -h $D -i $D/root.json")
	for _, want := range []string{"Root version 2:", "- role root: 1 of [", "+ role root: 2 of [", "+ key ", "Signed by 1 of 1 keys of the root before and 1 of 2 of its own"} {
		if !strings.Contains(second.stdout, want) {
			t.Errorf("%q is not shown:\n%s", want, second.stdout)
		}
	}
	second.fails(1, "nobody can be asked", "root cosign -r a -h $D -i $D/root.json -k mine")
	second.must("root cosign -r a -h $D -i $D/root.json -k mine --yes -o $D/signed.json")
	if !strings.Contains(second.stdout, "2 of 2 of its own\nThat is enough") {
		t.Errorf("the second: %s", second.stdout)
	}
	// The first takes the signature over and publishes, both flavours at once.
	first.write("signed.json", second.file("signed.json"))
	first.write("signed.tuf.json", second.file("signed.tuf.json"))
	first.must("root cosign -r image -h $D -i $D/signed.json")
	first.must("root push -r image -h $D")
	if len(r.roots) != 2 || !strings.Contains(string(r.twins["root"]), `"version":2`) {
		t.Fatalf("%d roots", len(r.roots))
	}

	// From now on any two of the three: the first's key is taken out by the others.
	second.must("root pull -r a -h $D")
	second.must("root key remove -r a -h $D --key-id " + string(r.root().Roles["root"].KeyIDs[0]))
	second.must("root sign -r a -h $D -k mine")
	third.must("root pull -r a -h $D")
	third.write("root.json", second.file("a/roles/root.json"))
	third.write("root.tuf.json", second.file("a/roles/root.tuf.json"))
	third.must("root cosign -r a -h $D -i $D/root.json -k mine --yes")
	third.must("root push -r a -h $D")
	if len(r.roots) != 3 {
		t.Errorf("%d roots", len(r.roots))
	}

	// What has been changed on the way is shown or refused.
	third.write("other.tuf.json", third.file("root.tuf.json"))
	third.write("other.json", strings.Replace(third.file("root.json"), `"expires" : "2031`, `"expires" : "2041`, 1))
	third.fails(1, "flavours differ", "root cosign -r a -h $D -i $D/other.json")
	late := newShell(t)
	late.credentials(r, nil)
	late.must("init -r a -h $D -c $D/credentials.zip")
	late.write("root.json", third.file("root.json"))
	late.fails(1, "`root pull` fetches it", "root cosign -r a -h $D -i $D/root.json")
}
