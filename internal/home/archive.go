package home

import (
	"errors"
	"fmt"

	"sealift/internal/credentials"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

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
