package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// Token is what is known of an API token; its secret is not.
type Token struct {
	Namespace uptane.Namespace
	ID        string // UUIDv7
	Name      string // for people
	Scopes    []Scope
	Created   time.Time
	Expires   time.Time // zero: never
	Revoked   time.Time // zero: not
	LastUsed  time.Time // zero: never; up to ten minutes late
}

// Permissions returns what the token's scopes grant together, sorted.
func (t Token) Permissions() []string { return permissions(t.Scopes) }

// alive tells why t is not accepted at a time, or nil.
func (t Token) alive(now time.Time) error {
	if !t.Revoked.IsZero() {
		return ErrRevoked
	}
	if !t.Expires.IsZero() && !now.Before(t.Expires) {
		return ErrExpired.With("at " + t.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

const (
	maxName = 100
	// maxTokens in a list.
	maxTokens = 1000
)

// Within is what is done in the same transaction as a change of a token, such as
// auditing it: both happen, or neither.
type Within func(ctx context.Context, tx *sqlx.Tx, id string) error

// CreateToken makes a token and returns its text, which nobody can find out
// later. A ttl of 0 means that it does not expire. It fails with
// [ErrUnknownNamespace] or [ErrMalformed].
func (a *Access) CreateToken(ctx context.Context, ns uptane.Namespace, name string, scopes []Scope, ttl time.Duration, also ...Within) (string, Token, error) {
	scopes, err := checkScopes(scopes)
	if err != nil {
		return "", Token{}, err
	}
	n := utf8.RuneCountInString(name)
	if n == 0 || n > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return "", Token{}, ErrMalformed.Withf("a token's name has 1 to %d characters, none of them control characters", maxName)
	}
	if ttl < 0 {
		return "", Token{}, ErrMalformed.With("a token's lifetime is not negative")
	}
	if ok, err := a.store.hasNamespace(ctx, ns); err != nil || !ok {
		if err != nil {
			return "", Token{}, fmt.Errorf("creating token: %w", err)
		}
		return "", Token{}, ErrUnknownNamespace.With(string(ns))
	}
	id, err := uuid.NewV7()
	if err != nil {
		return "", Token{}, fmt.Errorf("creating token: %w", err)
	}
	secret := newSecret()
	t := Token{Namespace: ns, ID: id.String(), Name: name, Scopes: scopes, Created: toSecond(a.now())}
	if ttl > 0 {
		t.Expires = toSecond(a.now().Add(ttl))
	}
	err = a.within(ctx, t.ID, also, func(ctx context.Context, tx *sqlx.Tx) error { return a.store.addToken(ctx, tx, t, digest(secret)) })
	if err != nil {
		return "", Token{}, fmt.Errorf("creating token: %w", err)
	}
	a.log.Info("token created", "namespace", ns, "token", t.ID, "name", name, "scopes", joinScopes(scopes))
	return tokenPrefix + t.ID + "_" + secret, t, nil
}

// Tokens returns a page of the tokens of a namespace, newest first, revoked
// and expired ones too, and how many there are. At most 1000 at a time.
func (a *Access) Tokens(ctx context.Context, ns uptane.Namespace, offset, limit int) ([]Token, int, error) {
	total, err := a.store.countTokens(ctx, ns)
	if err != nil {
		return nil, 0, fmt.Errorf("counting tokens: %w", err)
	}
	list, err := a.store.tokens(ctx, ns, offset, min(limit, maxTokens))
	if err != nil {
		return nil, 0, fmt.Errorf("listing tokens: %w", err)
	}
	return list, total, nil
}

// TokenNames returns the names of tokens by their ids, of revoked and expired ones,
// too: a token keeps the name that it was made with. Ids that are of no token of the
// namespace are left out.
func (a *Access) TokenNames(ctx context.Context, ns uptane.Namespace, ids []string) (map[string]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	names, err := a.store.tokenNames(ctx, ns, ids)
	if err != nil {
		return nil, fmt.Errorf("looking up names of tokens: %w", err)
	}
	return names, nil
}

// RevokeToken takes a token back, and with it every access token it was
// exchanged for, within a second in every replica. Revoking
// twice changes nothing. It fails with [ErrUnknownToken].
func (a *Access) RevokeToken(ctx context.Context, ns uptane.Namespace, id string, also ...Within) error {
	err := a.within(ctx, id, also, func(ctx context.Context, tx *sqlx.Tx) error { return a.store.revoke(ctx, tx, ns, id, a.now()) })
	if errors.Is(err, db.ErrNoRows) {
		return ErrUnknownToken
	}
	if err != nil {
		return fmt.Errorf("revoking token %s: %w", id, err)
	}
	a.known.clear()
	a.log.Info("token revoked", "namespace", ns, "token", id)
	return nil
}

// within makes a change and what belongs to it in one transaction.
func (a *Access) within(ctx context.Context, id string, also []Within, change func(context.Context, *sqlx.Tx) error) error {
	return a.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		err := change(ctx, tx)
		for _, do := range also {
			if err == nil {
				err = do(ctx, tx, id)
			}
		}
		return err
	})
}

// The beginnings tell people, and scanners for leaked secrets, what a text is.
const (
	tokenPrefix    = "slt_" // API token: slt_ID_SECRET
	exchangePrefix = "sla_" // OAuth2 access token: sla_SECRET
)

const (
	secretBytes = 32
	secretChars = 52
)

// newSecret uses letters and digits only: OAuth2 clients send it unescaped.
func newSecret() string {
	raw := make([]byte, secretBytes)
	_, _ = rand.Read(raw) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
}

// parseToken splits slt_ID_SECRET; the id is a UUID as this package writes it.
func parseToken(text string) (id, secret string, ok bool) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return "", "", false
	}
	id, secret, ok = strings.Cut(rest, "_")
	if !ok || !isSecret(secret) {
		return "", "", false
	}
	u, err := uuid.Parse(id)
	if err != nil || u.String() != id {
		return "", "", false
	}
	return id, secret, true
}

func isSecret(s string) bool {
	if len(s) != secretChars {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// sameDigest compares in constant time.
func sameDigest(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// toSecond drops what no reader of a token list wants to see.
func toSecond(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
