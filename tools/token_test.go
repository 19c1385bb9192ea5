package tools_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// buildWithTokens returns the folder of the programs that know PKCS#11 tokens.
func buildWithTokens(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"softhsm2-util", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is not installed; make deps installs it", tool)
			}
			t.Skipf("%s is not installed", tool)
		}
	}
	bin, err := withTokens()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// A running server's keys move into tokens, by ceremony.
func TestTokenCeremonies(t *testing.T) {
	bin := buildWithTokens(t)
	ports := &ports{next: 30000 + os.Getpid()%200*12}
	run(t, func(env *testscript.Env) error {
		if err := setUp(env, bin, ports); err != nil {
			return err
		}
		conf := filepath.Join(env.WorkDir, "softhsm2.conf")
		env.Setenv("SOFTHSM2_CONF", conf)
		env.Setenv("PKCS11_MODULE_PATH", "/usr/lib/softhsm/libsofthsm2.so")
		env.Setenv("PKCS11_PIN", "1234")
		tokens := filepath.Join(env.WorkDir, ".tokens")
		return errors.Join(os.Mkdir(tokens, 0o700),
			os.WriteFile(conf, []byte("directories.tokendir = "+tokens+"\nobjectstore.backend = file\n"), 0o600))
	}, "tokens", "testdata/trust-token.txtar")
}

// The whole story with private keys in PKCS#11 tokens: root and targets keys at
// the desk, online keys at the server.
func TestDemoWithTokens(t *testing.T) {
	bin := buildWithTokens(t)
	c := exec.CommandContext(t.Context(), filepath.Join(bin, "sealift"), "demo", "--hsm")
	c.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"image/keys/root.sec: pkcs11:token=demo-desk;object=sealift-image-root-",
		"image/keys/targets.sec: pkcs11:token=demo-desk;object=sealift-image-targets-",
		"director/keys/root.sec: pkcs11:token=demo-desk;object=sealift-director-root-",
		"5 installed of 5 assignments", "\nEvery ECU runs the new image.",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demo does not say %q:\n%s", want, out)
		}
	}
}
