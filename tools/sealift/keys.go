package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sealift/access"
	"sealift/internal/home"
	"sealift/keys"
	"sealift/uptane"
)

// newKeys is `sealift keys`: what only whoever has the data and the master key
// may do. No route of the server gives a private key away.
func newKeys() *cobra.Command {
	group := &cobra.Command{Use: "keys", Short: "Who holds which private key; copies of them, and another master key (with the server stopped)"}
	group.AddCommand(newKeysList(), newKeysExport(), newKeysRewrap())
	return group
}

// withData makes a command that opens the data folder.
func withData(c *cobra.Command, run func(*cobra.Command, []string, settings, *services) error) *cobra.Command {
	var s settings
	c.RunE = func(c *cobra.Command, given []string) (err error) {
		if _, err := s.load(c); err != nil {
			return err
		}
		v, err := openServices(c.Context(), s, slog.New(slog.DiscardHandler), false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, v.close()) }()
		return run(c, given, s, v)
	}
	s.bindData(c)
	return c
}

func newKeysList() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use: "list", Short: "List the keys of all namespaces and where their private halves are, also while the server runs", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := s.load(c); err != nil {
				return err
			}
			return s.listKeys(c.Context(), c.OutOrStdout())
		},
	}
	s.bindData(c)
	return c
}

// listKeys reads the database and nothing else, so that it needs no lock.
func (s settings) listKeys(ctx context.Context, w io.Writer) (err error) {
	log := slog.New(slog.DiscardHandler)
	keepNoCore(log)
	d, err := s.openDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	kek, err := s.masterKey(ctx, false)
	if err != nil {
		return err
	}
	known, err := access.New(ctx, access.Config{DB: d, Log: log})
	if err != nil {
		return err
	}
	vault, err := keys.New(ctx, keys.Config{DB: d, KEK: kek, Log: log})
	if err != nil {
		return err
	}
	namespaces, err := known.Namespaces(ctx)
	if err != nil {
		return err
	}
	t := newTable(w, "NAMESPACE", "REPOSITORY", "ROLE", "KEY", "TYPE", "PRIVATE KEY", "IN ROOT")
	for _, ns := range namespaces {
		held, err := vault.Custody(ctx, ns)
		if err != nil {
			return err
		}
		for _, h := range held {
			inRoot := "yes"
			if !h.InRoot {
				inRoot = "no"
			}
			t.row(string(ns), string(h.Repository), string(h.Role), string(h.Key.ID()), h.Key.Algorithm(), placeOfKey(h), inRoot)
		}
	}
	return t.end()
}

func newKeysExport() *cobra.Command {
	var namespace, out, name string
	var clear bool
	c := withData(&cobra.Command{
		Use: "export KEYID --out DIR", Short: "Copy a private key out of the server, sealed under a passphrase",
		Long: `Writes NAME.pub and NAME.sec into --out, as garage-sign reads them, and reads them back. The
private key is sealed under SEALIFT_PASSPHRASE, SEALIFT_PASSPHRASE_FILE or one that is asked for.
The export is in the audit before the key leaves. The server keeps its copy: a root that does not
name the key any more makes it forget. A key in a PKCS#11 token stays there.`,
		Example: `  sealift keys export KEYID --out copies --name timestamp-old`,
		Args:    args(cobra.ExactArgs(1)),
	}, func(c *cobra.Command, given []string, s settings, v *services) error {
		if out == "" {
			return usage(errors.New("--out is missing: the folder for the key, outside --data"))
		}
		dir, err := filepath.Abs(out)
		if err != nil {
			return fmt.Errorf("reading --out: %w", err)
		}
		if inside(dir, s.Data) {
			return usage(fmt.Errorf("--out %s is inside --data; choose a folder you can carry away", dir))
		}
		phrases := &home.Passphrases{Getenv: os.Getenv, Names: []string{"SEALIFT_PASSPHRASE"}, Prompt: prompt()}
		if !clear {
			if _, err := phrases.Choose("the exported key"); err != nil {
				return usage(err)
			}
		}
		ring := home.OpenKeyring(dir, home.Options{Passphrases: phrases})
		if name != "" && (ring.Has(name) || ring.HasPrivate(name)) {
			return usage(fmt.Errorf("%s has a key %s already", dir, name))
		}
		err = v.Vault.Export(c.Context(), uptane.Namespace(namespace), uptane.KeyID(given[0]), func(h keys.Held, private crypto.Signer) error {
			if name == "" {
				name = fmt.Sprintf("%s-%s-%.12s", h.Repository, h.Role, h.Key.ID())
			}
			return ring.StorePrivate(name, private, !clear)
		})
		if err != nil {
			return err
		}
		return tellExport(c.OutOrStdout(), filepath.Join(dir, name), clear)
	})
	c.Flags().StringVar(&namespace, "namespace", string(defaultNamespace), "namespace of the key")
	c.Flags().StringVar(&out, "out", "", "folder for the key")
	c.Flags().StringVar(&name, "name", "", "name of the files (default: repository, role and the beginning of the id)")
	c.Flags().BoolVar(&clear, "insecure-plaintext", false, "do not seal the private key: whoever reads the file can sign")
	return c
}

func tellExport(w io.Writer, path string, clear bool) error {
	fmt.Fprintf(w, "The key is in %s.pub and %s.sec, and a signature with it was verified. This is in the audit.\n", plain(path), plain(filepath.Base(path)))
	if clear {
		fmt.Fprintln(w, "WARNING: the private key is in clear; whoever reads the file can sign.")
	}
	return nil
}

// placeOfKey says where a private key is, and whether it came from another server.
func placeOfKey(h keys.Held) string {
	if h.Imported.IsZero() {
		return h.Place
	}
	return h.Place + ", imported " + h.Imported.Format("2006-01-02")
}
