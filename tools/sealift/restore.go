package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sealift/internal/diskblob"
)

// defaultRaise is how many versions of online roles a restore leaves out: those
// that the lost server may have signed ahead of the clock, a day's minutes.
const defaultRaise = 24 * 60

// restoration is what `sealift restore` is told.
type restoration struct {
	dir     string // the backup, "" in place
	offline string
	raise   int
	at      string // when the backup was made, in place
	inPlace bool
	whole   bool
	noFsck  bool
}

// newRestore is `sealift restore`.
func newRestore() *cobra.Command {
	var s settings
	var o restoration
	c := &cobra.Command{
		Use: "restore DIR", Short: "Make a server of a backup, so that no device sees a version go back",
		Long: `Makes the data folder, which must not exist yet, from a backup, and verifies it as fsck does.

Devices may have seen more than the backup has. So the versions of all that the server signs go
on above everything it may have signed before; what was assigned and open is cancelled, because
it may have been superseded since; and with --offline newer roots and image targets come back
from the folder where they were signed. Where they are missing, the repository serves nothing to
devices until they are there: sealift recovery show says what, and what else is to be done.

With --in-place the data are there already, restored with other tools: PostgreSQL from pg_dump.`,
		Args: func(c *cobra.Command, given []string) error {
			if want := 1; len(given) != want && !(o.inPlace && len(given) == 0) {
				return usage(errors.New("one backup is expected, or --in-place without any"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, given []string) error {
			if len(given) > 0 {
				o.dir = given[0]
			}
			if err := s.loadBackup(c, o.dir); err != nil {
				return err
			}
			return runRestore(c.Context(), s, o, c.OutOrStdout())
		},
	}
	s.bind(c)
	c.Flags().StringVar(&o.offline, "offline", "", "the offline folder, for newer roots and image targets of namespace "+string(defaultNamespace))
	c.Flags().IntVar(&o.raise, "raise", defaultRaise, "how many versions to leave out; more where a backup is restored again and again")
	c.Flags().BoolVar(&o.inPlace, "in-place", false, "the database and the blobs were restored with other tools")
	c.Flags().StringVar(&o.at, "backup-time", "", "with --in-place: when the backup was made, as 2006-01-02T15:04:05Z")
	c.Flags().BoolVar(&o.whole, "copy", false, "copy contents even on the file system of the backup")
	c.Flags().BoolVar(&o.noFsck, "no-fsck", false, "do not verify what was restored")
	return c
}

// loadBackup loads the settings; those noted in the backup come where nobody
// named a file.
func (s *settings) loadBackup(c *cobra.Command, dir string) error {
	noted := settings{Data: dir}.settingsFile()
	if _, err := os.Stat(noted); err == nil && dir != "" && !c.Flags().Changed("config") && os.Getenv("SEALIFT_CONFIG") == "" {
		if err := c.Flags().Set("config", noted); err != nil {
			return err
		}
	}
	_, err := s.load(c)
	return err
}

func runRestore(ctx context.Context, s settings, o restoration, w io.Writer) (err error) {
	if o.raise < 1 {
		return usage(errors.New("--raise is at least 1"))
	}
	homes, err := openOffline(o.offline)
	if err != nil {
		return err
	}
	if o.inPlace {
		at := time.Now()
		if o.at != "" {
			if at, err = time.Parse(time.RFC3339, o.at); err != nil {
				return usage(fmt.Errorf("--backup-time %q: 2006-01-02T15:04:05Z is expected", o.at))
			}
		}
		return s.recover(ctx, o, homes, at, w)
	}
	if s.DatabaseURL != "" {
		return usage(errors.New("the database is PostgreSQL: restore it with pg_restore and the blobs with their tools, then run sealift restore --in-place"))
	}
	note, err := readBackup(o.dir)
	if err != nil {
		return err
	}
	if err := s.mustBeNew(o.dir); err != nil {
		return err
	}
	place := s.Data
	s.Data += ".restoring" // takes its name when all is there
	if err := os.Mkdir(s.Data, 0o700); err != nil {
		return usage(fmt.Errorf("making %s: %w; if an earlier restore was killed, remove it", s.Data, err))
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(s.Data) // all of it is in the backup
		}
	}()
	if err := s.takeBack(ctx, o, note, w); err != nil {
		return err
	}
	if err := s.recover(ctx, o, homes, note.CreatedAt, w); err != nil {
		return err
	}
	if err := errors.Join(diskblob.Sync(s.Data), os.Rename(s.Data, place), diskblob.Sync(filepath.Dir(place))); err != nil {
		return fmt.Errorf("finishing %s: %w", place, err)
	}
	fmt.Fprintf(w, "Restored into %s. Next: sealift serve --data %s, then sealift recovery show.\n", place, place)
	return nil
}

// readBackup reads what a backup says of itself.
func readBackup(dir string) (backupNote, error) {
	var note backupNote
	raw, err := os.ReadFile(filepath.Join(dir, backupFile))
	if errors.Is(err, fs.ErrNotExist) {
		return note, usage(fmt.Errorf("%s is no backup, or one that broke off: it has no %s", dir, backupFile))
	}
	if err == nil {
		err = json.Unmarshal(raw, &note)
	}
	if err == nil && note.Format != backupFormat {
		err = fmt.Errorf("format %d is not known here; use sealift %s", note.Format, note.Server)
	}
	if err != nil {
		return note, fmt.Errorf("reading %s: %w", backupFile, err)
	}
	return note, nil
}

// mustBeNew refuses to write over anything.
func (s settings) mustBeNew(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if inside(s.Data, dir) || inside(dir, s.Data) {
		return usage(fmt.Errorf("%s and the data folder %s are inside one another", dir, s.Data))
	}
	list, err := os.ReadDir(s.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the data folder: %w", err)
	}
	if len(list) > 0 {
		return usage(fmt.Errorf("the data folder %s is not empty; move it away, or name another place with --data", s.Data))
	}
	if err := os.Remove(s.Data); err != nil {
		return fmt.Errorf("clearing the data folder: %w", err)
	}
	return nil
}

// takeBack copies a backup into the data folder and verifies it there.
func (s settings) takeBack(ctx context.Context, o restoration, note backupNote, w io.Writer) error {
	path := filepath.Join(s.Data, databaseFile)
	if err := copyFile(path, filepath.Join(o.dir, databaseFile)); err != nil {
		return fmt.Errorf("copying the database: %w", err)
	}
	if sum, err := fileSum(path); err != nil || sum != note.Database {
		return errors.Join(err, errors.New("the database in the backup is not the one that was backed up: it was changed, or the disk is failing"))
	}
	parts, err := s.openParts(ctx, o.dir, !o.whole, fromBackup)
	if err != nil {
		return err
	}
	moved, err := parts.move(ctx, path)
	if err = errors.Join(err, parts.close()); err != nil {
		return err
	}
	if len(moved.gone) > 0 && !o.noFsck {
		return fmt.Errorf("the backup lacks %d blobs that its database names, %s for one; with --no-fsck it is restored without them", len(moved.gone), moved.gone[0])
	}
	if err := copySettings(o.dir, s.Data); err != nil {
		return err
	}
	fmt.Fprintf(w, "The backup of %s: %d blobs, %s.\n", note.CreatedAt.Format(time.RFC3339), moved.blobs, bytesOf(moved.bytes))
	if o.noFsck {
		return nil
	}
	v, err := openServices(ctx, s, slog.New(slog.DiscardHandler), false)
	if err != nil {
		return err
	}
	err = v.fsck(ctx, w)
	if err != nil {
		err = fmt.Errorf("%w; with --no-fsck it is restored as it is", err)
	}
	return errors.Join(err, v.close())
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
