package tools_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// binFolder names the variable with the folder of the programs.
const binFolder = "SEALIFT_TEST_TOOLS_BIN"

// The programs are made as a user would, and once for all tests: without cgo, and
// as those that know PKCS#11 tokens.
var (
	static     = sync.OnceValues(func() (string, error) { return makePrograms("static", "CGO_ENABLED=0") })
	withTokens = sync.OnceValues(func() (string, error) { return makePrograms("tokens", "CGO_ENABLED=1", "-tags", "pkcs11") })
)

// build returns the folder of the programs.
func build(t *testing.T) string {
	t.Helper()
	bin, err := static()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func makePrograms(folder, cgo string, flags ...string) (string, error) {
	bin := filepath.Join(os.Getenv(binFolder), folder)
	args := append([]string{"build", "-ldflags", "-s -w"}, flags...)
	c := exec.Command("go", append(args, "-o", bin+"/", "./sealift", "./garage-push", "./garage-sign")...)
	c.Env = append(os.Environ(), cgo)
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	for alias, program := range map[string]string{"garage-check": "garage-push", "garage-deploy": "garage-push", "uptane-sign": "garage-sign"} {
		if err := os.Symlink(program, filepath.Join(bin, alias)); err != nil {
			return "", err
		}
	}
	return bin, nil
}

// inFolder runs with a folder for the programs.
func inFolder(run func() int) int {
	dir, err := os.MkdirTemp("", "sealift-tools-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv(binFolder, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}
