package keys_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/keys"
	"sealift/uptane"
)

func secret(word string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(word), nil }
}

func TestMasterKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	if _, err := keys.OpenFileKEK(path, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening a missing file: %v", err)
	}
	kek, err := keys.CreateFileKEK(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	wrapped, err := kek.Wrap([]byte("data key"))
	if err != nil || bytes.Contains(wrapped, []byte("data key")) {
		t.Fatalf("wrapped %q, %v", wrapped, err)
	}
	if again, _ := kek.Wrap([]byte("data key")); bytes.Equal(again, wrapped) {
		t.Error("wrapping twice gave the same bytes")
	}
	again, err := keys.OpenFileKEK(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := again.Unwrap(wrapped); err != nil || string(plain) != "data key" {
		t.Errorf("unwrapped %q, %v", plain, err)
	}
	wrapped[len(wrapped)-1] ^= 1
	if _, err := again.Unwrap(wrapped); err == nil {
		t.Error("a changed key was unwrapped")
	}
	if _, err := keys.CreateFileKEK(path, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating over an existing one: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.OpenFileKEK(path, nil); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("opening a file that others read: %v", err)
	}
}

func TestSealedMasterKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	if _, err := keys.CreateFileKEK(path, []byte{}); err == nil {
		t.Fatal("an empty passphrase was accepted")
	}
	kek, err := keys.CreateFileKEK(path, []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := kek.Wrap([]byte("data key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"", "wrong"} {
		if _, err := keys.OpenFileKEK(path, secret(word)); err == nil {
			t.Errorf("opened with passphrase %q", word)
		}
	}
	if _, err := keys.OpenFileKEK(path, nil); err == nil {
		t.Error("opened without a passphrase")
	}
	again, err := keys.OpenFileKEK(path, secret("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := again.Unwrap(wrapped); err != nil || string(plain) != "data key" {
		t.Errorf("unwrapped %q, %v", plain, err)
	}
}

func TestNoMasterKeyFile(t *testing.T) {
	for _, content := range []string{"", "sealift-master-key-1 AAAA\n", "sealift-master-key-1 !\n", "{}", strings.Repeat("x", 5000)} {
		path := filepath.Join(t.TempDir(), "master.key")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := keys.OpenFileKEK(path, secret("x")); err == nil {
			t.Errorf("%.30q was taken for a master key", content)
		}
	}
}

// A thief of the database alone gets nothing, and nobody can move a sealed
// key to another role.
func TestSealedKeysStayWhereTheyBelong(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		c, root := r.director()
		r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))

		other, err := keys.CreateFileKEK(filepath.Join(t.TempDir(), "other.key"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.New(ctx, keys.Config{DB: d, KEK: other}); err == nil {
			t.Error("another master key opened the database")
		}

		// Give snapshot the sealed key of timestamp: it must not open.
		_, err = d.ExecContext(ctx, `UPDATE online_key SET sealed = (SELECT sealed FROM online_key WHERE role = 'timestamp') WHERE role = 'snapshot'`)
		if err != nil {
			t.Fatal(err)
		}
		job := uptane.Job{Namespace: ns, Repository: uptane.DirectorRepository, Role: uptane.RoleSnapshot}
		if _, err := r.replica().Sign(ctx, job, []byte("x")); err == nil || !strings.Contains(err.Error(), "unsealing") {
			t.Errorf("signing with a moved key: %v", err)
		}
	})
}
