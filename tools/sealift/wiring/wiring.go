// Package wiring puts the services together: they meet here and nowhere else.
// The server does it this way, and so does a test that needs a whole one in its
// own process.
package wiring

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"gocloud.dev/blob"

	"sealift/access"
	"sealift/api"
	"sealift/director"
	"sealift/gateway"
	"sealift/internal/db"
	"sealift/internal/hsm"
	"sealift/keys"
	"sealift/registry"
	"sealift/repo"
	"sealift/treehub"
	"sealift/uptane"
)

// Config is what a server stands on. Whoever opened it closes it, after the
// services.
type Config struct {
	DB  *db.DB
	KEK keys.KEK
	// Token is where new online keys are made; "" is the database.
	Token string
	// Service has the keys of a key service; nil where none is known.
	Service hsm.Service
	// Objects are those of TreeHub, Images what was uploaded.
	Objects, Images *blob.Bucket
	// Now is the clock; nil is the machine's.
	Now func() time.Time
	// Actor names who acts, for audit and history; nil names nobody.
	Actor func(context.Context) string
	// PrivateRemotes lets the Image repository fetch from addresses that are not
	// public.
	PrivateRemotes bool
	Log            *slog.Logger
}

// Services are everything below the edges. They are safe for concurrent use.
type Services struct {
	Access   *access.Access
	Vault    *keys.Vault
	TreeHub  *treehub.TreeHub
	Repo     *repo.Repo
	Registry *registry.Registry
	Director *director.Director
}

// Open opens the services and migrates their tables.
func Open(ctx context.Context, c Config) (_ *Services, err error) {
	s := &Services{}
	defer func() {
		if err != nil {
			_ = s.Close(ctx)
		}
	}()
	if s.Access, err = access.New(ctx, access.Config{DB: c.DB, Now: c.Now, Log: c.Log}); err != nil {
		return nil, err
	}
	if s.Vault, err = keys.New(ctx, keys.Config{DB: c.DB, KEK: c.KEK, Token: c.Token, Service: c.Service, Now: c.Now, Log: c.Log, Actor: c.Actor, Enrol: s.enrol}); err != nil {
		return nil, err
	}
	if s.Registry, err = registry.New(ctx, registry.Config{DB: c.DB, Now: c.Now, Log: c.Log, Act: s.Vault.Act}); err != nil {
		return nil, err
	}
	if s.TreeHub, err = treehub.New(ctx, treehub.Config{DB: c.DB, Bucket: c.Objects, Now: c.Now, Log: c.Log}); err != nil {
		return nil, err
	}
	if s.Repo, err = repo.New(ctx, repo.Config{
		DB: c.DB, Bucket: c.Images, Signer: s.Vault, Roots: s.Vault, RootVersion: s.Vault.RootVersion, RoleKeysSince: s.Vault.RoleKeysSince,
		PutRoots: s.Vault.PutRoots, RootTwins: s.Vault, RequireRoot: s.Vault.RequireRoot, Complete: s.TreeHub.RequireComplete, Witnessed: s.witnessed, Act: s.Vault.Act,
		Replicas: c.DB.Dialect() == db.Postgres, Secrets: c.KEK, PrivateRemotes: c.PrivateRemotes, Now: c.Now, Log: c.Log,
	}); err != nil {
		return nil, err
	}
	s.Director, err = director.New(ctx, director.Config{
		DB: c.DB, Signer: s.Vault, Roots: s.Vault, Keys: s.Vault, Images: s.Repo, Journal: s.Registry, Began: s.began, Now: c.Now, Log: c.Log, Actor: c.Actor, Act: s.Vault.Act,
	})
	return s, err
}

// witnessed is what timestamps say of the record.
func (s *Services) witnessed(ctx context.Context) (map[string]any, error) {
	head, err := s.Vault.Record().Head(ctx)
	if err != nil || head.Size == 0 {
		return nil, err
	}
	return head.Custom(), nil
}

// enrol makes a device of a customer's own CA known at its first contact.
func (s *Services) enrol(ctx context.Context, ns uptane.Namespace, oemid uptane.OEMID) (uptane.DeviceID, error) {
	id, _, err := s.Registry.EnsureDevice(ctx, ns, oemid)
	return id, err
}

// began shows the Image repository what a device has installed.
func (s *Services) began(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, filename string) error {
	return s.Repo.ShowImage(ctx, ns, filename, "device "+string(device))
}

// Gateway is the surface for devices; c says what is not a service.
func (s *Services) Gateway(c gateway.Config) (http.Handler, error) {
	c.Vault, c.Director, c.Repo, c.TreeHub, c.Registry = s.Vault, s.Director, s.Repo, s.TreeHub, s.Registry
	return gateway.New(c)
}

// API is the surface for people and builds; c says what is not a service.
func (s *Services) API(c api.Config) (http.Handler, error) {
	c.Vault, c.Director, c.Repo, c.TreeHub, c.Registry, c.Access = s.Vault, s.Director, s.Repo, s.TreeHub, s.Registry, s.Access
	return api.New(c)
}

// Guardian watches over what ends; c says what is not a service.
func (s *Services) Guardian(c api.Config) *api.Guardian {
	c.Vault, c.Director, c.Repo, c.TreeHub, c.Registry, c.Access = s.Vault, s.Director, s.Repo, s.TreeHub, s.Registry, s.Access
	return api.NewGuardian(c)
}

// Close writes what was gathered in memory, also when ctx has ended.
func (s *Services) Close(ctx context.Context) error {
	var all error
	if s.Director != nil {
		all = s.Director.Close(context.WithoutCancel(ctx))
	}
	if s.Registry != nil {
		all = errors.Join(all, s.Registry.Close())
	}
	return all
}
