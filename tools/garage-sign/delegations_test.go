package main

import (
	"strings"
	"testing"
)

// A supplier signs for its own files: whoever signs the targets says so once.
func TestDelegation(t *testing.T) {
	r := newRepository(t, true)
	owner, supplier := builder(t, r), newShell(t)
	supplier.must("user-keys gen -k me -h $D")
	supplier.must("user-keys gen -k deputy -h $D -t rsa --keysize 2048")
	owner.write("me.pub", supplier.file("user-keys/me.pub"))
	owner.write("deputy.pub", supplier.file("user-keys/deputy.pub"))
	owner.must("targets delegations add -r a -h $D -n old -p x* -k $D/me.pub")
	owner.must("targets delegations add -r a -h $D -n radio -p radio-* -p tuner* -k $D/me.pub -k $D/deputy.pub --threshold 2")
	owner.must("targets delegations add -r a -h $D -n first -p f* -k $D/deputy.pub --not-terminating")
	owner.must("targets delegations remove -r a -h $D -n old")
	owner.must("targets delegations list -r a -h $D")
	if !strings.HasPrefix(owner.stdout, "first  1 of 1 keys\n  path f*\n") || !strings.Contains(owner.stdout, "radio  2 of 2 keys, terminating\n  path radio-*\n  path tuner*\n") {
		t.Errorf("delegations:\n%s", owner.stdout)
	}
	owner.must("targets sign -r a -h $D -k targets")
	owner.must("targets push -r a -h $D")

	supplier.must("delegations init")
	supplier.write("radio.json", supplier.stdout)
	addTarget := "delegations add-target -i $D/radio.json -e --name radio --version V --length 5 --sha256 " + commit + " --hardwareids radio-hw --format binary"
	supplier.must(strings.Replace(addTarget, "V", "1", 1))
	supplier.must(strings.Replace(addTarget, "V", "2", 1) + " --release 40")
	supplier.must("delegations remove-target -i $D/radio.json -e --filename radio-1")
	supplier.must("delegations sign -i $D/radio.json -h $D -k me") // to stdout
	alone := supplier.stdout
	supplier.must("delegations sign -i $D/radio.json -h $D -k me -k deputy -e")
	supplier.fails(1, "signed already", "delegations sign -i $D/radio.json -h $D -k me")
	supplier.fails(1, "signed already", strings.Replace(addTarget, "V", "3", 1))

	supplier.credentials(r, map[string]string{"targets.sec": "", "targets.pub": ""})
	supplier.must("init -r a -h $D -c $D/credentials.zip")
	supplier.must("delegations push -r a -h $D -n radio -i $D/radio.json")
	if r.delegated["radio.json"] == nil || !strings.Contains(string(r.twins["radio"]), `"_type":"targets"`) {
		t.Fatalf("delegated %d bytes, twin %.80s", len(r.delegated["radio.json"]), r.twins["radio"])
	}
	if !strings.Contains(string(r.delegated["radio.json"]), `"releaseCounter":40`) {
		t.Errorf("pushed %s", r.delegated["radio.json"])
	}
	supplier.write("alone.json", alone)
	supplier.fails(3, "payload_signature_invalid", "delegations push -r a -h $D -n radio -i $D/alone.json")
	supplier.fails(1, "targets delegations add", "delegations push -r a -h $D -n nobody -i $D/radio.json")
	supplier.write("alone.tuf.json", supplier.file("radio.tuf.json"))
	supplier.write("alone.json", strings.Replace(alone, `"length" : 5`, `"length" : 6`, 1))
	supplier.fails(1, "flavours differ", "delegations push -r a -h $D -n radio -i $D/alone.json")

	// The next version begins with what the server has, verified.
	supplier.must("delegations pull -r a -h $D -n radio -o $D/pulled.json")
	supplier.must("delegations pull -r a -h $D -n radio --unsigned -o $D/radio.json")
	if got := supplier.file("radio.json"); !strings.Contains(got, `"version" : 2`) || strings.Contains(got, "signatures") {
		t.Errorf("to be edited: %s", got)
	}
	supplier.must(strings.Replace(addTarget, "V", "3", 1))
	supplier.must("delegations sign -i $D/radio.json -h $D -k me -k deputy -e --expire-after 1M")
	supplier.must("delegations push -r a -h $D -n radio -i $D/radio.json")
	supplier.must("delegations pull -r a -h $D -n radio")
	if !strings.Contains(supplier.stdout, `"expires" : "2030-02-28T12:00:00Z"`) || !strings.Contains(supplier.stdout, `"releaseCounter" : 41`) {
		t.Errorf("pulled %s", supplier.stdout)
	}
	supplier.fails(1, "do not delegate to nobody", "delegations pull -r a -h $D -n nobody")
	r.delegated["radio.json"] = []byte(alone)
	supplier.fails(1, "cannot be trusted", "delegations pull -r a -h $D -n radio")
}

