package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxTokenAnswer = 64 << 10
	tokenTimeout   = time.Minute
)

// tokenSource fetches an access token when one is first needed and again when
// a server no longer takes it. One fetch runs at a time.
type tokenSource struct {
	endpoint string
	form     url.Values
	auth     OAuth2
	client   *http.Client
	lock     chan struct{} // a mutex that can be waited for under a context
	current  string
}

func newTokenSource(auth OAuth2, base http.RoundTripper) (*tokenSource, error) {
	endpoint, form := auth.Server, url.Values{"grant_type": {"client_credentials"}}
	if strings.HasSuffix(endpoint, "/token") {
		scope := auth.Scope
		if scope == "" {
			scope = "none" // what the tools have always sent for an absent scope
		}
		form.Set("scope", scope)
	} else {
		endpoint += "/token"
	}
	if _, err := checkURL(endpoint); err != nil {
		return nil, fmt.Errorf("reading the OAuth2 server: %w", err)
	}
	// A redirect would carry the client secret elsewhere.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client := &http.Client{Transport: base, CheckRedirect: stay, Timeout: tokenTimeout}
	return &tokenSource{endpoint: endpoint, form: form, auth: auth, client: client, lock: make(chan struct{}, 1)}, nil
}

// token returns an access token other than refused, the one a server has just
// refused ("" for none).
func (s *tokenSource) token(ctx context.Context, refused string) (string, error) {
	select {
	case s.lock <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-s.lock }()
	if s.current != "" && s.current != refused {
		return s.current, nil
	}
	token, err := s.fetch(ctx)
	if err != nil {
		return "", fmt.Errorf("getting an access token from %s: %w", s.endpoint, err)
	}
	s.current = token
	return token, nil
}

func (s *tokenSource) fetch(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint, strings.NewReader(s.form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(s.auth.ClientID, s.auth.ClientSecret)
	res, err := s.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxTokenAnswer))
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the server answered %s", res.Status)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("reading the answer: %w", err)
	}
	if answer.AccessToken == "" {
		return "", errors.New("the answer has no access_token")
	}
	return answer.AccessToken, nil
}

// bearerTransport adds the token for the servers it is meant for.
type bearerTransport struct {
	base    http.RoundTripper
	origins origins
	tokens  *tokenSource
}

// RoundTrip sends req with the token. When the server refuses the token, one
// other is fetched, and req is repeated where its body can be read again.
func (t *bearerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.origins.include(req.URL) {
		return t.base.RoundTrip(req)
	}
	token, err := t.tokens.token(req.Context(), "")
	if err != nil {
		closeBody(req)
		return nil, err
	}
	res, err := t.base.RoundTrip(withBearer(req, token))
	if err != nil || res.StatusCode != http.StatusUnauthorized || !replayable(req) {
		return res, err
	}
	fresh, err := t.tokens.token(req.Context(), token)
	if err != nil || fresh == token {
		return res, nil // the refusal says more than the failed attempt to mend it
	}
	again := withBearer(req, fresh)
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return res, nil
		}
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxTokenAnswer)) // so that the connection is reused
	res.Body.Close()
	return t.base.RoundTrip(again)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections through.
func (t *bearerTransport) CloseIdleConnections() { closeIdle(t.base) }

func withBearer(req *http.Request, token string) *http.Request {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token)
	return req
}

func replayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}
