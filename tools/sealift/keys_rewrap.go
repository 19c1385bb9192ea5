package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"sealift/keys"
)

func newKeysRewrap() *cobra.Command {
	var s, next settings
	c := &cobra.Command{
		Use: "rewrap --new-master-key FILE | --new-master-key-url URL", Short: "Put everything that is sealed under another master key", Args: args(cobra.NoArgs),
		Long: `Makes the new master key, unless the file exists, and moves the data keys from the old one to it,
in one transaction; keys and certificates sealed under the data keys are not touched. What is
interrupted is done again with the same command. Start every server with the new settings, and keep
the old master key as long as backups that were made with it.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if (next.MasterKey == "") == (next.MasterKeyURL == "") {
				return usage(errors.New("name the new master key with --new-master-key or with --new-master-key-url"))
			}
			if _, err := s.load(c); err != nil {
				return err
			}
			return s.rewrap(c.Context(), next, c.OutOrStdout())
		},
	}
	s.bindData(c)
	c.Flags().StringVar(&next.MasterKey, "new-master-key", "", "file of the new master key")
	c.Flags().StringVar(&next.MasterPassFile, "new-master-passphrase-file", "", "file with the passphrase that seals it")
	c.Flags().StringVar(&next.MasterKeyURL, "new-master-key-url", "", "key service that holds the new master key")
	return c
}

// rewrap moves everything to the master key that to names.
func (s settings) rewrap(ctx context.Context, to settings, w io.Writer) error {
	next := s
	next.MasterKeyURL, next.MasterPassFile = to.MasterKeyURL, to.MasterPassFile
	if to.MasterKey != "" {
		next.MasterKey = to.MasterKey
	}
	if err := next.complete(); err != nil {
		return err
	}
	if next.MasterKey == s.MasterKey && next.MasterKeyURL == s.MasterKeyURL {
		return usage(errors.New("the new master key has the place of the old one; choose another"))
	}
	_, err := os.Lstat(next.MasterKey)
	kek, err := next.masterKey(ctx, errors.Is(err, os.ErrNotExist))
	if err != nil {
		return err
	}
	moved, err := s.moveTo(ctx, next, kek)
	if err != nil {
		return err
	}
	if err := errors.Join(s.keepRestores(next), next.saveMasterKey()); err != nil {
		return err
	}
	if moved == 0 {
		fmt.Fprintln(w, "Everything was under the new master key before.")
	} else {
		fmt.Fprintf(w, "%d data keys are under the new master key now. This is in the audit.\n", moved)
	}
	fmt.Fprintf(w, "The master key: %s. Keep the old one (%s) as long as backups that were made with it.\n", next.masterKeyPlace(), s.masterKeyPlace())
	if next.MasterKeyURL != "" && !next.keepsURL() {
		fmt.Fprintln(w, "The URL is the key itself and was not noted in the data folder; give --master-key-url at each start.")
	}
	return nil
}

// moveTo does it in one transaction and returns how many data keys there are; 0
// where an earlier call has done it.
func (s settings) moveTo(ctx context.Context, next settings, kek keys.KEK) (int, error) {
	log := slog.New(slog.DiscardHandler)
	v, err := openServices(ctx, s, log, false)
	if err != nil {
		if done, err := openServices(ctx, next, log, false); err == nil {
			return 0, done.close()
		}
		return 0, err
	}
	moved, err := v.Vault.Rewrap(ctx, kek, s.masterKeyPlace()+" -> "+next.masterKeyPlace(), func(ctx context.Context, tx *sqlx.Tx) error {
		return v.Repo.Rewrap(ctx, tx, kek)
	})
	return moved, errors.Join(err, v.close())
}

// keepRestores takes along what is noted beside the master key about restores.
func (s settings) keepRestores(next settings) error {
	if s.MasterKey == next.MasterKey {
		return nil
	}
	raw, err := os.ReadFile(s.MasterKey + ".restores")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.WriteFile(next.MasterKey+".restores", raw, 0o600)
	}
	if err != nil {
		return fmt.Errorf("taking along the count of restores: %w", err)
	}
	return nil
}

// keepsURL reports whether the URL of the master key may be noted beside the
// data: one is the key itself.
func (s settings) keepsURL() bool {
	return s.MasterKeyURL != "" && !strings.HasPrefix(s.MasterKeyURL, "base64key:")
}

// saveMasterKey changes what init noted about the master key, and nothing else.
func (s settings) saveMasterKey() error {
	path := s.settingsFile()
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the settings come from elsewhere
	}
	noted := map[string]any{}
	if err == nil {
		err = yaml.Unmarshal(raw, &noted)
	}
	if err != nil {
		return fmt.Errorf("reading settings: %w", err)
	}
	delete(noted, "master-passphrase-file")
	delete(noted, "master-key-url")
	noted["master-key"] = s.MasterKey
	if s.MasterPassFile != "" {
		noted["master-passphrase-file"] = s.MasterPassFile
	}
	if s.keepsURL() {
		noted["master-key-url"] = s.MasterKeyURL
	}
	if raw, err = yaml.Marshal(noted); err == nil {
		err = replaceFile(path, raw)
	}
	if err != nil {
		return fmt.Errorf("writing settings: %w", err)
	}
	return nil
}

// replaceFile writes a file that is the old or the new one whenever the machine
// stops.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
