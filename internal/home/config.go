package home

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
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
	Auth       *authJSON  `json:"auth"`
	TreeHub    hubJSON    `json:"treehub"`
	ServerType ServerType `json:"repoServerType"`
}

type authJSON struct {
	Server         string `json:"server,omitempty"`
	ClientID       string `json:"client_id,omitempty"`
	ClientSecret   string `json:"client_secret,omitempty"`
	Scope          string `json:"scope,omitempty"`
	CertPath       string `json:"certPath,omitempty"`
	ServerCertPath string `json:"serverCertPath,omitempty"`
}

type hubJSON struct {
	OAuth2 *credentials.OAuth2 `json:"oauth2"`
	NoAuth bool                `json:"no_auth"`
	Basic  *credentials.Basic  `json:"basic_auth,omitempty"`
	OSTree json.RawMessage     `json:"ostree"`
}

func (c Config) value() (canonical.Value, error) {
	out := configJSON{Reposerver: c.Reposerver, ServerType: c.ServerType,
		TreeHub: hubJSON{OAuth2: c.TreeHub.OAuth2, NoAuth: c.TreeHub.NoAuth, Basic: c.TreeHub.Basic, OSTree: c.TreeHub.OSTree}}
	if len(out.TreeHub.OSTree) == 0 {
		out.TreeHub.OSTree = json.RawMessage("{}")
	}
	if a := c.Auth; a != nil && a.OAuth2 != nil {
		out.Auth = &authJSON{Server: a.OAuth2.Server, ClientID: a.OAuth2.ClientID, ClientSecret: a.OAuth2.ClientSecret, Scope: a.OAuth2.Scope}
	} else if a != nil {
		out.Auth = &authJSON{CertPath: a.CertPath, ServerCertPath: a.ServerCertPath}
	}
	v, err := canonical.Of(out, canonical.Options{Free: true})
	if err != nil {
		return v, fmt.Errorf("writing config.json: %w", err)
	}
	return v, nil
}

