package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob" // s3:// in --blobs-url

	"sealift/access"
	"sealift/director"
	"sealift/internal/db"
	"sealift/internal/diskblob"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/registry"
	"sealift/repo"
	"sealift/treehub"
	"sealift/uptane"
)

// services is everything below the edges, wired: they meet here and nowhere
// else.
type services struct {
	db       *db.DB
	access   *access.Access
	vault    *keys.Vault
	treehub  *treehub.TreeHub
	repo     *repo.Repo
	registry *registry.Registry
	director *director.Director
	closers  []func() error
}

// openServices opens the data the settings name. Create makes what is missing,
// the master key above all; without it a missing one is an error, because a new
// master key opens nothing.
func openServices(ctx context.Context, s settings, log *slog.Logger, create bool) (_ *services, err error) {
	v := &services{}
	defer func() {
		if err != nil {
			_ = v.close()
		}
	}()
	if err := v.lock(s, create); err != nil {
		return nil, err
	}
	if v.db, err = db.Open(ctx, s.databaseURL()); err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	v.closers = append(v.closers, v.db.Close)
	if v.access, err = access.New(ctx, access.Config{DB: v.db, Log: log}); err != nil {
		return nil, err
	}
	if create {
		if err := v.requireEmpty(ctx); err != nil {
			return nil, err
		}
	}
	kek, err := s.masterKey(create)
	if err != nil {
		return nil, err
	}
	if v.registry, err = registry.New(ctx, registry.Config{DB: v.db, Log: log}); err != nil {
		return nil, err
	}
	v.closers = append(v.closers, v.registry.Close)
	if v.vault, err = keys.New(ctx, keys.Config{DB: v.db, KEK: kek, Log: log, Actor: actor, Enrol: v.enrol}); err != nil {
		return nil, err
	}
	return v, v.openRepositories(ctx, s, log)
}

// requireEmpty refuses to make a new server out of one that serves already: its
// devices would lose the authorities they trust.
func (v *services) requireEmpty(ctx context.Context) error {
	there, err := v.access.Namespaces(ctx)
	if err == nil && len(there) > 0 {
		return usage(errors.New("the database holds a server already; give init an empty one"))
	}
	return err
}

func (v *services) openRepositories(ctx context.Context, s settings, log *slog.Logger) error {
	objects, err := s.bucket(ctx, "treehub")
	if err != nil {
		return err
	}
	v.closers = append(v.closers, objects.Close)
	if v.treehub, err = treehub.New(ctx, treehub.Config{DB: v.db, Bucket: objects, Log: log}); err != nil {
		return err
	}
	images, err := s.bucket(ctx, "repo")
	if err != nil {
		return err
	}
	v.closers = append(v.closers, images.Close)
	if v.repo, err = repo.New(ctx, repo.Config{
		DB: v.db, Bucket: images, Signer: v.vault, Roots: v.vault, RootVersion: v.vault.RootVersion,
		RoleKeysSince: v.vault.RoleKeysSince, PutRoots: v.vault.PutRoots, RootTwins: v.vault, RequireRoot: v.vault.RequireRoot, Complete: v.treehub.RequireComplete, Log: log,
	}); err != nil {
		return err
	}
	if v.director, err = director.New(ctx, director.Config{
		DB: v.db, Signer: v.vault, Roots: v.vault, Keys: v.vault, Images: v.repo, Journal: v.registry, Began: v.began, Log: log, Actor: actor,
	}); err != nil {
		return err
	}
	v.closers = append(v.closers, func() error { return v.director.Close(context.WithoutCancel(ctx)) })
	return nil
}

// enrol makes a device of a customer's own CA known at its first contact.
func (v *services) enrol(ctx context.Context, ns uptane.Namespace, oemid uptane.OEMID) (uptane.DeviceID, error) {
	id, _, err := v.registry.EnsureDevice(ctx, ns, oemid)
	return id, err
}

// began shows the Image repository what a device has installed.
func (v *services) began(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, filename string) error {
	return v.repo.ShowImage(ctx, ns, filename, "device "+string(device))
}

// actor names who acts, for audit and history.
func actor(ctx context.Context) string {
	if who, ok := web.CallerFrom(ctx); ok {
		return who.String()
	}
	return "local"
}

// close undoes what openServices did, the last first.
func (v *services) close() error {
	var all error
	for i := len(v.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, v.closers[i]())
	}
	v.closers = nil
	return all
}

// lock takes the data folder for this process where the data is local: two
// servers on one SQLite file would each believe their memory.
func (v *services) lock(s settings, create bool) error {
	if create {
		if err := os.MkdirAll(s.Data, 0o700); err != nil {
			return fmt.Errorf("making the data folder: %w", err)
		}
	}
	f, err := os.OpenFile(filepath.Join(s.Data, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return usage(fmt.Errorf("there is no data folder %s; run sealift init first, or name it with --data", s.Data))
	}
	if err != nil {
		return fmt.Errorf("locking the data folder: %w", err)
	}
	v.closers = append(v.closers, f.Close)
	if _, err := os.Stat(filepath.Join(s.Data, backupFile)); err == nil {
		return usage(fmt.Errorf("%s is a backup: devices may have seen newer versions; run sealift restore", s.Data))
	}
	if s.DatabaseURL != "" && s.BlobsURL != "" {
		return nil // replicas share a database; the folder holds nothing of value
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another sealift works on %s; stop it first", s.Data)
	}
	return nil
}

func (s settings) databaseURL() string {
	if s.DatabaseURL != "" {
		return s.DatabaseURL
	}
	return "sqlite:" + filepath.Join(s.Data, "sealift.db")
}

// bucket opens the part of the blob store that one service has for itself.
func (s settings) bucket(ctx context.Context, part string) (*blob.Bucket, error) {
	if s.BlobsURL == "" {
		b, err := diskblob.Open(filepath.Join(s.Data, "blobs", part))
		if err != nil {
			return nil, fmt.Errorf("opening the blob folder: %w", err)
		}
		return b, nil
	}
	b, err := blob.OpenBucket(ctx, s.BlobsURL)
	if err != nil {
		return nil, fmt.Errorf("opening --blobs-url: %w", err)
	}
	return blob.PrefixedBucket(b, part+"/"), nil
}

// masterKey opens the key that seals all others.
func (s settings) masterKey(create bool) (keys.KEK, error) {
	passphrase := func() ([]byte, error) {
		if s.MasterPassFile == "" {
			return nil, errors.New("the master key is sealed; say where its passphrase is with --master-passphrase-file")
		}
		return readSecretFile(s.MasterPassFile)
	}
	if !create {
		kek, err := keys.OpenFileKEK(s.MasterKey, passphrase)
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("the master key %s is missing; without it the keys in the database cannot be opened: restore it", s.MasterKey)
		}
		return kek, err
	}
	var sealed []byte
	if s.MasterPassFile != "" {
		var err error
		if sealed, err = readSecretFile(s.MasterPassFile); err != nil {
			return nil, err
		}
	}
	return keys.CreateFileKEK(s.MasterKey, sealed)
}
