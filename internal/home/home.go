// Package home is a signing home on disk: the folder in which offline keys sign
// root and targets metadata of a repository.
//
// The layout is the one garage-sign has always used, so that its users, their
// scripts and the older tool itself can share a home:
//
//	config.json                      where the repository is and how to reach it
//	credentials.zip                  the archive the home was made from, if any
//	keys/NAME.pub, keys/NAME.sec     key objects; the private one plain or sealed
//	roles/ROLE.json                  as signed, Uptane's flavour
//	roles/ROLE.tuf.json              as signed, TUF's flavour of the same content
//	roles/N.root.json, N.root.tuf.json   every root that was signed or pulled here
//	roles/unsigned/ROLE.json         the payload being edited
//	roles/targets.published.json     the targets the server had when they were pulled or pushed last
//	roles/targets.json.checksum      SHA-256 of the targets the server had last
//
// ROLE is root or targets. A home of the Image repository signs and keeps both
// flavours, always; one of the Director keeps no TUF twins, for there is no TUF
// view of it.
//
// Folders are 0700 and files 0600; wider ones are reported, not refused. Files
// change in one step each. A Home is for one process and one goroutine at a
// time.
package home

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sealift/internal/hsm"
)

const (
	configFile      = "config.json"
	credentialsFile = "credentials.zip"
	clientP12File   = "client_auth.p12"
	serverP12File   = "server.p12"
)

var (
	// ErrExists marks a home that is there already.
	ErrExists = errors.New("already initialized")
	// ErrNotFound marks a file of the home that is missing.
	ErrNotFound = errors.New("not found")
)

// Options are what a home asks of its surroundings. The zero value has no
// passphrases, drops warnings and uses the system's clock.
type Options struct {
	Passphrases *Passphrases
	Warn        func(message string)
	Now         func() time.Time
	// Service has the keys of a key service; nil in programs that know none.
	Service hsm.Service
}

func (o Options) complete() Options {
	if o.Passphrases == nil {
		o.Passphrases = &Passphrases{}
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Home is one signing home.
type Home struct {
	dir    string
	config Config
	keys   *Keyring
	opts   Options
}

// Create makes a home at dir, which must not exist; its parent is made if
// need be. Nothing is left behind when it fails. Errors wrap ErrExists.
func Create(dir string, config Config, o Options) (*Home, error) {
	return create(dir, config, o, nil)
}

// create builds the home beside its place and moves it there when fill is done.
func create(dir string, config Config, o Options, fill func(*Home) error) (*Home, error) {
	if _, err := os.Lstat(dir); err == nil {
		return nil, fmt.Errorf("creating signing home %s: %w", dir, ErrExists)
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("creating signing home: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, ".init-*") // 0700
	if err != nil {
		return nil, fmt.Errorf("creating signing home: %w", err)
	}
	defer os.RemoveAll(tmp)
	h := newHome(tmp, config, o)
	for _, sub := range []string{"keys", "roles", "roles/unsigned"} {
		if err := os.Mkdir(filepath.Join(tmp, sub), 0o700); err != nil {
			return nil, fmt.Errorf("creating signing home: %w", err)
		}
	}
	if err := h.SetConfig(config); err != nil {
		return nil, err
	}
	if fill != nil {
		if err := fill(h); err != nil {
			return nil, err
		}
	}
	if err := os.Rename(tmp, dir); err != nil {
		return nil, fmt.Errorf("creating signing home %s: %w", dir, errors.Join(ErrExists, err))
	}
	return newHome(dir, config, o), nil
}

// Open opens the home at dir. Errors wrap ErrNotFound where there is none.
func Open(dir string, o Options) (*Home, error) {
	var config Config
	if err := readConfig(filepath.Join(dir, configFile), &config); err != nil {
		return nil, fmt.Errorf("opening signing home %s: %w", dir, err)
	}
	h := newHome(dir, config, o)
	for _, path := range []string{dir, h.keys.dir, filepath.Join(dir, "roles"), filepath.Join(dir, configFile)} {
		warnIfWide(path, h.opts.Warn)
	}
	return h, nil
}

func newHome(dir string, config Config, o Options) *Home {
	o = o.complete()
	return &Home{dir: dir, config: config, keys: OpenKeyring(filepath.Join(dir, "keys"), o), opts: o}
}

// Dir is the folder of the home.
func (h *Home) Dir() string { return h.dir }

// Config returns what config.json says.
func (h *Home) Config() Config { return h.config }

// Keys are the key files of the home.
func (h *Home) Keys() *Keyring { return h.keys }

// SetConfig replaces config.json.
func (h *Home) SetConfig(c Config) error {
	v, err := c.value()
	if err != nil {
		return err
	}
	if err := writeFile(h.path(configFile), pretty(v), 0o600); err != nil {
		return err
	}
	h.config = c
	return nil
}

func (h *Home) path(elem ...string) string {
	return filepath.Join(append([]string{h.dir}, elem...)...)
}
