package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sealift/internal/hsm"
)

// The labels of the demo's tokens: one for whoever signs, one for the server.
const (
	deskToken   = "demo-desk"
	serverToken = "demo-server"
)

// makeTokens makes tokens in software, in the folder, with a PIN that nobody
// else knows.
func (g *stage) makeTokens(ctx context.Context) error {
	tool, err := exec.LookPath("softhsm2-util")
	if err != nil {
		return usage(fmt.Errorf("softhsm2-util is not installed (Debian: apt-get install softhsm2): %w", err))
	}
	dir, pin := g.path("tokens"), rand.Text()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("making tokens: %w", err)
	}
	conf := g.path("softhsm2.conf")
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\n"), 0o600); err != nil {
		return fmt.Errorf("making tokens: %w", err)
	}
	g.env = append(g.env, "SOFTHSM2_CONF="+conf, hsm.EnvPIN+"="+pin)
	if os.Getenv(hsm.EnvModule) == "" {
		g.env = append(g.env, hsm.EnvModule+"="+softModule())
	}
	for _, label := range []string{deskToken, serverToken} {
		c := exec.CommandContext(ctx, tool, "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", rand.Text())
		c.Env = g.env
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("making token %s: %w\n%s", label, err, out)
		}
	}
	return nil
}

// softModule is the library of the token in software, wherever Linux systems
// put it.
func softModule() string {
	places := []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/libsofthsm2.so"}
	for _, path := range places {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return places[0]
}

// tellCustody says where private keys are. In tokens they are shown: what the
// folders have are their names.
func (d *demo) tellCustody(context.Context) error {
	if !d.tokens {
		d.fact("offline", "root keys of both repositories and the image targets key are in sealift-offline/, sealed; the server has none of them")
		return nil
	}
	for _, key := range []string{"image/keys/root.sec", "image/keys/targets.sec", "director/keys/root.sec"} {
		raw, err := os.ReadFile(d.path("sealift-offline", filepath.FromSlash(key)))
		if err != nil {
			return fmt.Errorf("reading where a key is: %w", err)
		}
		where := strings.TrimSpace(string(raw))
		if !hsm.IsURI(where) {
			return fmt.Errorf("the key %s is not in the token", key)
		}
		d.fact("offline", "%s: %s", key, where)
	}
	d.fact("online", "targets, snapshot and timestamp keys are in the token %s; the database has their names, sealed", serverToken)
	return nil
}
