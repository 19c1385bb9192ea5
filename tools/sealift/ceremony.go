package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sealift/internal/home"
	"sealift/internal/kms"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/uptane"
)

// emptyTargetsLife is how long the first targets, which name no image, are
// valid. They let the first `targets pull` work.
const emptyTargetsLife = 365 * 24 * time.Hour

// makeAuthorities makes both trees of certificates. The roots' keys go to the
// offline folder, the intermediates' into the vault.
func (k *founding) makeAuthorities(ctx context.Context) error {
	current, err := pki.NewServerRoot(k.now, "Sealift server root 1")
	if err != nil {
		return err
	}
	next, err := pki.NewServerRoot(k.now, "Sealift server root 2")
	if err != nil {
		return err
	}
	devices, err := pki.NewDeviceRoot(k.now, "Sealift device root "+string(defaultNamespace))
	if err != nil {
		return err
	}
	for name, a := range map[string]pki.Authority{"server": current, "server-next": next, "device": devices} {
		if err := k.storeAuthority(name, a); err != nil {
			return err
		}
	}
	server, err := pki.NewServerIntermediate(k.now, "Sealift server", current)
	if err != nil {
		return err
	}
	device, err := pki.NewDeviceIntermediate(k.now, "Sealift devices "+string(defaultNamespace), devices)
	if err != nil {
		return err
	}
	k.serverRoots = []pki.Authority{current, next}
	return errors.Join(
		k.v.Vault.ImportServerTree(ctx, keys.ServerTree{Root: current.Cert, Next: next.Cert, Issuer: server}),
		k.v.Vault.ImportDeviceTree(ctx, defaultNamespace, devices.Cert, device))
}

// storeAuthority writes ca/NAME.pem and the sealed ca/NAME.key.
func (k *founding) storeAuthority(name string, a pki.Authority) error {
	dir := filepath.Join(k.o.Offline, "ca")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the offline folder: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(crypto.PrivateKey(a.Key))
	if err != nil {
		return fmt.Errorf("writing the key of %s: %w", name, err)
	}
	secret, err := k.offline.Choose("the offline folder")
	if err != nil {
		return err
	}
	sealed, err := home.Seal(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), secret)
	if err != nil {
		return fmt.Errorf("sealing the key of %s: %w", name, err)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, name+".key"), sealed, 0o600),
		os.WriteFile(filepath.Join(dir, name+".pem"), certificatePEM(a.Cert), 0o600))
}

func certificatePEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// makeHomes makes the signing homes of both repositories with their offline keys.
func (k *founding) makeHomes(context.Context) error {
	options := home.Options{Passphrases: k.offline, Service: kms.New(kms.Config{})}
	var err error
	if k.image, err = home.Create(filepath.Join(k.o.Offline, "image"), home.Config{Reposerver: k.s.APIURL, ServerType: home.RepoServer}, options); err != nil {
		return err
	}
	if k.director, err = home.Create(filepath.Join(k.o.Offline, "director"), home.Config{Reposerver: k.s.APIURL, ServerType: home.Director}, options); err != nil {
		return err
	}
	for _, key := range []struct {
		in   *home.Home
		name string
	}{{k.image, "root"}, {k.image, "targets"}, {k.director, "root"}} {
		if err := k.makeKey(key.in, key.name); err != nil {
			return err
		}
	}
	return nil
}

// makeKey makes an offline key, sealed or in a token, or takes the one that people made
// for it in a key service. Keys in a token get a name that no earlier run of init gave: a
// key of another server must not sign here.
func (k *founding) makeKey(in *home.Home, name string) error {
	if k.o.Token == "" {
		_, err := in.Keys().Generate(name, k.kind, k.bits, true)
		return err
	}
	_, err := in.Keys().MakeAt(name, k.o.Token, string(in.Config().ServerType.Repository())+"-"+name, k.bits)
	return err
}

// makeRoots makes the online keys, names all keys in two roots and signs them
// offline.
func (k *founding) makeRoots(ctx context.Context) error {
	if err := k.makeRoot(ctx, k.image, uptane.ImageRepository, uptane.RoleSnapshot, uptane.RoleTimestamp); err != nil {
		return err
	}
	return k.makeRoot(ctx, k.director, uptane.DirectorRepository, uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp)
}

func (k *founding) makeRoot(ctx context.Context, h *home.Home, repository uptane.Repository, online ...uptane.Role) error {
	named := map[uptane.Role][]uptane.Key{}
	offline, err := h.Keys().Names()
	if err != nil {
		return err
	}
	for _, name := range offline { // key files are named for their role
		key, err := h.Keys().Public(name)
		if err != nil {
			return err
		}
		named[uptane.Role(name)] = []uptane.Key{key}
	}
	for _, role := range online {
		key, err := k.v.Vault.GenerateOnline(ctx, defaultNamespace, repository, role, k.o.KeyType)
		if err != nil {
			return err
		}
		named[role] = []uptane.Key{key}
	}
	if err := h.InitRoot(home.RootSpec{Expires: k.now.Add(home.RootLife), Keys: named}); err != nil {
		return err
	}
	signed, err := h.SignRoot(ctx, home.Signing{Keys: []string{"root"}})
	if err != nil {
		return err
	}
	if err := k.v.Vault.PutRoots(ctx, defaultNamespace, repository, signed.Uptane, signed.TUF); err != nil {
		return err
	}
	return h.Pushed(uptane.RoleRoot, signed, "")
}

// makeFirstTargets signs targets that name nothing yet and publishes them.
func (k *founding) makeFirstTargets(ctx context.Context) error {
	if err := k.v.Access.CreateNamespace(ctx, defaultNamespace); err != nil {
		return err
	}
	if _, err := k.v.Repo.Create(ctx, defaultNamespace); err != nil {
		return err
	}
	if err := k.image.InitTargets(1, k.now.Add(emptyTargetsLife)); err != nil {
		return err
	}
	signed, err := k.image.SignTargets(ctx, home.Signing{Keys: []string{"targets"}, Version: 1})
	if err != nil {
		return err
	}
	if err := k.v.Repo.StageTwin(ctx, defaultNamespace, uptane.RoleTargets, signed.TUF); err != nil {
		return err
	}
	checksum, err := k.v.Repo.PutTargets(ctx, defaultNamespace, signed.Uptane, "", "init")
	if err != nil {
		return err
	}
	return k.image.Pushed(uptane.RoleTargets, signed, checksum)
}

func (k *founding) saveSettings(context.Context) error { return k.s.save() }

// operator is what the sealift command needs to reach the api.
type operator struct {
	Server string `json:"server"`
	Token  string `json:"token"`
	CA     string `json:"ca"` // PEM
}

func (o operator) write(path string) error {
	out, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.WriteFile(path, append(out, '\n'), 0o600)
}
