package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sealift/internal/db"
	"sealift/internal/web"
)

const (
	exchangeLife = 24 * time.Hour
	usedEvery    = 10 * time.Minute
)

// Authenticate returns the caller that an API token or an access token
// stands for. A right answer may be up to a second old. Remote is the
// client's address, "" for none: an address that keeps failing gets
// [ErrTooMany] for what is wrong. What is right is let in all the same, since
// many may share an address, above all that of a proxy. It fails with [ErrToken], [ErrExpired] or [ErrRevoked].
func (a *Access) Authenticate(ctx context.Context, remote, text string) (web.Caller, error) {
	key, now := digest(text), a.now()
	if who, ok := a.known.get(key, now); ok {
		return who, nil
	}
	t, err := a.lookUp(ctx, text)
	if err != nil {
		return web.Caller{}, a.refuse(remote, err)
	}
	if now.Sub(t.LastUsed) >= usedEvery {
		if err := a.store.markUsed(ctx, t.Namespace, t.ID, now); err != nil {
			return web.Caller{}, fmt.Errorf("noting use of token %s: %w", t.ID, err)
		}
	}
	who := web.Caller{Kind: web.Token, Namespace: t.Namespace, Token: t.ID, Permissions: t.Permissions(),
		Confined: confined(t.Scopes, RepoSign), ConfinedPush: confined(t.Scopes, TreehubPush)}
	a.known.put(key, who, now)
	return who, nil
}

// Exchange is the OAuth2 client credentials grant: the client id is a token's
// id, the client secret its whole text or the SECRET in it. It returns an
// opaque access token with the same permissions and how long it lives: 24
// hours, or as long as the token if that is less. It fails as
// [Access.Authenticate] does.
func (a *Access) Exchange(ctx context.Context, remote, clientID, clientSecret string) (string, time.Duration, error) {
	text := clientSecret
	if !strings.HasPrefix(text, tokenPrefix) {
		text = tokenPrefix + clientID + "_" + clientSecret
	}
	id, secret, ok := parseToken(text)
	if !ok || id != clientID {
		return "", 0, a.refuse(remote, ErrToken)
	}
	t, err := a.byID(ctx, id, secret)
	if err != nil {
		return "", 0, a.refuse(remote, err)
	}
	now := a.now()
	expires := now.Add(exchangeLife)
	if !t.Expires.IsZero() && t.Expires.Before(expires) {
		expires = t.Expires
	}
	if err := a.store.dropExchanges(ctx, t.Namespace, now); err != nil {
		return "", 0, fmt.Errorf("dropping expired access tokens: %w", err)
	}
	access := exchangePrefix + newSecret()
	if err := a.store.addExchange(ctx, t.Namespace, t.ID, digest(access), expires); err != nil {
		return "", 0, fmt.Errorf("storing access token: %w", err)
	}
	return access, expires.Sub(now), nil
}

// refuse counts a failure of the client, not of the server, and tells one that
// keeps failing no more than that.
func (a *Access) refuse(remote string, err error) error {
	if !errors.Is(err, ErrToken) && !errors.Is(err, ErrExpired) && !errors.Is(err, ErrRevoked) {
		return err
	}
	if !a.failing.allow(remote) {
		return ErrTooMany
	}
	a.failing.count(remote)
	return err
}

func (a *Access) lookUp(ctx context.Context, text string) (Token, error) {
	if secret, ok := strings.CutPrefix(text, exchangePrefix); ok && isSecret(secret) {
		return a.byExchange(ctx, text)
	}
	id, secret, ok := parseToken(text)
	if !ok {
		return Token{}, ErrToken
	}
	return a.byID(ctx, id, secret)
}

// byID tells a token's state only to who has its secret.
func (a *Access) byID(ctx context.Context, id, secret string) (Token, error) {
	t, sum, err := a.store.token(ctx, id)
	if errors.Is(err, db.ErrNoRows) {
		return Token{}, ErrToken
	}
	if err != nil {
		return Token{}, fmt.Errorf("looking up token: %w", err)
	}
	if !sameDigest(digest(secret), sum) {
		return Token{}, ErrToken
	}
	return t, t.alive(a.now())
}

// byExchange looks up by the hash of 256 random bits: how long that takes
// tells nothing about the text.
func (a *Access) byExchange(ctx context.Context, text string) (Token, error) {
	t, expires, err := a.store.exchanged(ctx, digest(text))
	if errors.Is(err, db.ErrNoRows) {
		return Token{}, ErrToken
	}
	if err != nil {
		return Token{}, fmt.Errorf("looking up access token: %w", err)
	}
	if !a.now().Before(expires) {
		return Token{}, ErrExpired.With("at " + expires.UTC().Format(time.RFC3339))
	}
	return t, t.alive(a.now())
}
