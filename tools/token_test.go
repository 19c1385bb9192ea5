package tools_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The whole story with private keys in PKCS#11 tokens: root and targets keys at
// the desk, online keys at the server.
func TestDemoWithTokens(t *testing.T) {
	for _, tool := range []string{"softhsm2-util", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is not installed; make deps installs it", tool)
			}
			t.Skipf("%s is not installed", tool)
		}
	}
	bin := t.TempDir()
	c := exec.CommandContext(t.Context(), "go", "build", "-tags", "pkcs11", "-o", bin+"/", "./sealift", "./garage-push", "./garage-sign")
	c.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("building the programs: %v\n%s", err, out)
	}
	c = exec.CommandContext(t.Context(), filepath.Join(bin, "sealift"), "demo", "--hsm")
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
