package main

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

type httpWriter = http.ResponseWriter

func TestExitCodes(t *testing.T) {
	r := newRepository(t, false)
	s := newShell(t)
	s.credentials(r, nil)
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("init -r d -h $D -t director --reposerver http://localhost -c $D/credentials.zip")
	s.must("targets --repo a -h $D init --version 1 --expires 2030-01-01T00:00:00Z")
	add := "targets add -r a -h $D --name n --version 1 --length 0 --sha256 " + commit + " --hardwareids h "
	for _, c := range []struct {
		code int
		want string
		line string
	}{
		{0, "", ""}, {0, "", "--help"}, {0, "", "--version"}, {0, "", "targets sign --help"},
		{255, "Unknown argument 'x'", "x"}, {255, "Unknown option --x", "--x init"}, {255, "Missing option --repo", "init -c z"},
		{255, "needs a command", "targets -r a"}, {255, "needs a value", "targets pull -r"}, {255, "takes no value", "root pull -r a --force=1"},
		{255, "once only", "targets pull -r a -r b"}, {255, "name of a repository", "targets pull -r ../a"},
		{255, "no key type", "key generate -r a -h $D -n x -t dsa"}, {255, "no size", "key generate -r a -h $D -n x -t rsa --keysize 1024"},
		{255, "no length", strings.Replace(add, "--length 0", "--length=-1", 1)}, {255, "SHA-256", strings.Replace(add, commit, "AA", 1)},
		{255, "no format", add + "--format tar"}, {255, "cannot set", add + `--customMeta {"uri":"x"}`}, {255, "no JSON object", add + `--customMeta {"a":1.5}`},
		{255, "no hardware id", strings.Replace(add, "ids h", "ids h,,x", 1)},
		{255, "Only one of", "targets sign -r a -h $D --key-name targets --expires 2031-01-01T00:00:00Z --expire-after 1D"},
		{255, "no instant", "targets sign -r a -h $D --key-name targets --expires tomorrow"}, {255, "Missing option --key-name", "targets sign -r a -h $D"},
		{1, "in the past", "targets sign -r a -h $D --key-name targets --expires 2029-01-01T00:00:00Z"},
		{0, "", "targets sign -r a -h $D --key-name targets --expires 2029-01-01T00:00:00Z --force"},
		{1, "there is no repository", "targets pull -r b -h $D"}, {1, "new-targets is for the image", "move-offline -r d -h $D --old-root-alias o --new-targets x"},
		{255, "no name of a delegation", "delegations push -r a -h $D -n ../x -i y"}, {255, "no name of a delegation", "targets delegations add -r a -h $D -n a.b -p x -k y"},
		{255, "no release counter", add + "--release 0"}, {255, "devices", "key generate -r a -h $D -n x -t ecPrime256v1"},
		{3, "already initialized", "init -r a -h $D -c $D/credentials.zip"}, {3, "no such file", "init -r b -h $D -c $D/none.zip"},
		{3, "not found", "targets sign -r a -h $D --key-name other"}, {3, "not found", "targets delete -r a -h $D --filename x"},
		{3, "already initialized", "key generate -r a -h $D -n targets"}, {255, "server type", "init -r c -h $D -c $D/credentials.zip -t x"},
	} {
		if got := s.run(c.line); got != c.code || !strings.Contains(s.stderr, c.want) {
			t.Errorf("%q: exit %d, want %d and %q:\n%s", c.line, got, c.code, c.want, s.stderr)
		}
	}
}

