package main

import (
	"context"
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

	"github.com/spf13/cobra"

	"sealift/internal/db"
	"sealift/internal/diskblob"
	"sealift/repo"
	"sealift/treehub"
)

// The files of a backup, which is otherwise laid out as a data folder.
const (
	backupFile   = "backup.json"
	databaseFile = "sealift.db"
	backupFormat = 1
	// A backup begins anew when blobs have been deleted meanwhile; it keeps
	// what it has, so that each time is shorter.
	backupTries = 10
)

// backupNote is backup.json. It is written last: a folder without it is no
// backup.
type backupNote struct {
	Format    int       `json:"format"`
	Server    string    `json:"server"`    // the version that made it
	CreatedAt time.Time `json:"createdAt"` // when the database was copied
	Database  string    `json:"database"`  // SHA-256
	Blobs     int       `json:"blobs"`
	Bytes     int64     `json:"bytes"` // of the blobs
}

// newBackup is `sealift backup`.
func newBackup() *cobra.Command {
	var s settings
	var whole bool
	c := &cobra.Command{
		Use: "backup DIR", Short: "Copy the database and all blobs into a new folder, also while the server runs", Args: args(cobra.ExactArgs(1)),
		Long: `Copies the database as it is at one moment, then every blob that this copy names. Blobs never
change, so the two belong together; the server goes on meanwhile. On the file system of the data
blobs get a second name instead of a second content, unless --copy is given: take the folder to
another disk then.

The master key and the offline folder are not in it. Keep them elsewhere, and apart.

A PostgreSQL database is copied with its own tools: docs/operating.md.`,
		RunE: func(c *cobra.Command, given []string) error {
			if _, err := s.load(c); err != nil {
				return err
			}
			return runBackup(c.Context(), s, given[0], !whole, c.OutOrStdout())
		},
	}
	s.bind(c)
	c.Flags().BoolVar(&whole, "copy", false, "copy contents even on the file system of the data")
	return c
}

func runBackup(ctx context.Context, s settings, dir string, link bool, w io.Writer) error {
	if s.DatabaseURL != "" {
		return usage(errors.New("the database is PostgreSQL: pg_dump copies it, and docs/operating.md says how to copy the rest"))
	}
	dir, err := s.newFolder(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.Data, databaseFile)); err != nil {
		return usage(fmt.Errorf("there is no database in %s; name the data folder with --data", s.Data))
	}
	note, copied, err := s.backUp(ctx, dir, link)
	if err != nil {
		return fmt.Errorf("%s is no backup: %w", dir, err)
	}
	fmt.Fprintf(w, "Backup in %s: the database, %d blobs, %s (%s of them copied).\n", dir, note.Blobs, bytesOf(note.Bytes), bytesOf(copied))
	fmt.Fprintf(w, "Not in it, keep them elsewhere: the master key %s, the offline folder.\n", s.MasterKey)
	return nil
}

// newFolder makes an empty folder that is neither in the data nor around them.
func (s settings) newFolder(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if inside(dir, s.Data) || inside(s.Data, dir) {
		return "", usage(fmt.Errorf("%s and the data folder %s are inside one another", dir, s.Data))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making the folder: %w", err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("reading the folder: %w", err)
	}
	if len(list) > 0 {
		return "", usage(fmt.Errorf("%s is not empty", dir))
	}
	return dir, nil
}

// backUp fills dir: the database first, then what it names. A blob that is gone
// by then was replaced or swept away after the database was copied, so that is
// done again.
func (s settings) backUp(ctx context.Context, dir string, link bool) (backupNote, int64, error) {
	note := backupNote{Format: backupFormat, Server: version}
	parts, err := s.openParts(ctx, dir, link, toBackup)
	if err != nil {
		return note, 0, err
	}
	defer func() { _ = parts.close() }()
	var moved transfer
	for try := 1; ; try++ {
		path := filepath.Join(dir, databaseFile)
		if err := errors.Join(removeDatabase(path), db.Snapshot(ctx, filepath.Join(s.Data, databaseFile), path)); err != nil {
			return note, 0, err
		}
		note.CreatedAt = time.Now().UTC().Truncate(time.Second)
		if moved, err = parts.move(ctx, path); err != nil {
			return note, 0, err
		}
		if len(moved.gone) == 0 {
			break
		}
		if try == backupTries {
			return note, 0, fmt.Errorf("blobs that the database names are not there, %s for one; run sealift fsck", moved.gone[0])
		}
	}
	note.Blobs, note.Bytes = moved.blobs, moved.bytes
	if err := copySettings(s.Data, dir); err != nil {
		return note, 0, err
	}
	if note.Database, err = fileSum(filepath.Join(dir, databaseFile)); err != nil {
		return note, 0, err
	}
	if err := diskblob.Sync(dir); err != nil {
		return note, 0, err
	}
	raw, err := json.MarshalIndent(note, "", "  ")
	if err != nil {
		return note, 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, backupFile), append(raw, '\n'), 0o600); err != nil {
		return note, 0, fmt.Errorf("writing %s: %w", backupFile, err)
	}
	return note, moved.copied, diskblob.Sync(dir)
}

// removeDatabase removes a copy with what SQLite may have put beside it.
func removeDatabase(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing an earlier copy: %w", err)
		}
	}
	return nil
}

// copySettings takes what init noted along.
func copySettings(from, to string) error {
	raw, err := os.ReadFile(settings{Data: from}.settingsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.WriteFile(settings{Data: to}.settingsFile(), raw, 0o600)
	}
	if err != nil {
		return fmt.Errorf("copying the settings: %w", err)
	}
	return nil
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

// blobLists are the parts of the blob store and what lists the blobs of each.
func blobLists() map[string]func(context.Context, *db.DB, func(string) error) error {
	return map[string]func(context.Context, *db.DB, func(string) error) error{"treehub": treehub.Blobs, "repo": repo.Blobs}
}
