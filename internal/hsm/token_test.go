//go:build pkcs11

package hsm_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"sealift/internal/hsm"
	"sealift/uptane"
)

// softToken makes a token in software, with the PIN 1234.
func softToken(t *testing.T) hsm.Surroundings {
	t.Helper()
	if _, err := exec.LookPath("softhsm2-util"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("softhsm2 is not installed; make deps installs it")
		}
		t.Skip("softhsm2 is not installed")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "sealift", "--pin", "1234", "--so-pin", "4321").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	env := map[string]string{hsm.EnvPIN: "1234", hsm.EnvModule: "/usr/lib/softhsm/libsofthsm2.so"}
	return hsm.Surroundings{Getenv: func(name string) string { return env[name] }}
}

// One test, as the library reads its configuration once in a process.
func TestToken(t *testing.T) {
	s := softToken(t)
	for label, bits := range map[string]int{"root": 0, "rsa2048": 2048, "rsa4096": 4096} {
		uri := "pkcs11:token=sealift;object=" + label
		if _, err := hsm.Open(uri, s); !errors.Is(err, hsm.ErrNotFound) {
			t.Errorf("%s before it was made: %v", label, err)
		}
		made, err := hsm.Generate(uri, bits, s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := hsm.Generate(uri, bits, s); err == nil {
			t.Errorf("%s was made twice", label)
		}
		opened, err := hsm.Open(uri, s)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { // uptane.Sign verifies what it got
				if sig, err := uptane.Sign(opened, []byte("a document")); err != nil || len(sig.Sig) == 0 {
					t.Errorf("%s: %v", label, err)
				}
			})
		}
		all.Wait()
		own, err := uptane.NewKey(made.Public())
		other, err2 := uptane.NewKey(opened.Public())
		if err != nil || err2 != nil || own != other {
			t.Errorf("%s: %v %v", label, err, err2)
		}
		for _, k := range []hsm.Key{made, opened} {
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		}
	}

	wrong := hsm.Surroundings{Getenv: func(name string) string {
		if name == hsm.EnvPIN {
			return "9999"
		}
		return s.Getenv(name)
	}}
	if _, err := hsm.Open("pkcs11:token=sealift;object=root", wrong); !errors.Is(err, hsm.ErrPIN) {
		t.Error(err)
	}
	nobody := hsm.Surroundings{Getenv: func(name string) string {
		if name == hsm.EnvPIN {
			return ""
		}
		return s.Getenv(name)
	}}
	if _, err := hsm.Open("pkcs11:token=sealift;object=root", nobody); !errors.Is(err, hsm.ErrPIN) {
		t.Error(err)
	}
	asked := nobody
	asked.Prompt = func(string) ([]byte, error) { return []byte("1234"), nil }
	if k, err := hsm.Open("pkcs11:token=sealift;object=root", asked); err != nil {
		t.Error(err)
	} else {
		k.Close()
	}
	if _, err := hsm.Open("pkcs11:token=another;object=root", s); !errors.Is(err, hsm.ErrNotFound) {
		t.Error(err)
	}
}