// Every command and option of garage-sign 0.7.7 and of uptane-sign, which build
// scripts may use; ! marks what is required.
const contract = `
init                          !--repo -r !--credentials -c --reposerver --servertype -t
key generate                  !--repo -r !--name -n --type -t --keysize
move-offline                  !--repo -r !--old-root-alias --new-root --new-targets --old-keyid
root pull                     !--repo -r --force
root push                     !--repo -r
root get-unsigned             !--repo -r
root key add                  !--repo -r !--key-name -k
root key remove               !--repo -r --key-name -k --key-id
root targets-key add          !--repo -r !--key-name -k
root targets-key remove       !--repo -r --key-name -k --key-id
root sign                     !--repo -r --key-name -k --expires --expire-after --force --old-root-alias --signatures
root increment-version        !--repo -r
root set-threshold            !--repo -r !--threshold -t
targets init                  !--repo -r !--version !--expires
targets add                   !--repo -r !--length !--name !--version !--sha256 !--hardwareids --format --url --customMeta
targets add-uploaded          !--repo -r !--input -i !--name !--version !--hardwareids --customMeta --verifyIntegrity
targets verify-uploaded       !--repo -r !--input -i !--name !--version
targets delete                !--repo -r !--filename
targets get-unsigned          !--repo -r
targets sign                  !--repo -r --key-name -k --version --signatures --expires --expire-after --force
targets pull                  !--repo -r
targets push                  !--repo -r
targets upload                !--repo -r !--input -i !--name !--version --timeout --force
targets delegations add       !--repo -r !--name -n !--prefix -p !--key -k
targets increment-version     !--repo -r
targets set-threshold         !--repo -r !--threshold -t
targets clean-ostree-storage  !--repo -r
delegations init
delegations add-target        !--input -i --inplace -e !--length !--name !--version !--sha256 !--hardwareids --format --url --customMeta
delegations sign              !--key-name -k --keys-path -p !--input -i --inplace -e
delegations push              !--repo -r !--name -n !--input -i
delegations pull              !--repo -r !--name -n --output -o
user-keys gen                 !--key-name -k --type -t --keysize --keys-path -p
user-keys id                  !--input -i
user-keys importpub           !--repo -r !--key-name -k !--input -i
sign-json                     --priv-key -k --pub-key -p --input -i
verify-json                   --priv-key -k --pub-key -p --input -i
export-credentials            !--repo -r !--key-name -k !--output -o
import-client-cert            !--repo -r !--client-cert -c --server-cert -s
get-targets                   !--repo -r
verify-root                   !--repo -r --input -i
`

func TestEveryCommandOfTheOlderTool(t *testing.T) {
	for line := range strings.Lines(strings.TrimSpace(contract)) {
		words := strings.Fields(line)
		c := &call{path: []*command{commands()}}
		for len(words) > 0 && !strings.ContainsAny(words[0][:1], "-!") {
			sub := find(c.command().subs, words[0])
			if sub == nil {
				t.Fatalf("%s: there is no %s", line, words[0])
			}
			c.path, words = append(c.path, sub), words[1:]
		}
		if c.command().run == nil {
			t.Errorf("%s does nothing", c.name())
		}
		for _, word := range append(words, "--home-dir", "-h", "--verbose", "--help") {
			name, required := strings.CutPrefix(word, "!")
			if o := c.option(name); o == nil || required && !o.required {
				t.Errorf("%s: option %s is missing, or need not be given", c.name(), name)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for args, want := range map[string]string{"/usr/bin/uptane-sign --version": "uptane-sign ", "./garage-sign --version": "garage-sign ", "gs --version": "garage-sign "} {
		var out strings.Builder
		if code := run(t.Context(), strings.Fields(args), world{stdout: &out, stderr: &out}); code != 0 || !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s: %d %q", args, code, out.String())
		}
	}
}

func TestPeriods(t *testing.T) {
	from := time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]string{
		"1M": "2030-02-28", "P1M": "2030-02-28", "1Y3M5D": "2031-05-05", "2W": "2030-02-14", "25M": "2032-02-29", "30d": "2030-03-02", "12M": "2031-01-31",
	} {
		got, err := addPeriod(from, in)
		if err != nil || got.Format("2006-01-02T15:04:05") != want+"T12:00:00" {
			t.Errorf("%s: %s, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "P", "1", "M", "1H", "PT1H", "-1D", "1D1M", "99999Y", "1.5M"} {
		if got, err := addPeriod(from, in); err == nil {
			t.Errorf("%q gives %s", in, got)
		}
	}
}
