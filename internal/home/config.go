package home

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"sealift/internal/credentials"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// ServerType is the repository a home signs for, as config.json spells it.
type ServerType string

// The two kinds of repository.
const (
	RepoServer ServerType = "RepoServer"
	Director   ServerType = "Director"
)

// Repository is the Uptane repository behind t.
func (t ServerType) Repository() uptane.Repository {
	if t == Director {
		return uptane.DirectorRepository
	}
	return uptane.ImageRepository
}

// Config is config.json.
type Config struct {
	Reposerver string              // base URL, without /api/v1/user_repo
	Auth       *Auth               // nil for none
	TreeHub    credentials.TreeHub // kept for exporting credentials
	ServerType ServerType
}

// Auth is how to identify to the repository: OAuth2 client credentials, or a
// PKCS#12 client certificate where CertPath is set. Paths are relative to the
// home.
type Auth struct {
	OAuth2         *credentials.OAuth2
	CertPath       string
	ServerCertPath string // PKCS#12 with the only trusted CAs; "" for none
}

// configJSON is the shape on disk; absent values are null in it.
type configJSON struct {
	Reposerver string     `json:"reposerver"`
	Auth       any        `json:"auth"` // oauthJSON, certJSON or nil
	TreeHub    hubJSON    `json:"treehub"`
	ServerType ServerType `json:"repoServerType"`
}

// oauthJSON has every member always: the older tool reads no file that lacks one.
type oauthJSON struct {
	Server       string `json:"server"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Scope        string `json:"scope"`
}

type certJSON struct {
	CertPath       string  `json:"certPath"`
	ServerCertPath *string `json:"serverCertPath"`
}

type hubJSON struct {
	OAuth2 *oauthJSON         `json:"oauth2"`
	NoAuth bool               `json:"no_auth"`
	Basic  *credentials.Basic `json:"basic_auth,omitempty"`
	OSTree json.RawMessage    `json:"ostree"`
}

func (c Config) value() (canonical.Value, error) {
	out := configJSON{Reposerver: c.Reposerver, ServerType: c.ServerType,
		TreeHub: hubJSON{OAuth2: oauthOut(c.TreeHub.OAuth2), NoAuth: c.TreeHub.NoAuth, Basic: c.TreeHub.Basic, OSTree: c.TreeHub.OSTree}}
	if len(out.TreeHub.OSTree) == 0 {
		out.TreeHub.OSTree = json.RawMessage("{}")
	}
	if a := c.Auth; a != nil && a.OAuth2 != nil {
		out.Auth = oauthOut(a.OAuth2)
	} else if a != nil {
		cert := certJSON{CertPath: a.CertPath}
		if a.ServerCertPath != "" {
			cert.ServerCertPath = &a.ServerCertPath
		}
		out.Auth = cert
	}
	v, err := canonical.Of(out, canonical.Options{Free: true})
	if err != nil {
		return v, fmt.Errorf("writing config.json: %w", err)
	}
	return v, nil
}

func oauthOut(o *credentials.OAuth2) *oauthJSON {
	if o == nil {
		return nil
	}
	return &oauthJSON{o.Server, o.ClientID, o.ClientSecret, cmp.Or(o.Scope, "none")} // what is sent where there is none
}

func oauthIn(o *oauthJSON) *credentials.OAuth2 {
	if o == nil {
		return nil
	}
	return &credentials.OAuth2{Server: o.Server, ClientID: o.ClientID, ClientSecret: o.ClientSecret, Scope: o.Scope}
}

func readConfig(path string, c *Config) error {
	data, err := readFile(path, maxKeyFile)
	if err != nil {
		return err
	}
	var in struct {
		configJSON
		Auth *struct {
			oauthJSON
			certJSON
		} `json:"auth"`
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	*c = Config{Reposerver: in.Reposerver, ServerType: in.ServerType,
		TreeHub: credentials.TreeHub{OAuth2: oauthIn(in.TreeHub.OAuth2), NoAuth: in.TreeHub.NoAuth, Basic: in.TreeHub.Basic, OSTree: in.TreeHub.OSTree}}
	switch a := in.Auth; {
	case a == nil:
	case a.CertPath != "":
		c.Auth = &Auth{CertPath: a.CertPath}
		if a.ServerCertPath != nil {
			c.Auth.ServerCertPath = *a.ServerCertPath
		}
	default:
		c.Auth = &Auth{OAuth2: oauthIn(&a.oauthJSON)}
	}
	switch c.ServerType {
	case "":
		c.ServerType = RepoServer
	case RepoServer, Director:
	default:
		return fmt.Errorf("reading %s: unknown repoServerType %q", path, c.ServerType)
	}
	return nil
}

// BaseURL is what the paths of the repository's API are appended to, without a
// slash at the end.
func (c Config) BaseURL() string {
	if c.ServerType == Director {
		return c.APIURL() + "/director/admin/repo"
	}
	return c.APIURL() + "/user_repo"
}

// APIURL is what the paths of the server's whole API are appended to, without a
// slash at the end.
func (c Config) APIURL() string { return strings.TrimRight(c.Reposerver, "/") + "/api/v1" }
