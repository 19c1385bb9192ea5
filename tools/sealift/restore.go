package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

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

With --in-place the data are there already, restored with other tools: PostgreSQL from pg_dump.
Stop every server first. It can be run again, with --offline for example, whenever a repository
turns out to be behind.`,
		Args: func(c *cobra.Command, given []string) error {
			if o.inPlace != (len(given) == 0) || len(given) > 1 {
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
	s.bindData(c)
	c.Flags().StringVar(&o.offline, "offline", "", "the offline folder, for newer roots and image targets of namespace "+string(defaultNamespace))
	c.Flags().IntVar(&o.raise, "raise", defaultRaise, "how many versions to leave out, as often as there have been restores, which are noted beside the master key")
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
	source, err := s.load(c)
	if err != nil || dir == "" {
		return err
	}
	// The key vouches for the backup: whoever made one up would bring his own.
	if dir, err = filepath.Abs(dir); err == nil && source["master-key-url"] == noted && s.MasterKeyURL != "" {
		err = usage(fmt.Errorf("%s names the master key that is to vouch for it; say --master-key-url yourself", noted))
	} else if err == nil && source["master-key"] == noted && inside(s.MasterKey, dir) {
		err = usage(fmt.Errorf("%s names the master key that is to vouch for it; say --master-key yourself", noted))
	}
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
		return s.restoreInPlace(ctx, o, homes, w)
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
	kek, err := s.masterKey(ctx, false)
	if err == nil {
		err = note.verify(o.dir, s.MasterKey, kek)
	}
	if err != nil {
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
	err = s.takeBack(ctx, o, note, w)
	if err == nil {
		err = s.recover(ctx, o, homes, note.CreatedAt, w)
	}
	if err == nil {
		err = diskblob.Sync(s.Data)
	}
	if err != nil {
		return err
	}
	// In place of an empty folder too, and of nothing else.
	if err := unix.Rename(s.Data, place); err != nil {
		return fmt.Errorf("giving %s its name: %w", place, err)
	}
	fmt.Fprintf(w, "Restored into %s. Next: sealift serve --data %s, then sealift recovery show.\n", place, place)
	return diskblob.Sync(filepath.Dir(place))
}

// restoreInPlace is for data that other tools have restored.
func (s settings) restoreInPlace(ctx context.Context, o restoration, homes offlineHomes, w io.Writer) error {
	at, err := time.Parse(time.RFC3339, o.at)
	if err != nil {
		return usage(errors.New("--in-place needs --backup-time, when the backup was made, as 2006-01-02T15:04:05Z"))
	}
	if !o.noFsck {
		if err := s.fsck(ctx, w); err != nil {
			return err
		}
	}
	if err := s.recover(ctx, o, homes, at, w); err != nil {
		return fmt.Errorf("%w; serve nothing before sealift restore --in-place has succeeded", err)
	}
	fmt.Fprintln(w, "Restored. Next: sealift serve, then sealift recovery show.")
	return nil
}

// fsck verifies what was restored.
func (s settings) fsck(ctx context.Context, w io.Writer) error {
	v, err := openServices(ctx, s, slog.New(slog.DiscardHandler), false)
	if err != nil {
		return err
	}
	if err = v.fsck(ctx, w); err != nil {
		err = fmt.Errorf("%w; with --no-fsck it is restored as it is", err)
	}
	return errors.Join(err, v.close())
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
	var here, above unix.Stat_t
	if err := errors.Join(unix.Stat(s.Data, &here), unix.Stat(filepath.Dir(s.Data), &above)); err != nil {
		return fmt.Errorf("reading the data folder: %w", err)
	}
	if here.Dev != above.Dev {
		return usage(fmt.Errorf("%s is a file system of its own and cannot be put in place at once; name a folder in it with --data", s.Data))
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
	moved, err := parts.move(ctx, path, newProgress(w))
	if err = errors.Join(err, parts.close()); err != nil {
		return err
	}
	if len(moved.gone) > 0 && !o.noFsck {
		return fmt.Errorf("the backup lacks %d blobs that its database names, %s for one; with --no-fsck it is restored without them", len(moved.gone), moved.gone[0])
	}
	if sum, err := copySettings(o.dir, s.Data); err != nil || sum != note.Settings {
		return errors.Join(err, errors.New("the settings in the backup are not those that were backed up: somebody changed them meanwhile"))
	}
	fmt.Fprintf(w, "The backup of %s: %d blobs, %s.\n", note.CreatedAt.Format(time.RFC3339), moved.blobs, bytesOf(moved.bytes))
	if o.noFsck {
		return nil
	}
	return s.fsck(ctx, w)
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
