package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"

	"sealift/internal/credentials"
)

// maxToken is far more than a token takes.
const maxToken = 4 << 10

// serverToken is how a server writes the tokens that it makes: the id is the client
// id, all of it the client secret.
var serverToken = regexp.MustCompile(`^slt_([0-9a-f-]{36})_[a-z2-7]{52}$`)

// runDelegatedExport writes an archive for somebody who signs for a delegated role:
// the server, the root to begin with and a token of his own. Of this home's secrets
// nothing is in it: no key, and neither its token nor what devices provision
// themselves with.
func runDelegatedExport(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	raw, err := readInput(c.get("token"), maxToken)
	if err != nil {
		return err
	}
	token := serverToken.FindSubmatch(bytes.TrimSpace(raw))
	if token == nil {
		return explained("%s has no token; `sealift token create --name NAME --scope delegation:ROLE` prints one", c.get("token"))
	}
	a := h.Config().Auth
	if a == nil || a.OAuth2 == nil {
		return explained("this home identifies to its server without a token; make the archive from one whose archive has an OAuth2 server")
	}
	theirs := credentials.OAuth2{Server: a.OAuth2.Server, ClientID: string(token[1]), ClientSecret: string(token[0]), Scope: a.OAuth2.Scope}
	files, err := c.serverFiles(h, credentials.NewTreeHub(h.Config().TreeHub.Server(), &theirs))
	if err != nil {
		return err
	}
	own, err := credentials.Open(filepath.Join(h.Dir(), "credentials.zip"))
	if err == nil {
		var ca []byte
		if ca, err = own.ServerCA(); err == nil {
			files = append(files, credentials.File{Name: "server_ca.pem", Content: ca})
		}
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, credentials.ErrNoMember) {
		return err
	}
	if err := credentials.WriteFile(c.get("output"), files); err != nil {
		return err
	}
	c.say("Wrote %s; it has the token and no key", c.get("output"))
	return nil
}
