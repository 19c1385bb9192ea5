package home

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"sealift/internal/credentials"
)

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
