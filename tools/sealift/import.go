package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"sealift/internal/home"
	"sealift/keys"
)

// importOptions is what `sealift import` asks for beyond the settings.
type importOptions struct {
	dir             string
	Offline         string
	Out             string
	Blobs           string
	DeviceCAs       []string
	DirectorVersion int64
	OnlineTargets   bool
	Plaintext       bool
	DryRun          bool
}

// newImport is `sealift import`.
func newImport() *cobra.Command {
	var s settings
	var o importOptions
	c := &cobra.Command{
		Use: "import DIR", Short: "Take over the repositories, keys and devices of an ota-tuf (OTA CE) server",
		Long: `Fills a server that sealift init --for-import made with what an ota-tuf server served: its
roots, targets, delegations, keys and devices. Devices in the field then see nothing but the next
versions. DIR holds, fetched from the old server:

  image/1.root.json .. N.root.json, targets.json, snapshot.json, timestamp.json, delegations/NAME.json
  director/1.root.json .. N.root.json
  keys.sql       mysqldump of the table keys of the key server
  director.sql   mysqldump of the tables ecus and provisioned_devices of the Director

DB_ENCRYPTION_SALT and DB_ENCRYPTION_PASSWORD are those of the old key server. Root keys and the
targets key of the Image repository go sealed into --offline (SEALIFT_PASSPHRASE,
SEALIFT_PASSPHRASE_FILE or asked for), never onto this server. The other keys sign here from now on;
sealift keys list shows them as imported until sealift root rotate has replaced them, because the old
server, its backups and its administrators have them too.

Everything is tried on a copy first: what is refused leaves nothing behind. An import that broke off
is finished by the same command; until then nothing is served to devices. Once finished, importing
the same again changes nothing. docs/migration.md has the whole session.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			o.dir = given[0]
			if _, err := s.load(c); err != nil {
				return err
			}
			return runImport(c.Context(), s, o, c.OutOrStdout())
		},
	}
	s.bind(c)
	c.Flags().StringVar(&o.Offline, "offline", "./sealift-offline", "folder of the offline keys, outside --data")
	c.Flags().StringVar(&o.Out, "out", "./sealift-out", "folder of the archives and the first token")
	c.Flags().StringVar(&o.Blobs, "blobs", "", "folder or tar file with the uploaded images, under any names")
	c.Flags().StringSliceVar(&o.DeviceCAs, "device-ca", nil, "PEM file with the CA that signed the certificates of the devices (repeatable)")
	c.Flags().Int64Var(&o.DirectorVersion, "director-version", 0, "highest version of Director metadata that a device has seen, if it is above the minutes since 2020")
	c.Flags().BoolVar(&o.OnlineTargets, "online-targets-key", false, "keep the targets key of the Image repository on this server, too; whoever takes the server can then sign images")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "try everything on a copy and change nothing; needs no passphrase")
	c.Flags().BoolVar(&o.Plaintext, "insecure-plaintext-targets-key", false, "put the targets key into build.zip unsealed, as the Java tool reads it")
	return c
}

// importing is one run of import.
type importing struct {
	s   settings
	o   importOptions
	w   io.Writer
	v   *services
	old oldServer

	offline *home.Passphrases
	build   []byte // passphrase of the key in build.zip
}

func runImport(ctx context.Context, s settings, o importOptions, w io.Writer) (err error) {
	k := &importing{s: s, o: o, w: w}
	if err := k.check(); err != nil {
		return err
	}
	if k.old, err = readOldServer(k.o.dir, k.o.OnlineTargets); err != nil {
		return usage(err)
	}
	k.inventory()
	if k.v, err = openServices(ctx, k.s, discard(), false); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.v.close()) }()
	done, err := k.v.Vault.Import(ctx, defaultNamespace)
	if err != nil {
		return err
	}
	if !done.Finished.IsZero() {
		return k.compare(ctx, done)
	}
	var blobs []foundBlob
	images := k.old.wanted()
	if err := k.counted("images found", len(images), func(done *atomic.Int64) (err error) {
		blobs, err = findBlobs(ctx, k.o.Blobs, images, done)
		return err
	}); err != nil {
		return err
	}
	if !k.o.DryRun {
		if err := k.askPassphrases(); err != nil {
			return err
		}
	}
	if done.Begun.IsZero() {
		if err := k.rehearse(ctx); err != nil {
			return fmt.Errorf("%w; nothing was imported", err)
		}
		k.say("Tried on a copy: all of it can be taken over.")
	} else {
		if err := takeRoots(ctx, k.v.Services, k.old); err != nil { // compares
			return err
		}
		k.say("An import began %s and broke off: it goes on from there.", done.Begun.Format(time.RFC3339))
	}
	if k.o.DryRun {
		k.say("Nothing was changed.")
		return nil
	}
	if err := k.take(ctx, blobs); err != nil {
		return fmt.Errorf("%w; devices get nothing until the same command has succeeded", err)
	}
	return nil
}

// check refuses places where keys must not lie.
func (k *importing) check() error {
	for _, path := range []*string{&k.o.Offline, &k.o.Out} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("reading a folder: %w", err)
		}
		if *path = abs; inside(abs, k.s.Data) {
			return usage(fmt.Errorf("%s is inside --data; choose another folder", abs))
		}
	}
	return k.s.checkNames()
}

func (k *importing) askPassphrases() error {
	f := founding{s: k.s, o: initOptions{Offline: k.o.Offline, Plaintext: k.o.Plaintext}}
	if !k.old.hasTargetsKey() {
		f.o.Plaintext = true // there is no build.zip to seal a key for
	}
	err := f.askPassphrases()
	k.offline, k.build = f.offline, f.build
	return err
}

// take brings everything here, step by step; each may have been done before.
func (k *importing) take(ctx context.Context, blobs []foundBlob) error {
	var missing []string
	for _, step := range []struct {
		done string
		do   func(context.Context) error
	}{
		{"signing homes in " + k.o.Offline, func(context.Context) error { return k.makeHomes() }},
		{"roots and keys", func(ctx context.Context) error { return takeRoots(ctx, k.v.Services, k.old) }},
		{"images", func(ctx context.Context) error {
			return k.counted("images stored", len(blobs), func(done *atomic.Int64) error { return storeBlobs(ctx, k.v.Services, blobs, done) })
		}},
		{"targets", func(ctx context.Context) (err error) {
			missing, err = takeTargets(ctx, k.v.Services, k.old)
			return err
		}},
		{"delegated roles", func(ctx context.Context) error { return takeDelegations(ctx, k.v.Services, k.old) }},
		{"devices", func(ctx context.Context) error { return k.takeDevices(ctx, k.v, "devices") }},
		{"CAs of devices", k.addIssuers},
		{"archives and the first token in " + k.o.Out, k.makeArchives},
	} {
		if err := errors.Join(ctx.Err(), step.do(ctx)); err != nil {
			return err
		}
		k.say("Done: %s.", step.done)
	}
	if err := errors.Join(ctx.Err(), k.v.Vault.FinishImport(ctx, defaultNamespace)); err != nil {
		return err
	}
	return k.report(ctx, missing)
}

func (k *importing) takeDevices(ctx context.Context, v *services, what string) error {
	return k.counted(what, len(k.old.devices), func(done *atomic.Int64) error {
		return takeDevices(ctx, v.Services, k.old, k.o.DirectorVersion, done)
	})
}

// compare is the second import: it changes nothing.
func (k *importing) compare(ctx context.Context, done keys.Import) error {
	if err := takeRoots(ctx, k.v.Services, k.old); err != nil {
		return err
	}
	there, err := k.v.Repo.Published(ctx, defaultNamespace, k.old.targets)
	if err == nil && !there {
		err = keys.ErrImportConflict.Withf("targets %d of the other server were never published here: it went on after the import", k.old.targets.Payload.Version)
	}
	if err != nil {
		return fmt.Errorf("comparing targets: %w", err)
	}
	k.say("Imported %s. Nothing has changed.", done.Finished.Format(time.RFC3339))
	return k.reds(ctx, k.v.Vault)
}

// addIssuers lets the devices of the old CAs in.
func (k *importing) addIssuers(ctx context.Context) error {
	known, err := k.v.Vault.Issuers(ctx, defaultNamespace)
	if err != nil {
		return err
	}
	for _, path := range k.o.DeviceCAs {
		cert, err := readCertificate(path)
		if err != nil {
			return err
		}
		there := false
		for _, i := range known {
			there = there || i.Certificate.Equal(cert)
		}
		if there {
			continue
		}
		if err := k.v.Vault.AddIssuer(ctx, defaultNamespace, cert); err != nil {
			return err
		}
	}
	return nil
}

// rehearse does all of it, but for blobs and homes, in a database that is thrown
// away: whatever would be refused is refused there.
func (k *importing) rehearse(ctx context.Context) error {
	for _, path := range k.o.DeviceCAs {
		if _, err := readCertificate(path); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(k.s.Data, "rehearsal-")
	if err != nil {
		return fmt.Errorf("making a copy to try on: %w", err)
	}
	defer os.RemoveAll(dir)
	scratch := settings{Data: dir, MasterKey: k.s.MasterKey, MasterKeyURL: k.s.MasterKeyURL, MasterPassFile: k.s.MasterPassFile}
	v, err := openServices(ctx, scratch, discard(), false)
	if err != nil {
		return err
	}
	defer func() { _ = v.close() }()
	if err := v.Access.CreateNamespace(ctx, defaultNamespace); err != nil {
		return err
	}
	if err := k.requireEmpty(ctx); err != nil {
		return err
	}
	if err := takeRoots(ctx, v.Services, k.old); err != nil {
		return err
	}
	if _, err := takeTargets(ctx, v.Services, k.old); err != nil {
		return err
	}
	if err := takeDelegations(ctx, v.Services, k.old); err != nil {
		return err
	}
	return k.takeDevices(ctx, v, "devices tried")
}

// requireEmpty refuses a server that has roots of its own.
func (k *importing) requireEmpty(ctx context.Context) error {
	for repository := range k.old.repositories {
		if n, err := k.v.Vault.RootVersion(ctx, defaultNamespace, repository); err == nil {
			return keys.ErrImportConflict.Withf("the %s repository has root %d; import into a server made with sealift init --for-import", repository, n)
		} else if !errors.Is(err, keys.ErrNoRoot) {
			return err
		}
	}
	return nil
}
