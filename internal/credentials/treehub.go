package credentials

import (
	"encoding/json"
	"errors"
	"fmt"
)

// TreeHub is the content of treehub.json: where OSTree objects go and how a
// tool identifies itself, there and at the image repository.
type TreeHub struct {
	OAuth2 *OAuth2         `json:"oauth2,omitempty"`
	Basic  *Basic          `json:"basic_auth,omitempty"`
	NoAuth bool            `json:"no_auth,omitempty"`
	OSTree json.RawMessage `json:"ostree,omitempty"` // kept as it was found; see Server
}

// OAuth2 are client credentials. A Server that ends in "/token" is the token
// endpoint and gets Scope; an older server has the endpoint at Server+"/token"
// and gets none.
type OAuth2 struct {
	Server       string `json:"server"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Scope        string `json:"scope,omitempty"`
}

// Basic is a name and a password sent with every request.
type Basic struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// NewTreeHub describes a TreeHub at server (".../api/v3/") that is reached
// with OAuth2 client credentials, or without any when auth is nil.
func NewTreeHub(server string, auth *OAuth2) TreeHub {
	ostree, _ := json.Marshal(map[string]string{"server": server}) // strings always marshal
	return TreeHub{OAuth2: auth, NoAuth: auth == nil, OSTree: ostree}
}

// Server is the base URL of TreeHub, as written, or "" where there is none.
func (t TreeHub) Server() string {
	var ostree struct {
		Server string `json:"server"`
	}
	if json.Unmarshal(t.OSTree, &ostree) != nil {
		return ""
	}
	return ostree.Server
}

// TreeHub reads treehub.json.
func (a *Archive) TreeHub() (TreeHub, error) {
	content, err := a.Member(memberTreeHub)
	if err != nil {
		return TreeHub{}, err
	}
	var t TreeHub
	if err := json.Unmarshal(content, &t); err != nil {
		return TreeHub{}, fmt.Errorf("reading %s: %w", memberTreeHub, err)
	}
	if s := t.Server(); s != "" {
		if _, err := checkURL(s); err != nil {
			return TreeHub{}, fmt.Errorf("reading %s: %w", memberTreeHub, err)
		}
	}
	return t, nil
}

// Auth returns how garage-push identifies itself with this archive: with
// client_auth.p12, else OAuth2, else a name and password, else not at all.
// An empty OAuth2 client id means not at all.
func (a *Archive) Auth() (Auth, error) {
	p12, err := a.ClientP12()
	if err == nil {
		return Auth{P12: p12}, nil
	}
	t, err := a.TreeHub()
	if errors.Is(err, ErrNoMember) {
		return Auth{}, nil
	}
	if err != nil {
		return Auth{}, err
	}
	switch {
	case t.OAuth2 != nil && t.OAuth2.ClientID != "":
		return Auth{OAuth2: t.OAuth2}, nil
	case t.OAuth2 == nil && t.Basic != nil:
		return Auth{Basic: t.Basic}, nil
	}
	return Auth{}, nil
}
