package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sealift/internal/diskblob"
	"sealift/keys"
)

const (
	backupFormat  = 1
	maxBackupNote = 64 << 10
	// sealMark makes what is sealed longer than any key: a seal can never be
	// passed off as one.
	sealMark = "sealift backup, sha256 "
)

// backupNote is backup.json. It is written last: a folder without it is no
// backup.
type backupNote struct {
	Format    int       `json:"format"`
	Server    string    `json:"server"`             // the version that made it
	CreatedAt time.Time `json:"createdAt"`          // when the database was copied
	Database  string    `json:"database"`           // SHA-256
	Settings  string    `json:"settings,omitempty"` // SHA-256 of config.yaml, where there is one
	Blobs     int       `json:"blobs"`
	Bytes     int64     `json:"bytes"` // of the blobs
	// Seal holds the digest of all of the above under the master key. The
	// database names every blob by its content, so that the whole backup is
	// vouched for: who can only write to it can break it, not change it.
	Seal []byte `json:"seal"`
}

func (n backupNote) sum() (string, error) {
	n.Seal = nil
	raw, err := json.Marshal(n)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return sealMark + hex.EncodeToString(sum[:]), nil
}

// write seals the note and makes the folder a backup.
func (n backupNote) write(dir string, kek keys.KEK) error {
	sum, err := n.sum()
	if err != nil {
		return err
	}
	if n.Seal, err = kek.Wrap([]byte(sum)); err != nil {
		return fmt.Errorf("sealing %s: %w", backupFile, err)
	}
	raw, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	if err := diskblob.Sync(dir); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, backupFile), append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", backupFile, err)
	}
	return diskblob.Sync(dir)
}

// readBackup reads what a backup says of itself.
func readBackup(dir string) (backupNote, error) {
	var note backupNote
	f, err := os.Open(filepath.Join(dir, backupFile))
	if errors.Is(err, fs.ErrNotExist) {
		return note, usage(fmt.Errorf("%s is no backup, or one that broke off: it has no %s", dir, backupFile))
	}
	if err != nil {
		return note, fmt.Errorf("reading the backup: %w", err)
	}
	defer f.Close()
	if err = json.NewDecoder(io.LimitReader(f, maxBackupNote)).Decode(&note); err != nil {
		return note, fmt.Errorf("reading %s: it is damaged: %w", backupFile, err)
	}
	if note.Format != backupFormat {
		return note, fmt.Errorf("reading %s: format %d is not known here; use sealift %s", backupFile, note.Format, plain(note.Server))
	}
	return note, nil
}

// verify holds the note and the settings beside it against the seal.
func (n backupNote) verify(dir, masterKey string, kek keys.KEK) error {
	sealed, err := kek.Unwrap(n.Seal)
	if err != nil {
		return fmt.Errorf("the master key %s does not open the seal of the backup: it was made under another one, of another server perhaps", masterKey)
	}
	sum, err := n.sum()
	if err != nil {
		return err
	}
	if string(sealed) != sum {
		return fmt.Errorf("%s was changed after the backup was made", backupFile)
	}
	settings, err := settingsSum(dir)
	if err == nil && settings != n.Settings {
		err = fmt.Errorf("%s in the backup was changed after the backup was made", filepath.Base(settingsOf(dir)))
	}
	return err
}

func settingsOf(dir string) string { return settings{Data: dir}.settingsFile() }

// settingsSum is the digest of what init noted, "" where it noted nothing.
func settingsSum(dir string) (string, error) {
	sum, err := fileSum(settingsOf(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return sum, err
}

func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
