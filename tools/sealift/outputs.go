package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sealift/access"
	"sealift/internal/credentials"
	"sealift/keys"
	"sealift/uptane"
)

// buildTokenLife makes a forgotten build token end by itself.
const buildTokenLife = 2 * 365 * 24 * time.Hour

// outputs is what init leaves in --out.
type outputs struct {
	operator  operator
	tokenID   string
	bootstrap keys.Bootstrap
	imageRoot []byte
}

// makeArchives writes the archives by audience, the pinned roots and the
// operator's file.
func (k *founding) makeArchives(ctx context.Context) error {
	if err := os.MkdirAll(k.o.Out, 0o700); err != nil {
		return fmt.Errorf("making --out: %w", err)
	}
	roots := make([]*x509.Certificate, len(k.serverRoots))
	for i, a := range k.serverRoots {
		roots[i] = a.Cert
	}
	ca := certificatePEM(roots...)
	p12, bootstrap, err := k.v.Vault.IssueBootstrap(ctx, keys.BootstrapRequest{Namespace: defaultNamespace, Name: "init", MaxUses: k.o.BootstrapUses, PerHour: k.o.BootstrapRate})
	if err != nil {
		return err
	}
	k.out.bootstrap = bootstrap
	if k.out.imageRoot, err = k.writePins(ctx); err != nil {
		return err
	}
	device := credentials.DeviceArchive{AutoprovURL: k.s.GatewayURL, AutoprovP12: p12, ServerCA: ca, RootJSON: k.out.imageRoot}
	if err := device.Write(filepath.Join(k.o.Out, "device.zip")); err != nil {
		return err
	}
	if err := errors.Join(k.writeBuildArchive(ctx, p12, ca), k.connectHomes(ctx, ca)); err != nil {
		return err
	}
	text, token, err := k.v.Access.CreateToken(ctx, defaultNamespace, "operator (init)", []access.Scope{access.Admin}, 0)
	if err != nil {
		return err
	}
	k.out.tokenID, k.out.operator = token.ID, operator{Server: k.s.APIURL, Token: text, CA: string(ca)}
	if err := os.WriteFile(filepath.Join(k.o.Out, "server_ca.pem"), ca, 0o600); err != nil {
		return fmt.Errorf("writing server_ca.pem: %w", err)
	}
	return k.out.operator.write(filepath.Join(k.o.Out, "operator.json"))
}

// writePins writes import/{repo,director}/root.json: a device that imports
// them never trusts on first use.
func (k *founding) writePins(ctx context.Context) ([]byte, error) {
	var image []byte
	for _, pin := range []struct {
		folder     string
		repository uptane.Repository
	}{{"director", uptane.DirectorRepository}, {"repo", uptane.ImageRepository}} {
		doc, err := k.v.Vault.Root(ctx, defaultNamespace, pin.repository, 1)
		if err != nil {
			return nil, err
		}
		dir := filepath.Join(k.o.Out, "import", pin.folder)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("writing pinned roots: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, "root.json"), doc, 0o600); err != nil {
			return nil, fmt.Errorf("writing pinned roots: %w", err)
		}
		image = doc
	}
	return image, nil
}

// writeBuildArchive writes build.zip, with the targets key sealed for builds.
func (k *founding) writeBuildArchive(ctx context.Context, p12, ca []byte) error {
	b, err := k.toolArchive(ctx, "build (init)", buildTokenLife, ca, access.PushTreehub, access.SignRepo)
	if err != nil {
		return err
	}
	b.InsecurePlaintext = k.o.Plaintext
	switch {
	case k.o.Plaintext:
		b.TargetsSec, err = k.image.Keys().ExportPlain("targets")
	case k.o.Token != "":
		_, b.TargetsSec, err = k.image.Keys().Export("targets") // says where it is
	default:
		b.TargetsSec, err = k.image.Keys().ExportSealed("targets", k.build)
	}
	if err != nil {
		return err
	}
	if !k.o.NoProvisioning {
		b.AutoprovURL, b.AutoprovP12 = k.s.GatewayURL, p12
	}
	return b.Write(filepath.Join(k.o.Out, "build.zip"))
}

