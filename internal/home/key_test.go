package home_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealift/internal/home"
	"sealift/uptane"
)

const (
	vectorPublic = "e8b819c020ce57f72521452d341875bb6eb311ecca3cbb711efb63f38e68cde1"
	vectorID     = "5959a6869e4e03bd27ea933651ab7756ebeaa178aee92f4103b9baa9c2da3901"
)

// The key id of metadata is the hash of the SubjectPublicKeyInfo: a golden
// vector, read from a file as the older tool writes it.
func TestKeyIDVector(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "old.pub"), "{\n  \"keyval\" : {\n    \"public\" : \""+vectorPublic+"\"\n  },\n  \"keytype\" : \"ED25519\"\n}")
	key, err := home.OpenKeyring(dir, home.Options{}).Public("old")
	if err != nil || string(key.ID()) != vectorID {
		t.Errorf("id %s, %v", key.ID(), err)
	}
}

// A successor is sealed, and of the type of the key that goes, or of the one that is
// asked for.
func TestSuccessors(t *testing.T) {
	k := home.OpenKeyring(t.TempDir(), home.Options{Passphrases: pass(map[string]string{"GARAGE_SIGN_PASSPHRASE": "of the desk"})})
	gone, err := k.Generate("old", home.RSA, 2048, false)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := home.OpenKeyring(t.TempDir(), home.Options{}).Generate("other", home.Ed25519, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, keytype string
		gone          uptane.Key
		want          string
	}{{"same", "", gone, "rsa2048"}, {"other", "ed25519", gone, "ed25519"}, {"of-others", "", elsewhere, "ed25519"}} {
		key, err := k.Successor(c.name, c.gone, c.keytype)
		if err != nil || key.Algorithm() != c.want || key == c.gone {
			t.Errorf("%s: %s, %v", c.name, key.Algorithm(), err)
		}
		if _, sec, err := k.Export(c.name); err != nil || !bytes.Contains(sec, []byte("ciphertext")) {
			t.Errorf("%s is not sealed: %v", c.name, err)
		}
	}
	if _, err := k.Successor("bad", gone, "ecdsa"); !errors.Is(err, uptane.ErrKey) || k.Has("bad") {
		t.Errorf("an ECDSA key: %v", err)
	}
}

func TestPrivateKeyForms(t *testing.T) {
	k := home.OpenKeyring(t.TempDir(), home.Options{})
	ed, err := k.Generate("ed", home.Ed25519, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	pub, sec, err := k.Export("ed")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Keyval struct{ Private string }
	}
	if err := json.Unmarshal(sec, &file); err != nil || len(file.Keyval.Private) != 128 {
		t.Fatalf("%s: %v", sec, err)
	}
	full := file.Keyval.Private
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der8, err := x509.MarshalPKCS8PrivateKey(r)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(r)}))
	pkcs8 := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der8}))

	good := map[string]string{
		"as written": string(sec), "older order": object("ED25519", full), "lower case": object("ed25519", full), "seed alone": object("ED25519", full[:64]),
		"PKCS#1": object("RSA", pkcs1), "PKCS#8": object("RSA", pkcs8),
	}
	for name, text := range good {
		key, err := home.ParsePrivate([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if own, err := uptane.NewKey(key.Public()); err != nil || strings.Contains(name, "PKCS") == (own == ed) {
			t.Errorf("%s: another key, %v", name, err)
		}
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "no JSON": "pkcs", "no type": `{"keyval":{"private":"` + full + `"}}`, "unknown type": object("ECPRIME256V1", full),
		"cut": object("ED25519", full[:100]), "other half": object("ED25519", full[:64]+vectorPublic), "no PEM": object("RSA", "x"),
		"small":  object("RSA", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(small)}))),
		"public": string(pub), "trailing": object("ED25519", full) + "x", "huge": strings.Repeat(" ", 1<<20),
	} {
		if _, err := home.ParsePrivate([]byte(text)); !errors.Is(err, home.ErrKeyFile) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), full[:16]) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
}

func TestImportRefusesForeignHalves(t *testing.T) {
	k := home.OpenKeyring(t.TempDir(), home.Options{})
	for _, name := range []string{"a", "b"} {
		if _, err := k.Generate(name, home.Ed25519, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	pub, _, _ := k.Export("a")
	_, sec, _ := k.Export("b")
	if err := k.Import("c", pub, sec); !errors.Is(err, home.ErrKeyFile) {
		t.Error(err)
	}
	for _, name := range []string{"", "../x", ".x", "a/b", "a b"} {
		if err := k.Import(name, pub, sec); !errors.Is(err, uptane.ErrName) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, err := k.Generate("a", home.Ed25519, 0, false); !errors.Is(err, home.ErrExists) {
		t.Errorf("overwriting a key: %v", err)
	}
	for what, content := range map[string]string{"PKCS#11": "pkcs11:token=x\n", "propose": "propose\n"} {
		if err := k.Import(what[:4], pub, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := k.Import(what[:4], pub, []byte(content)); !errors.Is(err, home.ErrExists) {
			t.Errorf("overwriting a key: %v", err)
		}
		if _, err := k.Signer(what[:4]).Sign(t.Context(), uptane.Job{}, nil); !errors.Is(err, home.ErrKeyFile) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestChoosingAsksOnce(t *testing.T) {
	answers := []string{"one", "two", "three", "three"}
	p := &home.Passphrases{Prompt: func(string) ([]byte, error) {
		next := answers[0]
		answers = answers[1:]
		return []byte(next), nil
	}}
	if _, err := p.Choose("x"); !errors.Is(err, home.ErrPassphrase) {
		t.Errorf("two different answers: %v", err)
	}
	for range 3 {
		if got, err := p.Choose("x"); err != nil || string(got) != "three" {
			t.Errorf("chose %q, %v", got, err)
		}
	}
	if _, err := (&home.Passphrases{}).Choose("x"); !errors.Is(err, home.ErrNoPassphrase) {
		t.Error(err)
	}
}

// FuzzParsePrivate: a key that reads can sign and be read again.
func FuzzParsePrivate(f *testing.F) {
	k := home.OpenKeyring(f.TempDir(), home.Options{})
	if _, err := k.Generate("a", home.Ed25519, 0, false); err != nil {
		f.Fatal(err)
	}
	_, sec, _ := k.Export("a")
	f.Add(sec)
	f.Add([]byte(object("RSA", "-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := home.ParsePrivate(data)
		if err != nil {
			return
		}
		if _, err := uptane.Sign(key, []byte("x")); err != nil && bytes.Contains(data, []byte("25519")) {
			t.Error(err)
		}
	})
}

func object(keytype, private string) string {
	b, _ := json.Marshal(map[string]any{"keyval": map[string]string{"private": private}, "keytype": keytype})
	return string(b)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
