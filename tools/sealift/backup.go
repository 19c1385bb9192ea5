package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sealift/internal/db"
	"sealift/keys"
	"sealift/repo"
	"sealift/treehub"
)

// The files of a backup, which is otherwise laid out as a data folder.
const (
	backupFile   = "backup.json"
	databaseFile = "sealift.db"
	// A backup begins anew when blobs have been deleted meanwhile; it keeps
	// what it has, so that each time is shorter.
	backupTries = 10
)

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

It is sealed with the master key: restore takes what this server has backed up and nobody has
changed since, and nothing else.

A PostgreSQL database is copied with its own tools, pg_dump first and the blobs afterwards, and
restored with sealift restore --in-place: docs/operating.md.`,
		RunE: func(c *cobra.Command, given []string) error {
			if _, err := s.load(c); err != nil {
				return err
			}
			return runBackup(c.Context(), s, given[0], !whole, c.OutOrStdout())
		},
	}
	s.bindData(c)
	c.Flags().BoolVar(&whole, "copy", false, "copy contents even on the file system of the data")
	return c
}

func runBackup(ctx context.Context, s settings, dir string, link bool, w io.Writer) error {
	if s.DatabaseURL != "" {
		return usage(errors.New("the database is PostgreSQL: copy it with pg_dump, then the blobs (a bucket: keep old versions of its objects; a folder: rsync); restore both with their tools, then run sealift restore --in-place; docs/operating.md has the steps"))
	}
	dir, err := s.newFolder(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.Data, databaseFile)); err != nil {
		return usage(fmt.Errorf("there is no database in %s; name the data folder with --data", s.Data))
	}
	kek, err := s.masterKey(ctx, false)
	if err != nil {
		return err
	}
	note, copied, err := s.backUp(ctx, dir, link, kek, newProgress(w))
	if err != nil {
		return errors.Join(fmt.Errorf("%s is no backup: %w", dir, err), emptyFolder(dir))
	}
	fmt.Fprintf(w, "Backup in %s: the database, %d blobs, %s (%s of them copied).\n", dir, note.Blobs, bytesOf(note.Bytes), bytesOf(copied))
	fmt.Fprintf(w, "Not in it, keep them elsewhere: the master key %s, the offline folder.\n", s.masterKeyPlace())
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

// emptyFolder removes what a backup that failed has left, so that the next one
// finds the folder as this one did, and room on the disk.
func emptyFolder(dir string) error {
	list, err := os.ReadDir(dir)
	for _, e := range list {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// backUp fills dir: the database first, then what it names. A blob that is gone
// by then was replaced or swept away after the database was copied, so that is
// done again.
func (s settings) backUp(ctx context.Context, dir string, link bool, kek keys.KEK, line *progress) (backupNote, int64, error) {
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
		if err := opensKeys(ctx, path, kek); err != nil {
			return note, 0, err
		}
		if moved, err = parts.move(ctx, path, line); err != nil {
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
	if note.Settings, err = copySettings(s.Data, dir); err != nil {
		return note, 0, err
	}
	if note.Database, err = fileSum(filepath.Join(dir, databaseFile)); err != nil {
		return note, 0, err
	}
	return note, moved.copied, note.write(dir, kek)
}

// opensKeys makes sure that the master key is the one of the database: a backup
// sealed with another could not be restored.
func opensKeys(ctx context.Context, path string, kek keys.KEK) error {
	d, err := db.Open(ctx, path)
	if err != nil {
		return err
	}
	_, err = keys.New(ctx, keys.Config{DB: d, KEK: kek, Log: slog.New(slog.DiscardHandler)})
	return errors.Join(err, d.Close())
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

// copySettings takes what init noted along and returns the SHA-256 of just that,
// "" where nothing is noted: whoever can write there may change a file between two
// readings.
func copySettings(from, to string) (string, error) {
	raw, err := os.ReadFile(settings{Data: from}.settingsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err == nil {
		err = os.WriteFile(settings{Data: to}.settingsFile(), raw, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("copying the settings: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// blobLists are the parts of the blob store and what lists the blobs of each.
func blobLists() map[string]func(context.Context, *db.DB, func(string) error) error {
	return map[string]func(context.Context, *db.DB, func(string) error) error{"treehub": treehub.Blobs, "repo": repo.Blobs}
}
