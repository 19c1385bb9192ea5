// Package access keeps namespaces and the API tokens of people and build jobs.
//
// A token is a text slt_ID_SECRET that is shown once and stored as a hash. The
// same text is a Bearer token, the password of HTTP Basic and the secret of
// OAuth2 client credentials, where the client id is ID. A token has scopes, a
// scope grants permissions, and a route demands one permission.
package access

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

//go:embed schema
var schema embed.FS

// What a caller may learn.
var (
	// ErrNamespaceExists: the namespace was created before.
	ErrNamespaceExists = fault.New(fault.Conflict, "namespace_exists", "the namespace exists already")
	// ErrUnknownNamespace: no such namespace.
	ErrUnknownNamespace = fault.New(fault.NotFound, "missing_namespace", "no such namespace")
	// ErrUnknownToken: the namespace has no token of this id.
	ErrUnknownToken = fault.New(fault.NotFound, "missing_token", "no such token")
	// ErrMalformed: a name, scope or lifetime breaks a rule that the cause names.
	ErrMalformed = fault.New(fault.Invalid, "invalid_entity", "the request is malformed")
	// ErrToken: the text is no token of this server.
	ErrToken = fault.New(fault.Unauthorized, "invalid_token", "the token is not accepted")
	// ErrExpired: the token was good once.
	ErrExpired = fault.New(fault.Unauthorized, "token_expired", "the token has expired")
	// ErrRevoked: the token was taken back.
	ErrRevoked = fault.New(fault.Unauthorized, "token_revoked", "the token was revoked")
	// ErrTooMany: this address failed too often of late.
	ErrTooMany = fault.New(fault.TooMany, "too_many_failures", "too many failed attempts, try again in a minute")
)

// Config is what an Access is made of.
type Config struct {
	DB  *db.DB
	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: slog.Default()
}

// Access is the namespaces and tokens of the server. Safe for concurrent use.
type Access struct {
	store   store
	now     func() time.Time
	log     *slog.Logger
	known   *cache
	failing *failures
}

// New brings the tables up to date and returns the service.
func New(ctx context.Context, cfg Config) (*Access, error) {
	if err := db.Migrate(ctx, cfg.DB, "access", schema); err != nil {
		return nil, err
	}
	a := &Access{store: store{cfg.DB}, now: cfg.Now, log: cfg.Log, known: newCache(), failing: newFailures()}
	if a.now == nil {
		a.now = time.Now
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	return a, nil
}

// CreateNamespace enters a namespace. It fails with [ErrNamespaceExists], or
// with [ErrMalformed] when the name cannot be used.
func (a *Access) CreateNamespace(ctx context.Context, ns uptane.Namespace) error {
	if !ns.Valid() {
		return ErrMalformed.With("a namespace is 1 to 63 of a-z 0-9 . _ - and begins with a letter or digit")
	}
	err := a.store.addNamespace(ctx, ns, a.now())
	if errors.Is(err, db.ErrExists) {
		return ErrNamespaceExists.With(string(ns))
	}
	if err != nil {
		return fmt.Errorf("creating namespace %s: %w", ns, err)
	}
	a.log.Info("namespace created", "namespace", ns)
	return nil
}

// Namespaces returns all namespaces in the order of their names.
func (a *Access) Namespaces(ctx context.Context) ([]uptane.Namespace, error) {
	list, err := a.store.namespaces(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing namespaces: %w", err)
	}
	return list, nil
}
