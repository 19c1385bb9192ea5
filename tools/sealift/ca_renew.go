package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sealift/internal/home"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/uptane"
)

// minCADays is the least life of a CA: people are told of its end 30 days ahead.
const minCADays = 45

// newCARenew is `sealift ca renew`.
func newCARenew() *cobra.Command {
	var offline, namespace string
	var days int
	c := withData(&cobra.Command{
		Use: "renew server|device --offline DIR", Short: "Issue a new intermediate CA from the offline root (the server must be stopped)", Args: args(cobra.ExactArgs(1)),
		Long: `Issues a new intermediate from the root in the offline folder, for the certificates that the server
shows (server) or gives to devices (device). Do it before the old one ends, which sealift expiry
forecasts, or when its key is stolen. Devices need nothing: they trust the root, and their own
certificates stay good. SEALIFT_PASSPHRASE, SEALIFT_PASSPHRASE_FILE or one that is asked for opens the
root's key. Start the server afterwards, where there are several all of them.

No device asks whether a certificate was revoked: whoever has stolen the server's intermediate can show
himself as the server until it ends. --days makes that sooner, at the price of renewing it as often.`,
		Example: `  sealift ca renew server --offline /media/sealift-offline
  sealift ca renew server --days 180 --offline /media/sealift-offline
  sealift ca renew device --offline /media/sealift-offline`,
	}, func(c *cobra.Command, given []string, _ settings, v *services) error {
		life := pki.ServerAuthorityLife
		if c.Flags().Changed("days") {
			life = time.Duration(days) * 24 * time.Hour
			if given[0] != "server" || days < minCADays || life > pki.ServerAuthorityLife {
				return usage(fmt.Errorf("--days is for the server's CA, from %d to %d", minCADays, int(pki.ServerAuthorityLife.Hours()/24)))
			}
		}
		r := renewal{v: v, offline: offline, life: life, phrases: &home.Passphrases{Getenv: os.Getenv, Names: []string{"SEALIFT_PASSPHRASE"}, Prompt: prompt()}}
		switch given[0] {
		case "server":
			return r.server(c.Context(), c.OutOrStdout())
		case "device":
			return r.device(c.Context(), uptane.Namespace(namespace), c.OutOrStdout())
		}
		return usage(fmt.Errorf("there is no CA %q to renew, but server and device", plain(given[0])))
	})
	c.Flags().StringVar(&offline, "offline", "./sealift-offline", "folder of the offline keys, as init made it")
	c.Flags().StringVar(&namespace, "namespace", string(defaultNamespace), "namespace whose device CA is renewed")
	c.Flags().IntVar(&days, "days", 0, "how long the server's new CA lasts (default: three years)")
	return c
}

// renewal issues intermediates from the roots of an offline folder.
type renewal struct {
	v       *services
	offline string
	life    time.Duration // of the server's
	phrases *home.Passphrases
}

func (r renewal) server(ctx context.Context, w io.Writer) error {
	root, err := r.root("server")
	if err != nil {
		return err
	}
	known, err := r.v.Vault.ServerRoots(ctx)
	if err != nil {
		return err
	}
	if !known[0].Equal(root.Cert) {
		return r.foreign()
	}
	issuer, err := pki.NewServerIntermediateFor(time.Now(), "Sealift server", root, r.life)
	if err != nil {
		return err
	}
	if err := r.v.Vault.ImportServerTree(ctx, keys.ServerTree{Root: known[0], Next: known[1], Issuer: issuer}); err != nil {
		return err
	}
	return tellRenewal(w, "the server", issuer.Cert)
}

func (r renewal) device(ctx context.Context, ns uptane.Namespace, w io.Writer) error {
	root, err := r.root("device")
	if err != nil {
		return err
	}
	known, err := r.v.Vault.DeviceRoot(ctx, ns)
	if err != nil {
		return err
	}
	if !known.Equal(root.Cert) {
		return r.foreign()
	}
	issuer, err := pki.NewDeviceIntermediate(time.Now(), "Sealift devices "+string(ns), root)
	if err != nil {
		return err
	}
	if err := r.v.Vault.ImportDeviceTree(ctx, ns, root.Cert, issuer); err != nil {
		return err
	}
	return tellRenewal(w, "devices of "+string(ns), issuer.Cert)
}

func (r renewal) foreign() error {
	return usage(fmt.Errorf("the root in %s is not that of this server", plain(r.offline)))
}

func tellRenewal(w io.Writer, of string, cert *x509.Certificate) error {
	_, err := fmt.Fprintf(w, "A new CA of %s is in force at the next start, until %s. This is in the audit.\nMake a backup: it has a new private key.\n", plain(of), cert.NotAfter.UTC().Format(time.DateOnly))
	return err
}

// root opens a root of the offline folder.
func (r renewal) root(name string) (a pki.Authority, err error) {
	path := filepath.Join(r.offline, "ca", name)
	raw, err := readLimited(path+".pem", maxRootFile)
	if errors.Is(err, os.ErrNotExist) {
		return a, usage(fmt.Errorf("there is no %s.pem; name the folder that init made with --offline", path))
	}
	if err != nil {
		return a, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return a, fmt.Errorf("reading %s.pem: no certificate in PEM", path)
	}
	if a.Cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		return a, fmt.Errorf("reading %s.pem: %w", path, err)
	}
	if raw, err = readLimited(path+".key", maxRootFile); err != nil {
		return a, err
	}
	plain, err := r.phrases.Open(raw, path+".key")
	if err != nil {
		return a, err
	}
	if block, _ = pem.Decode(plain); block == nil {
		return a, fmt.Errorf("reading %s.key: no key in PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return a, fmt.Errorf("reading %s.key: %w", path, err)
	}
	private, ok := key.(crypto.Signer)
	if !ok {
		return a, fmt.Errorf("reading %s.key: %T cannot sign", path, key)
	}
	a.Key = private
	return a, a.CheckPair(a.Cert)
}
