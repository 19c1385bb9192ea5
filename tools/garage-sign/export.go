package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"sealift/internal/credentials"
	"sealift/internal/home"
	"sealift/uptane"
)

// runExport writes an archive in which a local key is the targets key. The key
// goes into it as it is stored here: sealed where it is sealed; or sealed anew, so
// that builds do not get the passphrase of the home; or not at all, for builds that
// may only propose.
func runExport(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	pub, sec, err := h.Keys().Export(c.get("key-name"))
	if err != nil {
		return err
	}
	switch {
	case c.has("propose") && c.has("reseal"):
		return usagef("--propose leaves out what --reseal seals")
	case c.has("propose"):
		sec = []byte("propose\n")
	case c.has("reseal"):
		phrases := &home.Passphrases{Getenv: c.getenv, Names: []string{"GARAGE_SIGN_ARCHIVE_PASSPHRASE"}, Prompt: c.prompt}
		secret, err := phrases.Choose("the archive")
		if err != nil {
			return err
		}
		if sec, err = h.Keys().ExportSealed(c.get("key-name"), secret); err != nil {
			return err
		}
	}
	hub := h.Config().TreeHub
	if hub.OAuth2 = nil; h.Config().Auth != nil {
		hub.OAuth2 = h.Config().Auth.OAuth2
	}
	files, err := c.serverFiles(h, hub)
	if err != nil {
		return err
	}
	// In the order of the tool that it replaces: the root comes after the keys.
	files = slices.Insert(files, 2, credentials.File{Name: "targets.pub", Content: pub}, credentials.File{Name: "targets.sec", Content: sec})
	old, err := credentials.Open(filepath.Join(h.Dir(), "credentials.zip"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		old = nil
	case err != nil:
		return err
	}
	if err := credentials.WriteFile(c.get("output"), appendMissing(files, old)); err != nil {
		return err
	}
	if c.has("propose") {
		c.say("Wrote %s; what is signed with it is proposed, and %s has to sign", c.get("output"), c.get("key-name"))
		return nil
	}
	c.say("Wrote %s with %s as targets key", c.get("output"), c.get("key-name"))
	return nil
}

// serverFiles are what an archive says of the server: where it is, how to identify
// there, and the root to begin with.
func (c *call) serverFiles(h *home.Home, hub credentials.TreeHub) ([]credentials.File, error) {
	treehub, err := json.Marshal(hub)
	if err != nil {
		return nil, err
	}
	files := []credentials.File{
		{Name: "treehub.json", Content: treehub},
		{Name: "tufrepo.url", Content: []byte(h.Config().Reposerver)},
	}
	root, err := h.Signed(uptane.RoleRoot)
	switch {
	case err == nil:
		files = append(files, credentials.File{Name: "root.json", Content: root.Uptane})
	case errors.Is(err, home.ErrNotFound):
		c.warn("there is no local root; whoever uses the archive must pull one on trust")
	default:
		return nil, err
	}
	return files, nil
}

// appendMissing adds what only the old archive has.
func appendMissing(files []credentials.File, old *credentials.Archive) []credentials.File {
	if old == nil {
		return files
	}
	for _, name := range old.Names() {
		if slices.ContainsFunc(files, func(f credentials.File) bool { return f.Name == name }) {
			continue
		}
		if content, err := old.Member(name); err == nil {
			files = append(files, credentials.File{Name: name, Content: content})
		}
	}
	return files
}

func runImportCert(c *call) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	if err := h.ImportCertificate(c.get("client-cert"), c.get("server-cert")); err != nil {
		return err
	}
	c.say("The certificate of %s is used from now on", c.get("client-cert"))
	return nil
}
