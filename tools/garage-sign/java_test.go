package main

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sealift/fixtures"
	"sealift/internal/home"
	"sealift/uptane"
)

// javaHome is a working folder with a repository that the Java tool has made, and
// a server that has what it pushed.
func javaHome(t *testing.T) (*shell, *repository) {
	t.Helper()
	r, s := newRepository(t, false), newShell(t)
	check(t, os.CopyFS(s.dir, fixtures.GarageSign()))
	s.write("tufrepo/config.json", strings.Replace(s.file("tufrepo/config.json"), "https://repo.example.com", r.url, 1))
	root, err := home.Pretty([]byte(s.file("tufrepo/roles/root.json")))
	check(t, err)
	d, err := uptane.OpenRoot(uptane.Uptane, root, nil, time.Time{})
	check(t, err)
	targets, err := home.ReadSigned(filepath.Join(s.dir, "tufrepo/roles/targets.json"))
	check(t, err)
	r.roots, r.targets = [][]byte{d.Raw}, targets.Uptane
	return s, r
}

// A repository of the Java tool is taken over: every key, file and state.
func TestRepositoryOfTheJavaTool(t *testing.T) {
	s, r := javaHome(t)
	if sum := s.file("tufrepo/roles/targets.json.checksum"); sum != home.ChecksumOf(r.targets) {
		t.Fatalf("checksum %s of ours, %s of theirs", home.ChecksumOf(r.targets), sum)
	}
	s.must("verify-root -r tufrepo -h $D")
	for _, key := range []string{"root", "targets"} {
		s.must("user-keys id -i $D/tufrepo/keys/" + key + ".pub")
		if id := strings.TrimSpace(s.stdout); r.root().Roles[key].KeyIDs[0] != id {
			t.Errorf("key %s has id %s", key, id)
		}
	}
	s.must("targets get-unsigned -r tufrepo -h $D")
	for _, kept := range []string{`"vendor":{"list":[1,null,true],"note":"kept as it is"}`, `"old_3":{"custom":null,`, `"terminating":true`} {
		if !strings.Contains(s.stdout, kept) {
			t.Errorf("%s is lost in %s", kept, s.stdout)
		}
	}
	s.fails(1, "version 7 is already published", "targets push -r tufrepo -h $D")
	s.must(strings.Replace(add("app-3.0", "board"), "-r a", "-r tufrepo", 1))
	s.must("targets sign -r tufrepo -h $D -k targets")
	s.must("targets push -r tufrepo -h $D")
	if d := r.published().Signed; d.Version != 8 || len(d.Targets) != 4 {
		t.Errorf("published %+v", d)
	}
	s.must("targets pull -r tufrepo -h $D")
	// A new root, signed with its key and the one that was made for it.
	s.must("root key add -r tufrepo -h $D -k new-root")
	s.fails(3, "serves", "root targets-key add -r tufrepo -h $D -k new-root")
	s.must("root key remove -r tufrepo -h $D -k root")
	s.must("root sign -r tufrepo -h $D -k root -k new-root")
	s.must("root push -r tufrepo -h $D")
	s.must("delegations add-target -i $D/delegation.json -e --name radio --version 1 --length 5 --sha256 " + commit + " --hardwareids radio")
	s.must("delegations sign -i $D/delegation.json -p $D/tufrepo/keys -k new-root -e")
	s.must("delegations push -r tufrepo -h $D -n supplier -i $D/delegation.json")
}

func TestConfigurationsOfTheJavaTool(t *testing.T) {
	for file, want := range map[string]func(home.Config) bool{
		"config-oauth2.json": func(c home.Config) bool { return c.Auth.OAuth2.ClientID == "7455fb39" && c.Auth.OAuth2.Scope == "none" },
		"config-mtls.json": func(c home.Config) bool {
			return c.Auth.CertPath == "client_auth.p12" && c.Auth.ServerCertPath == "server.p12"
		},
		"config-mtls-alone.json": func(c home.Config) bool {
			return c.Auth.CertPath == "client_auth.p12" && c.Auth.ServerCertPath == ""
		},
		"config-director.json": func(c home.Config) bool { return c.ServerType == home.Director && c.Auth == nil },
	} {
		s, _ := javaHome(t)
		text := s.file(file)
		s.write("tufrepo/config.json", text)
		h, err := home.Open(filepath.Join(s.dir, "tufrepo"), home.Options{})
		check(t, err)
		if !want(h.Config()) {
			t.Errorf("%s: %+v", file, h.Config())
		}
		// What we write the Java tool reads: the same members, nulls included.
		check(t, h.SetConfig(h.Config()))
		if ours := s.file("tufrepo/config.json"); membersOf(t, ours) != membersOf(t, text) {
			t.Errorf("%s becomes %s", file, ours)
		}
	}
}