// Two people change delegations at once; the second push makes its change again.
func TestDelegationsOfTwo(t *testing.T) {
	r := newRepository(t, true)
	first, second := builder(t, r), builder(t, r)
	for s, name := range map[*shell]string{first: "alpha", second: "beta"} {
		s.must("user-keys gen -k me -h $D")
		s.must("targets delegations add -r a -h $D -n " + name + " -p " + name + "* -k $D/user-keys/me.pub")
		s.must("targets sign -r a -h $D -k targets")
	}
	first.must("targets push -r a -h $D")
	second.must("targets push -r a -h $D")
	first.must("targets pull -r a -h $D")
	first.must("targets delegations list -r a -h $D")
	if !strings.Contains(first.stdout, "alpha  1 of 1") || !strings.Contains(first.stdout, "beta  1 of 1") {
		t.Errorf("delegations: %s", first.stdout)
	}
}

func TestSignedJSON(t *testing.T) {
	s := newShell(t)
	s.must("user-keys gen -k me -h $D")
	s.must("user-keys gen -k other -h $D")
	s.write("note.json", `{"b": 1, "a": "x"}`)
	s.must("sign-json -k $D/user-keys/me.sec -p $D/user-keys/me.pub -i $D/note.json")
	s.write("signed.json", s.stdout)
	s.must("verify-json -p $D/user-keys/me.pub -i $D/signed.json")
	s.fails(1, "is not signed by", "verify-json -p $D/user-keys/other.pub -i $D/signed.json")
	s.write("signed.json", strings.Replace(s.file("signed.json"), `"x"`, `"y"`, 1))
	s.fails(1, "is not signed by", "verify-json -p $D/user-keys/me.pub -i $D/signed.json")
	s.fails(1, "different keys", "sign-json -k $D/user-keys/me.sec -p $D/user-keys/other.pub -i $D/note.json")
}

func TestVerifyRoot(t *testing.T) {
	r := newRepository(t, false)
	s := newShell(t)
	s.dir = r.offline.Dir()[:len(r.offline.Dir())-len("/image")]
	s.must("verify-root -r image -h $D")
	s.write("root1.json", s.file("image/roles/root.json"))
	s.must("root pull -r image -h $D")
	s.must("root sign -r image -h $D")
	s.must("verify-root -r image -h $D -i $D/root1.json")
	thief := newRepository(t, false)
	s.write("root.json", string(thief.roots[0]))
	s.must("root pull -r image -h $D --force")
	s.fails(1, "another root of version 1", "verify-root -r image -h $D -i $D/root.json")
	s.write("root.json", strings.Replace(string(thief.roots[0]), `"version":1`, `"version":2`, 1))
	s.fails(1, "is not valid", "verify-root -r image -h $D -i $D/root.json")
}

func TestVerifyUploaded(t *testing.T) {
	r := newRepository(t, false)
	s := builder(t, r)
	s.write("app", "the image")
	const same = " -r a -h $D -i $D/app --name app --version 1"
	s.fails(1, "does not give uploads back", "targets verify-uploaded"+same)
	s.must("targets upload" + same)
	s.must("targets verify-uploaded" + same)
	s.must("targets add-uploaded --verifyIntegrity --hardwareids board" + same)
	r.files["app-1"] = []byte("another")
	s.fails(1, "the server has app-1 with 7 bytes", "targets verify-uploaded"+same)
	s.fails(1, "the server has app-1 with 7 bytes", "targets add-uploaded --verifyIntegrity --hardwareids board"+same)
	s.must("targets clean-ostree-storage -r a -h $D")
}
