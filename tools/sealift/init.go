package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sealift/internal/home"
	"sealift/internal/hsm"
	"sealift/keys/pki"
	"sealift/uptane"
)

// The namespace that init makes; it has no targets key on the server, ever.
const defaultNamespace uptane.Namespace = "default"

// initOptions is what init asks for beyond the settings.
type initOptions struct {
	Offline        string
	Out            string
	PrintSecrets   bool
	NoProvisioning bool
	Plaintext      bool
	BootstrapUses  int64
	BootstrapRate  int64
	KeyType        string
	Token          string
	ForImport      bool
}

// newInit is `sealift init`: the one ceremony that makes every key.
func newInit() *cobra.Command {
	var s settings
	var o initOptions
	c := &cobra.Command{
		Use:   "init",
		Short: "Make keys, certificates, an empty server and the archives for devices and builds",
		Long: `Makes a new server in --data, the offline keys in --offline, and in --out the archives
that devices and build jobs need and the operator's first token.

The offline folder is sealed under a passphrase (SEALIFT_PASSPHRASE, SEALIFT_PASSPHRASE_FILE or
asked for); the signing key that goes to the builds under another one (GARAGE_SIGN_PASSPHRASE,
GARAGE_SIGN_PASSPHRASE_FILE or asked for). Carry the offline folder away from the server.

With --offline-token both root keys and the targets key are made in a PKCS#11 token and never leave
it; the folder then holds references to them, and the sealed keys of the certificate authorities.
PKCS11_PIN or PKCS11_PIN_FILE has the PIN, PKCS11_MODULE_PATH names the token's library. Tokens need
a program that was built with CGO_ENABLED=1 and -tags pkcs11.

With awskms:///alias/NAME they are in AWS KMS, where you have made them before: RSA keys for signing
of the --key-type, with the aliases NAME-image-root, NAME-image-targets and NAME-director-root;
--online-token does the same with NAME-default-image-snapshot and so on for the server's own.`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := s.load(c); err != nil {
				return err
			}
			return runInit(c.Context(), s, o, c.OutOrStdout())
		},
	}
	s.bind(c)
	c.Flags().StringVar(&o.Offline, "offline", "./sealift-offline", "folder of the offline keys, outside --data")
	c.Flags().StringVar(&o.Out, "out", "./sealift-out", "folder of the archives and the first token")
	c.Flags().StringVar(&o.KeyType, "key-type", "ed25519", "kind of all keys that sign metadata: ed25519, rsa2048, rsa3072 or rsa4096")
	c.Flags().StringVar(&o.Token, "offline-token", "", "PKCS#11 token for both root keys and the targets key, such as pkcs11:token=NAME, or keys in AWS KMS, such as awskms:///alias/NAME")
	c.Flags().BoolVar(&o.PrintSecrets, "print-secrets", false, "also print the operator's token")
	c.Flags().BoolVar(&o.NoProvisioning, "no-provisioning", false, "leave the devices' shared certificate out of build.zip")
	c.Flags().BoolVar(&o.Plaintext, "insecure-plaintext-targets-key", false, "put the targets key into build.zip unsealed, as the Java tool reads it")
	c.Flags().Int64Var(&o.BootstrapUses, "bootstrap-max-uses", 0, "how many devices the shared certificate may provision; 0 is no limit")
	c.Flags().Int64Var(&o.BootstrapRate, "bootstrap-per-hour", defaultBootstrapRate, "how many devices the shared certificate may provision within an hour; 0 is no limit")
	c.Flags().BoolVar(&o.ForImport, "for-import", false, "make no repositories: sealift import brings those of another server")
	return c
}

// defaultBootstrapRate is more than a production line makes in an hour; who
// takes the shared certificate out of a device can enter no more either.
const defaultBootstrapRate = 5000

// founding is one run of init: what it makes, step by step.
type founding struct {
	s     settings
	o     initOptions
	now   time.Time
	v     *services
	names pki.Names

	offline *home.Passphrases // of the offline folder
	build   []byte            // passphrase of the key in build.zip
	kind    home.KeyType
	bits    int

	image, director *home.Home
	serverRoots     []pki.Authority // in use, next
	out             outputs
}