func membersOf(t *testing.T, text string) string {
	var v any
	check(t, json.Unmarshal([]byte(text), &v))
	return mustJSON(v)
}

// What we write is read as the Java tool reads it: by the standard library alone,
// from the files, with the rules of its formats.
func TestFilesForTheJavaTool(t *testing.T) {
	s, _ := javaHome(t)
	s.must("key generate -r tufrepo -h $D -n fresh")
	s.must("key generate -r tufrepo -h $D -n fresh-rsa -t rsa --keysize 2048")
	s.must("root key add -r tufrepo -h $D -k fresh -k fresh-rsa")
	s.must("root sign -r tufrepo -h $D -k root -k fresh -k fresh-rsa")
	var root struct {
		Signatures []struct{ KeyID, Method, Sig string }
		Signed     json.RawMessage
	}
	check(t, json.Unmarshal([]byte(s.file("tufrepo/roles/root.json")), &root))
	var said struct {
		Type    string `json:"_type"`
		Keys    map[string]keyFile
		Roles   map[string]struct{ KeyIDs []string }
		Expires string
	}
	check(t, json.Unmarshal(root.Signed, &said))
	if said.Type != "Root" || len(said.Expires) != 20 || !strings.HasSuffix(said.Expires, "Z") || len(root.Signatures) != 3 {
		t.Errorf("root %+v", said)
	}
	for _, sig := range root.Signatures {
		verifyByHand(t, said.Keys[sig.KeyID], sig.KeyID, sig.Method, sig.Sig, sortedJSON(t, root.Signed))
	}
	for _, name := range []string{"fresh", "fresh-rsa"} {
		var pub, sec keyFile
		check(t, json.Unmarshal([]byte(s.file("tufrepo/keys/"+name+".pub")), &pub))
		check(t, json.Unmarshal([]byte(s.file("tufrepo/keys/"+name+".sec")), &sec))
		if pub.KeyType != sec.KeyType || !slices.Contains([]string{"ED25519", "RSA"}, pub.KeyType) {
			t.Errorf("%s: types %q and %q", name, pub.KeyType, sec.KeyType)
		}
		if pub.KeyType == "RSA" && !strings.HasPrefix(sec.KeyVal.Private, "-----BEGIN RSA PRIVATE KEY-----\n") {
			t.Errorf("%s: %.40s", name, sec.KeyVal.Private)
		}
		if pub.KeyType == "ED25519" && (len(sec.KeyVal.Private) != 128 || sec.KeyVal.Private[64:] != pub.KeyVal.Public) {
			t.Errorf("%s is no seed with its public key", name)
		}
		if info, err := os.Stat(filepath.Join(s.dir, "tufrepo/keys/"+name+".sec")); err != nil || info.Mode().Perm() != fs.FileMode(0o600) {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
}

type keyFile struct {
	KeyType string
	KeyVal  struct{ Public, Private string }
}

// sortedJSON is canonical JSON as encoding/json can make it.
func sortedJSON(t *testing.T, raw []byte) []byte {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	check(t, d.Decode(&v))
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	check(t, e.Encode(v))
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func verifyByHand(t *testing.T, key keyFile, id, method, sig string, msg []byte) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(sig)
	check(t, err)
	var spki []byte
	var ok bool
	switch key.KeyType {
	case "ED25519":
		public, err := hex.DecodeString(key.KeyVal.Public)
		check(t, err)
		spki, err = x509.MarshalPKIXPublicKey(ed25519.PublicKey(public))
		check(t, err)
		ok = method == "ed25519" && ed25519.Verify(public, msg, raw)
	case "RSA":
		block, rest := pem.Decode([]byte(key.KeyVal.Public))
		if block == nil || len(rest) != 0 || !strings.HasSuffix(key.KeyVal.Public, "-----END PUBLIC KEY-----\n") {
			t.Fatalf("public key %q", key.KeyVal.Public)
		}
		spki = block.Bytes
		public, err := x509.ParsePKIXPublicKey(spki)
		check(t, err)
		digest := sha256.Sum256(msg)
		ok = method == "rsassa-pss-sha256" && rsa.VerifyPSS(public.(*rsa.PublicKey), crypto.SHA256, digest[:], raw, &rsa.PSSOptions{SaltLength: 32}) == nil
	}
	sum := sha256.Sum256(spki)
	if !ok || hex.EncodeToString(sum[:]) != id {
		t.Errorf("%s signature of %s %s does not hold", method, key.KeyType, id)
	}
}
