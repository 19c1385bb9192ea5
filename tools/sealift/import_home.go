package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sealift/internal/credentials"
	"sealift/internal/diskblob"
	"sealift/internal/home"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/uptane"
)

// unfinishedHomes is where homes are made before they get their names.
const unfinishedHomes = "import.unfinished"

// makeHomes makes the signing homes of the owner out of the old server's root and
// targets keys. One that is there already must be of the same roots and have the
// same keys.
func (k *importing) makeHomes() error {
	draft := filepath.Join(k.o.Offline, unfinishedHomes)
	if err := os.RemoveAll(draft); err != nil {
		return fmt.Errorf("removing what an earlier import left: %w", err)
	}
	for _, name := range []uptane.Repository{uptane.ImageRepository, uptane.DirectorRepository} {
		place := filepath.Join(k.o.Offline, string(name))
		_, err := os.Stat(place)
		if err == nil {
			if err := k.sameHome(place, k.old.repositories[name]); err != nil {
				return fmt.Errorf("%s is there and not of this import: %w", place, err)
			}
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := k.makeHome(filepath.Join(draft, string(name)), k.old.repositories[name]); err != nil {
			return err
		}
		if err := errors.Join(os.Rename(filepath.Join(draft, string(name)), place), diskblob.Sync(k.o.Offline)); err != nil {
			return fmt.Errorf("giving %s its name: %w", place, err)
		}
	}
	return os.RemoveAll(draft)
}

func (k *importing) options() home.Options { return home.Options{Passphrases: k.offline} }

func (k *importing) makeHome(dir string, r oldRepository) error {
	kind := home.RepoServer
	if r.name == uptane.DirectorRepository {
		kind = home.Director
	}
	h, err := home.Create(dir, home.Config{Reposerver: k.s.APIURL, ServerType: kind}, k.options())
	if err != nil {
		return err
	}
	count := map[uptane.Role]int{}
	for _, key := range r.keys {
		if !key.offline {
			continue
		}
		name := string(key.role)
		if count[key.role]++; count[key.role] > 1 {
			name = fmt.Sprintf("%s-%d", name, count[key.role])
		}
		if err := h.Keys().ImportPair(name, key.raw, key.key, true); err != nil {
			return err
		}
	}
	for i, root := range r.roots {
		if i == 0 {
			_, err = h.PullRoot(root, nil, false)
		} else {
			_, err = h.PullRoot(root, nil, true)
		}
		if err != nil {
			return err
		}
	}
	if r.name == uptane.ImageRepository {
		raw := k.old.targets.Raw
		_, err = h.PullTargets(raw, home.ChecksumOf(raw))
		return err
	}
	return nil
}

// sameHome verifies a home that an earlier run made.
func (k *importing) sameHome(dir string, r oldRepository) error {
	h, err := home.Open(dir, k.options())
	if err != nil {
		return err
	}
	for _, key := range r.keys {
		if name := h.Keys().Named(key.key); key.offline && name == "" {
			return fmt.Errorf("it has no key %s", key.key.ID())
		} else if key.offline {
			if err := h.Keys().Prove(name, key.key); err != nil {
				return err
			}
		}
	}
	list, err := h.Roots()
	if err != nil {
		return err
	}
	if len(list) != len(r.roots) || !slices.EqualFunc(list, r.roots, func(s home.Signed, raw []byte) bool { return sameRoot(s.Uptane, raw) }) {
		return errors.New("its roots are others")
	}
	return nil
}

// makeArchives makes the archives and the first token, as init does for a server
// with keys of its own.
func (k *importing) makeArchives(ctx context.Context) error {
	f := &founding{s: k.s, o: initOptions{Offline: k.o.Offline, Out: k.o.Out, Plaintext: k.o.Plaintext, BootstrapRate: defaultBootstrapRate},
		now: time.Now(), v: k.v, offline: k.offline, build: k.build}
	roots, err := k.v.Vault.ServerRoots(ctx)
	if err != nil {
		return err
	}
	for _, cert := range roots {
		f.serverRoots = append(f.serverRoots, pki.Authority{Cert: cert})
	}
	if !k.old.hasTargetsKey() {
		return f.makeDeviceArchive(ctx, roots)
	}
	for _, h := range []struct {
		to   **home.Home
		name uptane.Repository
	}{{&f.image, uptane.ImageRepository}, {&f.director, uptane.DirectorRepository}} {
		if *h.to, err = home.Open(filepath.Join(k.o.Offline, string(h.name)), k.options()); err != nil {
			return err
		}
	}
	return f.makeArchives(ctx)
}

// makeDeviceArchive is for a server whose targets key somebody else has: builds
// have their archive from there.
func (k *founding) makeDeviceArchive(ctx context.Context, roots []*x509.Certificate) error {
	if err := os.MkdirAll(k.o.Out, 0o700); err != nil {
		return fmt.Errorf("making --out: %w", err)
	}
	p12, _, err := k.v.Vault.IssueBootstrap(ctx, keys.BootstrapRequest{Namespace: defaultNamespace, Name: "import", PerHour: k.o.BootstrapRate})
	if err != nil {
		return err
	}
	if k.out.imageRoot, err = k.writePins(ctx); err != nil {
		return err
	}
	ca := certificatePEM(roots...)
	archive := credentials.DeviceArchive{AutoprovURL: k.s.GatewayURL, AutoprovP12: p12, ServerCA: ca, RootJSON: k.out.imageRoot}
	return errors.Join(archive.Write(filepath.Join(k.o.Out, "device.zip")), k.makeOperator(ctx, ca))
}
