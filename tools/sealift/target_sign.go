package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"sealift/internal/home"
	"sealift/internal/kms"
	"sealift/internal/reposerver"
	"sealift/uptane"
)

// publishTries is how often targets are made anew because somebody else
// published meanwhile.
const publishTries = 5

// maxArchive is more than an archive of credentials may have.
const maxArchive = 32 << 20

// signer signs targets with the key of an archive for builds and publishes them.
type signer struct {
	archive []byte
	home    *home.Home
	server  *reposerver.Server
	dir     string
}

// openSigner unpacks the archive into a folder that close removes.
func openSigner(ctx context.Context, archive, cacert string, warnings io.Writer) (_ *signer, err error) {
	s := &signer{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.archive, err = readLimited(archive, maxArchive); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "sealift-sign-"); err != nil {
		return nil, fmt.Errorf("making a signing home: %w", err)
	}
	warn := func(text string) { fmt.Fprintf(warnings, "sealift: warning: %s\n", plain(text)) }
	s.home, err = home.Import(filepath.Join(s.dir, "home"), s.archive, "", home.RepoServer, home.Options{
		Passphrases: &home.Passphrases{Getenv: os.Getenv, Names: []string{"GARAGE_SIGN_PASSPHRASE"}, Prompt: prompt()}, Warn: warn, Service: kms.New(kms.Config{})})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", archive, err)
	}
	client, err := s.home.HTTPClient(ctx, cacert)
	if err != nil {
		return nil, err
	}
	s.server = reposerver.New(reposerver.Config{URL: s.home.Config().BaseURL(), Client: client, Agent: "sealift/" + version, Warn: warn})
	return s, nil
}

func (s *signer) close() {
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("reading %s: more than %d bytes", path, limit)
	}
	return raw, err
}

// publish changes the server's targets, signs and pushes them; as often as
// somebody else was faster.
func (s *signer) publish(ctx context.Context, change func() error) (home.Signed, error) {
	for try := 1; ; try++ {
		signed, err := s.push(ctx, change)
		if try == publishTries || !reposerver.Refused(err, "role_checksum_mismatch") {
			return signed, err
		}
	}
}

func (s *signer) push(ctx context.Context, change func() error) (home.Signed, error) {
	if err := s.current(ctx); err != nil {
		return home.Signed{}, err
	}
	raw, checksum, err := s.server.Targets(ctx)
	if err != nil {
		return home.Signed{}, err
	}
	if _, err := s.home.PullTargets(raw, checksum); err != nil {
		return home.Signed{}, err
	}
	if err := change(); err != nil {
		return home.Signed{}, err
	}
	signed, err := s.home.SignTargets(ctx, home.Signing{Keys: []string{"targets"}})
	if err != nil {
		return signed, err
	}
	_, err = s.server.PutTargets(ctx, signed, checksum)
	return signed, err
}

// current follows the server's roots and refuses a key that the newest one names no
// longer.
func (s *signer) current(ctx context.Context) error {
	if _, err := s.server.FollowRoots(ctx, s.home); err != nil {
		return err
	}
	root, err := s.home.Root()
	if err != nil {
		return err
	}
	ring, err := uptane.RingOf(uptane.Uptane, &root.Payload, uptane.RoleTargets)
	if err != nil {
		return err
	}
	key, err := s.home.Keys().Public("targets")
	if err != nil || slices.Contains(ring.Keys, key) {
		return nil // without a key signing says what is missing
	}
	return fmt.Errorf("the key in the archive is no targets key of root version %d: ask whoever has the offline keys for a new archive (garage-sign export-credentials)", root.Payload.Version)
}