// runInit refuses what cannot work before it makes anything, and removes what
// it made when a step fails: a half-made server must not be mistaken for one.
func runInit(ctx context.Context, s settings, o initOptions, w io.Writer) (err error) {
	k := &founding{s: s, o: o, now: time.Now()}
	if err := k.check(); err != nil {
		return err
	}
	made := []string{k.s.Data, k.s.MasterKey, k.o.Offline, k.o.Out}
	defer func() {
		if k.v != nil {
			k.v.abandoned = err != nil
			err = errors.Join(err, k.v.close())
		}
		if err != nil {
			for _, path := range made {
				_ = os.RemoveAll(path)
			}
		}
	}()
	log := slog.New(slog.DiscardHandler) // the account below says it in words
	if k.v, err = openServices(ctx, k.s, log, true); err != nil {
		return err
	}
	steps, report := []func(context.Context) error{
		k.makeAuthorities, k.makeHomes, k.makeRoots, k.makeFirstTargets, k.makeArchives, k.saveSettings,
	}, k.report
	if k.o.ForImport {
		steps, report = []func(context.Context) error{k.makeAuthorities, k.makeNamespace, k.saveSettings}, k.reportEmpty
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	report(w)
	return nil
}

// check refuses a second init, folders in the wrong places, names that no
// device could reach, and passphrases that are missing or the same.
func (k *founding) check() error {
	for _, path := range []*string{&k.o.Offline, &k.o.Out} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("reading a folder: %w", err)
		}
		*path = abs
	}
	if inside(k.o.Offline, k.s.Data) {
		return usage(fmt.Errorf("--offline %s is inside --data: keys that must never be on the server would lie there; choose a folder you can carry away", k.o.Offline))
	}
	if inside(k.o.Out, k.s.Data) {
		return usage(fmt.Errorf("--out %s is inside --data; choose another folder", k.o.Out))
	}
	for path, what := range map[string]string{k.s.Data: "--data", k.s.MasterKey: "--master-key", k.o.Offline: "--offline", k.o.Out: "--out"} {
		if _, err := os.Lstat(path); err == nil {
			return usage(fmt.Errorf("%s exists (%s): this server is already initialised; run sealift serve, or name other places for a second one", path, what))
		}
	}
	if err := k.s.checkNames(); err != nil {
		return err
	}
	var err error
	if k.names, err = k.s.names(); err != nil {
		return usage(err)
	}
	if err := k.checkKeys(); err != nil {
		return usage(err)
	}
	return k.askPassphrases()
}

// checkKeys reads what kind of keys is asked for, and where.
func (k *founding) checkKeys() (err error) {
	if k.kind, k.bits, err = home.ParseKeyType(k.o.KeyType); err != nil {
		return fmt.Errorf("--key-type: %w", err)
	}
	if k.o.Token == "" {
		return nil
	}
	if k.o.Plaintext {
		return errors.New("--insecure-plaintext-targets-key and --offline-token exclude each other: a key does not leave its token")
	}
	if _, err := hsm.In(k.o.Token, "root"); err != nil {
		return fmt.Errorf("--offline-token: %w", err)
	}
	return nil
}

func (k *founding) askPassphrases() error {
	k.offline = &home.Passphrases{Getenv: os.Getenv, Names: []string{"SEALIFT_PASSPHRASE"}, Prompt: prompt()}
	secret, err := k.offline.Choose("the offline folder")
	if err != nil {
		return usage(err)
	}
	if k.o.Plaintext || k.o.Token != "" || k.o.ForImport {
		return nil
	}
	forBuild := &home.Passphrases{Getenv: os.Getenv, Names: []string{"GARAGE_SIGN_PASSPHRASE"}, Prompt: prompt()}
	if k.build, err = forBuild.Choose("the signing key in build.zip"); err != nil {
		return usage(err)
	}
	if string(k.build) == string(secret) {
		return usage(errors.New("the passphrase of build.zip is the offline folder's: whoever reads a build job's would hold the root keys; choose another"))
	}
	return nil
}

// checkNames demands URLs that devices can reach.
func (s *settings) checkNames() error {
	if s.Dev {
		if s.GatewayURL == "" {
			s.GatewayURL = "https://" + loopback(s.ListenGateway)
		}
		if s.APIURL == "" {
			s.APIURL = "https://" + loopback(s.ListenAPI)
		}
	}
	for _, u := range []struct{ flag, value string }{{"--gateway-url", s.GatewayURL}, {"--api-url", s.APIURL}} {
		if u.value == "" {
			return usage(fmt.Errorf("%s is missing: devices keep the name for life; to try out on this machine alone, use --dev", u.flag))
		}
		parsed, err := url.Parse(u.value)
		if err != nil || parsed.Host == "" || parsed.RawQuery != "" || (parsed.Scheme != "https" && !s.Dev) || (parsed.Scheme != "https" && parsed.Scheme != "http") {
			return usage(fmt.Errorf("%s %q: an address such as https://ota.example.com:8443 is expected", u.flag, u.value))
		}
		if isLoopback(parsed.Hostname()) && !s.Dev {
			return usage(fmt.Errorf("%s %q: no other machine can reach that; to try out on this machine alone, use --dev", u.flag, u.value))
		}
	}
	return nil
}