func readConfig(path string, c *Config) error {
	data, err := readFile(path, maxKeyFile)
	if err != nil {
		return err
	}
	var in configJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	*c = Config{Reposerver: in.Reposerver, ServerType: in.ServerType,
		TreeHub: credentials.TreeHub{OAuth2: in.TreeHub.OAuth2, NoAuth: in.TreeHub.NoAuth, Basic: in.TreeHub.Basic, OSTree: in.TreeHub.OSTree}}
	switch a := in.Auth; {
	case a == nil:
	case a.CertPath != "":
		c.Auth = &Auth{CertPath: a.CertPath, ServerCertPath: a.ServerCertPath}
	default:
		c.Auth = &Auth{OAuth2: &credentials.OAuth2{Server: a.Server, ClientID: a.ClientID, ClientSecret: a.ClientSecret, Scope: a.Scope}}
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

// Import makes a home at dir from a credentials archive whose file content is
// raw. The repository is at reposerver, or where the archive says when that is
// "". What an archive may lack is warned about: the root to start trust from
// and the targets key. Errors wrap ErrExists and credentials.ErrNoMember.
func Import(dir string, raw []byte, reposerver string, kind ServerType, o Options) (*Home, error) {
	archive, err := credentials.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("reading credentials: %w", err)
	}
	config, err := importConfig(archive, reposerver, kind)
	if err != nil {
		return nil, err
	}
	return create(dir, config, o, func(h *Home) error {
		if err := h.keepArchive(archive, raw); err != nil {
			return err
		}
		if err := h.importRoot(archive); err != nil {
			return err
		}
		return h.importTargetsKey(archive)
	})
}

// Connect gives a home that was made without an archive the way to its server:
// the address, credentials and server_ca.pem of the archive whose file content
// is raw. Keys and roles stay as they are.
func (h *Home) Connect(raw []byte) error {
	archive, err := credentials.Parse(raw)
	if err != nil {
		return fmt.Errorf("reading credentials: %w", err)
	}
	config, err := importConfig(archive, "", h.config.ServerType)
	if err != nil {
		return err
	}
	if err := h.keepArchive(archive, raw); err != nil {
		return err
	}
	return h.SetConfig(config)
}

// keepArchive stores the archive, and the certificates in it for themselves.
func (h *Home) keepArchive(archive *credentials.Archive, raw []byte) error {
	if err := writeFile(h.path(credentialsFile), raw, 0o600); err != nil {
		return err
	}
	for _, name := range []string{clientP12File, serverP12File} {
		if content, err := archive.Member(name); err == nil {
			if err := writeFile(h.path(name), content, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

func importConfig(archive *credentials.Archive, reposerver string, kind ServerType) (Config, error) {
	hub, err := archive.TreeHub()
	if err != nil {
		return Config{}, err
	}
	c := Config{Reposerver: reposerver, TreeHub: hub, ServerType: kind}
	if reposerver == "" {
		read := archive.TufRepoURL
		if kind == Director {
			read = archive.GatewayURL
		}
		if c.Reposerver, err = read(); err != nil {
			return Config{}, err
		}
	}
	switch {
	case archive.Has(clientP12File):
		c.Auth = &Auth{CertPath: clientP12File}
		if archive.Has(serverP12File) {
			c.Auth.ServerCertPath = serverP12File
		}
	case hub.NoAuth, hub.OAuth2 == nil && hub.Basic != nil:
	case hub.OAuth2 != nil:
		c.Auth = &Auth{OAuth2: hub.OAuth2}
	default:
		return Config{}, errors.New("reading treehub.json: neither oauth2, basic_auth nor no_auth, and the archive has no client_auth.p12")
	}
	return c, nil
}

func (h *Home) importRoot(archive *credentials.Archive) error {
	if h.config.ServerType == Director {
		return nil
	}
	root, err := archive.RootJSON()
	if err != nil {
		h.opts.Warn("the archive has no root.json; nothing the server says can be verified until `root pull --force` has fetched one")
		return nil
	}
	v, err := canonical.Parse(root, canonical.Options{ASCII: true})
	if err != nil {
		return fmt.Errorf("reading root.json of the archive: %w", err)
	}
	return writeFile(h.signedPath(uptane.RoleRoot), pretty(v), 0o600)
}

func (h *Home) importTargetsKey(archive *credentials.Archive) error {
	pub, errPub := archive.TargetsPub()
	sec, errSec := archive.TargetsSec()
	if errPub != nil || errSec != nil {
		h.opts.Warn("the archive has no targets.pub and targets.sec; signing targets needs a key of your own (key generate)")
		return nil
	}
	return h.keys.Import("targets", pub, sec)
}

// HTTPClient returns a client that identifies itself to the repository as
// config.json says. It trusts caCert, a PEM file, instead of the system's
// certificates when that is not ""; server_ca.pem of credentials.zip in
// addition to either.
func (h *Home) HTTPClient(ctx context.Context, caCert string) (*http.Client, error) {
	cfg := credentials.ClientConfig{CACert: caCert, Hosts: []string{h.config.Reposerver}}
	if hub := h.config.TreeHub.Server(); hub != "" {
		cfg.Hosts = append(cfg.Hosts, hub)
	}
	if archive, err := credentials.Open(h.path(credentialsFile)); err == nil {
		if cfg.TrustPEM, err = archive.ServerCA(); err != nil {
			cfg.TrustPEM = nil
		}
	}
	auth, err := h.auth(&cfg)
	if err != nil {
		return nil, err
	}
	return credentials.NewClient(ctx, auth, cfg)
}

func (h *Home) auth(cfg *credentials.ClientConfig) (credentials.Auth, error) {
	a := h.config.Auth
	switch {
	case a == nil && !h.config.TreeHub.NoAuth:
		return credentials.Auth{Basic: h.config.TreeHub.Basic}, nil
	case a == nil:
		return credentials.Auth{}, nil
	case a.OAuth2 != nil:
		return credentials.Auth{OAuth2: a.OAuth2}, nil
	}
	p12, err := readFile(h.resolve(a.CertPath), maxP12File)
	if err != nil {
		return credentials.Auth{}, err
	}
	if a.ServerCertPath != "" {
		if cfg.TrustP12, err = readFile(h.resolve(a.ServerCertPath), maxP12File); err != nil {
			return credentials.Auth{}, err
		}
	}
	return credentials.Auth{P12: p12}, nil
}

const maxP12File = 1 << 20

func (h *Home) resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return h.path(path)
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

// ImportCertificate copies a PKCS#12 client certificate into the home, and one
// with the only CAs to trust where serverPath is not "", and identifies with
// them from now on. Both have an empty password. Errors wrap ErrExists when
// there is one already.
func (h *Home) ImportCertificate(clientPath, serverPath string) error {
	if exists(h.path(clientP12File)) || serverPath != "" && exists(h.path(serverP12File)) {
		return fmt.Errorf("importing client certificate: %w", ErrExists)
	}
	client, err := readFile(clientPath, maxP12File)
	if err != nil {
		return err
	}
	if _, _, err := credentials.ReadP12(client, ""); err != nil {
		return fmt.Errorf("importing client certificate: %w", err)
	}
	auth := &Auth{CertPath: clientP12File}
	if serverPath != "" {
		server, err := readFile(serverPath, maxP12File)
		if err != nil {
			return err
		}
		if err := writeFile(h.path(serverP12File), server, 0o600); err != nil {
			return err
		}
		auth.ServerCertPath = serverP12File
	}
	if err := writeFile(h.path(clientP12File), client, 0o600); err != nil {
		return err
	}
	c := h.config
	c.Auth = auth
	return h.SetConfig(c)
}
