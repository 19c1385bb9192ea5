package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/credentials"
	"sealift/internal/hub"
	"sealift/internal/reposerver"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// addition is what `sealift target add` is told.
type addition struct {
	credentials   string
	cacert        string
	name, version string
	hardware      []string
	repo, ref     string
	file          string
}

// newTargetAdd is `sealift target add`: what garage-push and garage-sign do one
// after the other, in one go.
func newTargetAdd() *cobra.Command {
	var o addition
	c := &cobra.Command{
		Use:   "add --credentials build.zip --name NAME --version VERSION --hardware-id ID (FILE | --repo DIR --ref REF)",
		Short: "Upload an image, or push a commit, sign it with the key in build.zip and publish it",
		Long: `Uploads FILE, or pushes the commit REF of the OSTree repository DIR, makes it the target
NAME-VERSION, signs the targets with the key in build.zip and publishes them. The passphrase of
the key comes from GARAGE_SIGN_PASSPHRASE, GARAGE_SIGN_PASSPHRASE_FILE or is asked for.`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			if len(given) > 0 {
				o.file = given[0]
			}
			if err := o.check(); err != nil {
				return usage(err)
			}
			return o.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.credentials, "credentials", "", "archive for builds, build.zip")
	f.StringVar(&o.cacert, "cacert", "", "PEM bundle to trust besides the archive's, instead of the system's")
	f.StringVar(&o.name, "name", "", "name of the image")
	f.StringVar(&o.version, "version", "", "version of the image")
	f.StringSliceVar(&o.hardware, "hardware-id", nil, "kind of ECU the image is for (repeatable)")
	f.StringVar(&o.repo, "repo", "", "OSTree repository with the commit")
	f.StringVar(&o.ref, "ref", "", "ref or checksum of the commit")
	return c
}

// check refuses what cannot work before anything is sent.
func (o *addition) check() error {
	for flag, value := range map[string]string{"--credentials": o.credentials, "--name": o.name, "--version": o.version, "--hardware-id": strings.Join(o.hardware, "")} {
		if value == "" {
			return fmt.Errorf("%s is missing", flag)
		}
	}
	if (o.repo == "") != (o.ref == "") {
		return errors.New("--repo and --ref go together")
	}
	if (o.file == "") == (o.repo == "") {
		return errors.New("name either a FILE or --repo and --ref")
	}
	for _, id := range o.hardware {
		if !uptane.HardwareID(id).Valid() {
			return fmt.Errorf("%q is no hardware id", id)
		}
	}
	return uptane.CheckFilename(o.filename())
}

func (o *addition) filename() string { return o.name + "-" + o.version }

func (o *addition) run(ctx context.Context, w, warnings io.Writer) error {
	s, err := openSigner(ctx, o.credentials, o.cacert, warnings)
	if err != nil {
		return err
	}
	defer s.close()
	// What would be refused is not sent. A server that does not answer yet is asked
	// again before anything is signed: sending waits for it.
	var unreachable *url.Error
	if err := s.current(ctx); err != nil && !errors.As(err, &unreachable) {
		return err
	}
	target, err := o.send(ctx, w, s.server, s.archive)
	if err != nil {
		return err
	}
	signed, err := s.publish(ctx, func() error { return s.home.AddTarget(target) })
	if err != nil {
		return fmt.Errorf("publishing %s: %w", target.Filename, err)
	}
	fmt.Fprintf(w, "published %s in targets version %d, valid until %s\n", plain(target.Filename), signed.Version, signed.Expires.Format("2006-01-02"))
	return nil
}

// send brings the image to the server and returns its target.
func (o *addition) send(ctx context.Context, w io.Writer, server *reposerver.Server, raw []byte) (uptane.Target, error) {
	uploaded := o.file != ""
	t := uptane.Target{Filename: o.filename(), Custom: uptane.Custom{Name: o.name, Version: o.version, CLIUploaded: &uploaded}}
	for _, id := range o.hardware {
		if !slices.Contains(t.Custom.HardwareIDs, uptane.HardwareID(id)) {
			t.Custom.HardwareIDs = append(t.Custom.HardwareIDs, uptane.HardwareID(id))
		}
	}
	if !uploaded {
		commit, err := o.push(ctx, w, raw)
		t.Custom.TargetFormat, t.Hashes = uptane.FormatOSTree, metadata.Hashes{"sha256": commit[:]}
		return t, err
	}
	f, err := os.Open(o.file)
	if err != nil {
		return t, err
	}
	defer f.Close()
	sum := sha256.New()
	if t.Length, err = io.Copy(sum, f); err != nil {
		return t, fmt.Errorf("reading %s: %w", o.file, err)
	}
	t.Custom.TargetFormat, t.Hashes = uptane.FormatBinary, metadata.Hashes{"sha256": sum.Sum(nil)}
	err = server.Upload(ctx, reposerver.Upload{Filename: t.Filename, File: f, Size: t.Length})
	if reposerver.Refused(err, "conflicting_entity") {
		return t, fmt.Errorf("%w\n%s is published; another image needs another version", err, plain(t.Filename))
	}
	if err == nil {
		fmt.Fprintf(w, "uploaded %s, %s, sha256 %x\n", plain(o.file), bytesOf(t.Length), sum.Sum(nil))
	}
	return t, err
}

// push sends the commit as garage-push does.
func (o *addition) push(ctx context.Context, w io.Writer, raw []byte) (ostree.Checksum, error) {
	dir, err := ostree.OpenDir(o.repo)
	if err != nil {
		return ostree.Checksum{}, err
	}
	commit, isRef, err := dir.Resolve(ctx, o.ref)
	if err != nil {
		return commit, fmt.Errorf("looking for %s in %s: %w", o.ref, o.repo, err)
	}
	archive, err := credentials.Parse(raw)
	if err != nil {
		return commit, err
	}
	tree, err := archive.TreeHub()
	if err != nil {
		return commit, err
	}
	httpClient, err := archive.HTTPClient(ctx, credentials.ClientConfig{CACert: o.cacert})
	if err != nil {
		return commit, err
	}
	to, err := hub.New(hub.Config{URL: tree.Server(), Client: httpClient, Force: true, Agent: "sealift/" + version})
	if err != nil {
		return commit, err
	}
	stats, err := ostree.Copy(ctx, dir, to, commit, ostree.CopyOptions{})
	if err == nil && isRef {
		err = to.SetRef(ctx, o.ref, commit)
	}
	if err != nil {
		return commit, fmt.Errorf("pushing %s: %w", commit, err)
	}
	fmt.Fprintf(w, "pushed commit %s, %d objects, %s\n", commit, stats.Uploaded, bytesOf(stats.Bytes))
	return commit, nil
}
