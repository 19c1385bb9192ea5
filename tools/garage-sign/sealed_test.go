package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealift/internal/home"
)

// The archive of a build job has a sealed targets key.
func TestSealedTargetsKey(t *testing.T) {
	r := newRepository(t, true)
	box, err := r.offline.Keys().ExportSealed("targets", []byte("of the build"))
	check(t, err)
	s := newShell(t)
	s.credentials(r, map[string]string{"targets.sec": string(box)})
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("targets pull -r a -h $D")
	sign := "targets sign -r a -h $D --key-name targets --expire-after 1M"
	s.fails(3, "set GARAGE_SIGN_PASSPHRASE or GARAGE_SIGN_PASSPHRASE_FILE", sign)
	s.env["GARAGE_SIGN_PASSPHRASE"] = "wrong"
	s.fails(3, "targets.sec: the passphrase of GARAGE_SIGN_PASSPHRASE", sign)
	s.write("pass", "of the build\n")
	s.env = map[string]string{"GARAGE_SIGN_PASSPHRASE_FILE": s.dir + "/pass"}
	s.must(sign)
	s.must("targets push -r a -h $D")
	if r.twins["targets"] == nil || strings.Contains(s.file("a/keys/targets.sec"), "private") {
		t.Error("one passphrase must do for both flavours and never uncover the file")
	}
	s.must("key generate -r a -h $D -n next")
	plain, err := home.Unseal([]byte(s.file("a/keys/next.sec")), []byte("of the build"))
	if err != nil || !strings.Contains(string(plain), "private") {
		t.Errorf("a key made where a passphrase is set must be sealed: %v", err)
	}
}

// Builds get an archive with a passphrase of its own: it does not open the home, nor
// the home's the archive.
func TestArchiveWithItsOwnPassphrase(t *testing.T) {
	r := newRepository(t, true)
	s := newShell(t)
	s.env["GARAGE_SIGN_PASSPHRASE"] = "of the desk"
	box, err := r.offline.Keys().ExportSealed("targets", []byte("of the desk"))
	check(t, err)
	s.credentials(r, map[string]string{"targets.sec": string(box)})
	s.must("init -r desk -h $D -c $D/credentials.zip")
	export := "export-credentials -r desk -h $D -k targets -o $D/build.zip --reseal"
	s.fails(3, "set GARAGE_SIGN_ARCHIVE_PASSPHRASE", export)
	s.env["GARAGE_SIGN_ARCHIVE_PASSPHRASE"] = "of the build"
	s.fails(255, "leaves out", export+" --propose")
	s.must(export)
	s.must("init -r build -h $D -c $D/build.zip")
	s.must("targets pull -r build -h $D")
	sign := "targets sign -r build -h $D --key-name targets --expire-after 1M"
	s.fails(3, "the passphrase of GARAGE_SIGN_PASSPHRASE", sign)
	s.env["GARAGE_SIGN_PASSPHRASE"] = "of the build"
	s.must(sign)
	if _, err := home.Unseal([]byte(s.file("desk/keys/targets.sec")), []byte("of the build")); err == nil {
		t.Error("the passphrase of the build opens the home")
	}
}

func TestMoveOfflineWithoutNewKeys(t *testing.T) {
	r := newRepository(t, false)
	r.giveKeys()
	s := officer(t, r)
	s.env["GARAGE_SIGN_PASSPHRASE"] = "of the root"
	s.fails(3, "--new-root needs --new-targets", "move-offline -r a -h $D --old-root-alias root0 --new-root root1")
	s.fails(1, "key generate --name other", "move-offline -r a -h $D --old-root-alias root0 --new-root other --new-targets targets1")
	s.fails(1, "is no root key", "move-offline -r a -h $D --old-root-alias root0 --old-keyid 00")
	if len(r.private) != 2 {
		t.Fatal("a key is gone")
	}
	s.must("move-offline -r a -h $D --old-root-alias root0")
	if len(r.roots) != 1 || len(r.private) != 1 || !strings.Contains(s.stderr, "the root itself is unchanged") {
		t.Errorf("%d roots, %d keys, %s", len(r.roots), len(r.private), s.stderr)
	}
	if strings.Contains(s.file("a/keys/root0.sec"), "keyval") {
		t.Error("the key was stored in plain text")
	}
	s.must("root pull -r a -h $D")
	s.must("root key add -r a -h $D -k root1")
	s.must("root sign -r a -h $D -k root0 -k root1")
	s.must("root push -r a -h $D")
}

// A person at a terminal is asked; what is typed wrongly costs nothing.
func TestPassphraseOnATerminal(t *testing.T) {
	r := newRepository(t, true)
	s := builder(t, r)
	generate := "key generate -r a -h $D -n mine --sealed"
	s.fails(3, "set GARAGE_SIGN_PASSPHRASE or GARAGE_SIGN_PASSPHRASE_FILE, or run this on a terminal", generate)
	s.typed = []string{"one", "two"}
	s.fails(3, "not the same twice", generate)
	s.typed = []string{"", ""}
	s.fails(3, "empty", generate)
	if _, err := os.Stat(filepath.Join(s.dir, "a/keys/mine.sec")); err == nil {
		t.Error("a key was stored all the same")
	}
	s.asked, s.typed = nil, []string{"of mine", "of mine"}
	s.must(generate)
	if got := strings.Join(s.asked, "|"); got != "New passphrase for key mine: |The same again: " {
		t.Errorf("asked %q", got)
	}
	sec := s.file("a/keys/mine.sec")
	sign := "targets sign -r a -h $D -k mine"
	for _, wrong := range []string{"of yours", ""} {
		s.typed = []string{wrong}
		s.fails(3, "wrong passphrase", sign)
	}
	s.typed = []string{} // the terminal is gone
	s.fails(3, "asking for a passphrase", sign)
	s.typed, s.env["GARAGE_SIGN_PASSPHRASE_FILE"] = nil, s.dir+"/none"
	s.fails(3, "reading GARAGE_SIGN_PASSPHRASE_FILE", sign)
	s.env = map[string]string{}
	s.fails(3, "no passphrase; set GARAGE_SIGN_PASSPHRASE", sign)
	if s.file("a/keys/mine.sec") != sec {
		t.Error("the key file has changed")
	}
	s.asked, s.typed = nil, []string{"of mine"}
	s.must(sign) // both flavours, asked once
	if len(s.asked) != 1 || !strings.HasSuffix(s.asked[0], "a/keys/mine.sec: ") {
		t.Errorf("asked %q", s.asked)
	}
	// It goes into archives as it is: sealed.
	s.typed = nil
	s.must("export-credentials -r a -h $D -k mine -o $D/out.zip")
	s.must("init -r b -h $D -c $D/out.zip")
	if s.file("b/keys/targets.sec") != sec {
		t.Error("the archive has another file")
	}
	// What is left of a sealed file is no key, and says so.
	s.write("a/keys/mine.sec", sec[:len(sec)/2])
	s.typed = []string{"of mine"}
	s.fails(3, "mine.sec", sign)
}
