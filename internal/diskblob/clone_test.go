package diskblob_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"sealift/internal/diskblob"
)

// TestClone gives objects to another folder by name and by content; replacing
// or deleting one there changes nothing here.
func TestClone(t *testing.T) {
	for _, link := range []bool{true, false} {
		from, to := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
		b, err := diskblob.Open(from)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for key, text := range map[string]string{"ns/x/.odd %1": "one", "ns/y": "two"} {
			if err := b.WriteAll(t.Context(), key, []byte(text), nil); err != nil {
				t.Fatal(err)
			}
		}
		c, err := diskblob.NewCloner(from, to, link)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, key := range []string{"ns/x/.odd %1", "ns/y"} {
			for i, wantCopied := range []bool{!link, false} { // the second time it is there
				if size, copied, err := c.Clone(t.Context(), key); err != nil || size != 3 || copied != wantCopied {
					t.Errorf("link %t, %s, time %d: %d, %t, %v", link, key, i, size, copied, err)
				}
			}
		}
		if _, _, err := c.Clone(t.Context(), "ns/z"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("an object that is not there: %v", err)
		}
		if err := diskblob.Sync(to); err != nil {
			t.Error(err)
		}
		copied, err := diskblob.Open(to)
		if err != nil {
			t.Fatal(err)
		}
		defer copied.Close()
		if err := b.WriteAll(t.Context(), "ns/y", []byte("three"), nil); err != nil {
			t.Fatal(err)
		}
		if err := b.Delete(t.Context(), "ns/x/.odd %1"); err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]string{"ns/x/.odd %1": "one", "ns/y": "two"} {
			if got, err := copied.ReadAll(t.Context(), key); err != nil || string(got) != want {
				t.Errorf("link %t, %s: %q, %v", link, key, got, err)
			}
		}
		if left, err := os.ReadDir(filepath.Join(to, ".tmp")); err != nil || len(left) > 0 {
			t.Errorf("left over: %v, %v", left, err)
		}
	}
	if _, err := diskblob.NewCloner(filepath.Join(t.TempDir(), "none"), t.TempDir(), true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
