package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob"          // s3:// in --blobs-url
	_ "gocloud.dev/secrets/awskms"       // awskms:// in --master-key-url
	_ "gocloud.dev/secrets/localsecrets" // base64key:// there, for tests

	"sealift/access"
	"sealift/internal/db"
	"sealift/internal/diskblob"
	"sealift/internal/kms"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/tools/sealift/wiring"
)

// services are those of the data that the settings name.
type services struct {
	*wiring.Services
	db        *db.DB
	closers   []func() error
	abandoned bool // a new server that came to nothing
}

// openServices opens the data the settings name. Create makes what is missing,
// the master key above all; without it a missing one is an error, because a new
// master key opens nothing.
func openServices(ctx context.Context, s settings, log *slog.Logger, create bool) (_ *services, err error) {
	keepNoCore(log)
	v := &services{abandoned: create}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.close())
		}
	}()
	if err := v.lock(s, create); err != nil {
		return nil, err
	}
	if v.db, err = db.Open(ctx, s.databaseURL()); err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	v.closers = append(v.closers, v.db.Close, v.takeBack)
	if create {
		if err := v.requireEmpty(ctx, log); err != nil {
			return nil, err
		}
	}
	c := wiring.Config{DB: v.db, Token: s.OnlineToken, Service: kms.New(kms.Config{}), Actor: actor, PrivateRemotes: s.PrivateRemotes, Log: log}
	if c.KEK, err = s.masterKey(ctx, create); err != nil {
		return nil, err
	}
	if c.Objects, err = v.bucket(ctx, s, "treehub"); err != nil {
		return nil, err
	}
	if c.Images, err = v.bucket(ctx, s, "repo"); err != nil {
		return nil, err
	}
	if v.Services, err = wiring.Open(ctx, c); err != nil {
		return nil, err
	}
	v.closers = append(v.closers, func() error { return v.Close(ctx) })
	return v, nil
}

// takeBack empties the database of a server that was not founded after all: what is
// in it opens with a key that is deleted with the folders.
func (v *services) takeBack() error {
	if !v.abandoned {
		return nil
	}
	ctx, end := context.WithTimeout(context.Background(), time.Minute) // also when somebody has interrupted it
	defer end()
	return v.db.DropFounded(ctx)
}

// requireEmpty refuses to make a new server out of one that serves already: its
// devices would lose the authorities they trust.
func (v *services) requireEmpty(ctx context.Context, log *slog.Logger) error {
	known, err := access.New(ctx, access.Config{DB: v.db, Log: log})
	if err != nil {
		return err
	}
	there, err := known.Namespaces(ctx)
	if err == nil && len(there) > 0 {
		return usage(errors.New("the database holds a server already; give init an empty one"))
	}
	return err
}

// bucket opens the part of the blob store that one service has for itself.
func (v *services) bucket(ctx context.Context, s settings, part string) (*blob.Bucket, error) {
	b, err := s.bucket(ctx, part)
	if err == nil {
		v.closers = append(v.closers, b.Close)
	}
	return b, err
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
	return "sqlite:" + s.sqliteFile()
}

func (s settings) sqliteFile() string { return filepath.Join(s.Data, databaseFile) }

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
		return nil, fmt.Errorf("opening --blobs-url: %w", withoutAddress(err, s.BlobsURL))
	}
	return blob.PrefixedBucket(b, part+"/"), nil
}

// masterKeyPlace says where the master key is, without telling a secret.
func (s settings) masterKeyPlace() string {
	if scheme, _, ok := strings.Cut(s.MasterKeyURL, "://"); ok {
		return "key service " + scheme
	}
	return s.MasterKey
}

// masterKey opens the key that seals all others.
func (s settings) masterKey(ctx context.Context, create bool) (keys.KEK, error) {
	if s.MasterKeyURL != "" {
		return keys.OpenKeeperKEK(ctx, s.MasterKeyURL)
	}
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