// connectHomes gives both offline homes the way to the server, with a token
// that may push what they sign and nothing else.
func (k *founding) connectHomes(ctx context.Context, ca []byte) error {
	b, err := k.toolArchive(ctx, "offline homes (init)", 0, ca, access.SignRepo)
	if err != nil {
		return err
	}
	if _, b.TargetsSec, err = k.image.Keys().Export("targets"); err != nil { // sealed as it lies there
		return err
	}
	path := filepath.Join(k.o.Offline, "credentials.zip")
	if err := b.Write(path); err != nil {
		return err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading back %s: %w", path, err)
	}
	return errors.Join(k.image.Connect(raw), k.director.Connect(raw), os.Remove(path))
}

// toolArchive is an archive for the tools with a token of its own, all but the
// private targets key.
func (k *founding) toolArchive(ctx context.Context, name string, life time.Duration, ca []byte, scopes ...access.Scope) (credentials.BuildArchive, error) {
	var b credentials.BuildArchive
	text, token, err := k.v.Access.CreateToken(ctx, defaultNamespace, name, scopes, life)
	if err != nil {
		return b, err
	}
	ostree, err := json.Marshal(map[string]string{"server": k.s.APIURL + "/api/v3/"})
	if err != nil {
		return b, fmt.Errorf("writing treehub.json: %w", err)
	}
	pub, _, err := k.image.Keys().Export("targets")
	if err != nil {
		return b, err
	}
	return credentials.BuildArchive{
		TreeHub: credentials.TreeHub{
			OAuth2: &credentials.OAuth2{Server: k.s.APIURL + "/oauth2/token", ClientID: token.ID, ClientSecret: text, Scope: "none"},
			OSTree: ostree,
		},
		TufRepoURL: k.s.APIURL, GatewayURL: k.s.APIURL, RootJSON: k.out.imageRoot, TargetsPub: pub, ServerCA: ca,
	}, nil
}

// report says what was made and what to do with it.
func (k *founding) report(w io.Writer) {
	rel := func(path string) string {
		if wd, err := os.Getwd(); err == nil {
			if r, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(r, "..") {
				return "./" + r
			}
		}
		return path
	}
	p := func(format string, values ...any) { fmt.Fprintf(w, format+"\n", values...) }
	p("A new server, namespace %s.", defaultNamespace)
	p("")
	p("  %-34s the server's data", rel(k.s.Data))
	if k.s.MasterKeyURL == "" {
		p("  %-34s the key that seals it; back it up apart from the data", rel(k.s.MasterKey))
	} else {
		p("  %-34s The key that seals it is in the %s.", "", k.s.masterKeyPlace())
	}
	p("  %-34s OFFLINE KEYS: root of both repositories, targets, CAs.", rel(k.o.Offline))
	p("  %-34s Carry them away from this machine; nothing here needs them.", "")
	if k.o.Token != "" {
		p("  %-34s The root keys and the targets key are in the token %s.", "", k.o.Token)
	}
	p("  %-34s for images of devices (shared certificate, %s)", rel(filepath.Join(k.o.Out, "device.zip")), validUntil(k.out.bootstrap.NotAfter))
	p("  %-34s roots to pin in images", rel(filepath.Join(k.o.Out, "import")))
	p("  %-34s for build jobs: push and sign", rel(filepath.Join(k.o.Out, "build.zip")))
	p("  %-34s for you: the sealift command reads it", rel(filepath.Join(k.o.Out, "operator.json")))
	if k.o.PrintSecrets {
		p("")
		p("  token of the operator: %s", k.out.operator.Token)
	}
	if k.o.Plaintext {
		p("")
		p("WARNING: build.zip holds the targets key in clear; whoever reads it can sign images.")
	}
	p("")
	p("Devices use %s, people and builds %s (certificate for %s).", k.s.GatewayURL, k.s.APIURL, k.names)
	p("Next: sealift serve --data %s", rel(k.s.Data))
}

func validUntil(t time.Time) string { return "valid until " + t.UTC().Format("2006-01-02") }
