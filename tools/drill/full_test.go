package drill_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// diskSize is what a server and its data have.
const diskSize = "16m"

// inNamespace tells the test binary that it may mount: it is root of a name space
// of its own.
const inNamespace = "SEALIFT_TEST_IN_NAMESPACE"

// TestDiskFull runs a server on a disk of 16 MiB that fills up in the middle of
// its work. Reads and polls go on; writes are refused until there is space again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=700,size="+diskSize)
	if errors.Is(err, syscall.EPERM) && os.Getenv(inNamespace) == "" {
		fullElsewhere(t)
		return
	}
	must(t, err)
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	s := newServer(t, dir)
	s.start()
	s.release(1)
	s.stop() // leaves no space in the write-ahead log that could be used again
	s.start()
	ballast := filepath.Join(dir, "ballast")
	n := play(t, trouble{name: "disk-full", noWrites: true, told: "507 storage_full",
		begin: func() { fill(t, ballast) },
		end:   func() { must(t, os.Remove(ballast)) },
	}, s)
	s.stop()
	s.fsck()
	t.Logf("drill: disk full: %d requests refused, all of them done later", n)
}

// fill writes a file until nothing fits on its disk any more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	zeros := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(zeros)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
}

// fullElsewhere plays the test where it may mount.
func fullElsewhere(t *testing.T) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "--mount", os.Args[0], "-test.run=^TestDiskFull$", "-test.v")
	c.Env = append(os.Environ(), inNamespace+"=1")
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	must(t, err)
}
