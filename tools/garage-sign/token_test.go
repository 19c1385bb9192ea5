//go:build pkcs11

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sealift/internal/home"
)

// The root and the targets key are in a token, from the first root on.
func TestKeysInAToken(t *testing.T) {
	if _, err := exec.LookPath("softhsm2-util"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("softhsm2 is not installed; make deps installs it")
		}
		t.Skip("softhsm2 is not installed")
	}
	r := newRepository(t, true)
	s := newShell(t)
	s.credentials(r, nil)
	check(t, r.offline.Connect([]byte(s.file("credentials.zip"))))
	s.dir = filepath.Dir(r.offline.Dir())
	conf := filepath.Join(s.dir, "softhsm2.conf")
	s.write("softhsm2.conf", "directories.tokendir = "+s.dir+"\nobjectstore.backend = file\n")
	t.Setenv("SOFTHSM2_CONF", conf)
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "ours", "--pin", "1234", "--so-pin", "4321").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.env["PKCS11_MODULE_PATH"] = "/usr/lib/softhsm/libsofthsm2.so"
	const generate = "key generate -r image -h $D "
	s.fails(1, "no PIN", generate+"-n hsm-root --pkcs11 pkcs11:token=ours;object=root")
	s.env["PKCS11_PIN"] = "1234"
	s.fails(1, "not found", generate+"-n hsm-root --pkcs11 pkcs11:token=theirs;object=root")
	s.fails(255, "library is named", generate+"-n hsm-root --pkcs11 pkcs11:token=ours;object=root?module-path=/tmp/x.so")
	s.must(generate + "-n hsm-root --pkcs11 pkcs11:token=ours;object=root")
	s.must(generate + "-n hsm-targets -t rsa --keysize 2048 --pkcs11 pkcs11:token=ours;object=targets")
	// What takes the place of a key in a token is made there, of the same type.
	ring := home.OpenKeyring(filepath.Join(s.dir, "image", "keys"), home.Options{Passphrases: &home.Passphrases{Getenv: func(name string) string { return s.env[name] }}})
	gone, err := ring.Public("hsm-targets")
	check(t, err)
	next, err := ring.Successor("hsm-next", gone, "")
	check(t, err)
	if at := s.file("image/keys/hsm-next.sec"); next == gone || next.Algorithm() != "rsa2048" || !strings.HasPrefix(at, "pkcs11:token=ours;object=sealift-hsm-next-") {
		t.Errorf("the successor is %s at %q", next.Algorithm(), at)
	}
	if got := s.file("image/keys/hsm-root.sec"); got != "pkcs11:token=ours;object=root\n" {
		t.Errorf("the private key file has %q", got)
	}
	for _, line := range []string{
		"root pull -r image -h $D",
		"root key add -r image -h $D -k hsm-root", "root key remove -r image -h $D -k root",
		"root targets-key add -r image -h $D -k hsm-targets", "root targets-key remove -r image -h $D -k targets",
		"root sign -r image -h $D -k root -k hsm-root", "root push -r image -h $D",
	} {
		s.must(line)
	}
	s.must("targets init -r image -h $D --version 1 --expires 2031-01-01T00:00:00Z")
	s.must(strings.Replace(add("x-1", "board"), "-r a", "-r image", 1))
	s.must("targets sign -r image -h $D -k hsm-targets")
	s.write("image/roles/targets.json.checksum", home.ChecksumOf(r.targets))
	s.must("targets push -r image -h $D")
	if d := r.published().Signed; d.Version != 2 || len(d.Targets) != 1 {
		t.Errorf("published %+v", d)
	}
	if !strings.Contains(string(r.targets), "rsassa-pss-sha256") || r.twins["targets"] == nil {
		t.Error("not signed by the token in both flavours")
	}
	// Whoever has the archive needs the token as well.
	s.must("export-credentials -r image -h $D -k hsm-targets -o $D/out.zip")
	s.must("init -r build -h $D -c $D/out.zip")
	s.must("targets pull -r build -h $D")
	s.must("targets sign -r build -h $D -k targets")
	// What is missing is named, and the key stays what it is.
	sign := "targets sign -r build -h $D -k targets"
	s.env["PKCS11_PIN"] = ""
	s.fails(3, "set PKCS11_PIN or PKCS11_PIN_FILE, or run this on a terminal", sign)
	s.env["PKCS11_PIN_FILE"] = s.dir + "/none"
	s.fails(3, "PIN", sign)
	s.write("pin", "1234\n")
	s.env["PKCS11_PIN_FILE"] = s.dir + "/pin"
	s.must(sign)
	s.env["PKCS11_PIN_FILE"] = ""
	s.asked, s.typed = nil, []string{"1234"}
	s.must(sign)
	if len(s.asked) != 1 || s.asked[0] != "PIN of token ours: " {
		t.Errorf("asked %q", s.asked)
	}
	s.typed, s.env["PKCS11_PIN"] = nil, "1234"
	s.env["PKCS11_MODULE_PATH"] = s.dir + "/none.so"
	s.fails(3, "none.so", sign)
	if got := s.file("build/keys/targets.sec"); got != "pkcs11:token=ours;object=targets\n" {
		t.Errorf("the private key file has %q", got)
	}
}
