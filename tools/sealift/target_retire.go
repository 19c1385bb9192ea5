package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/spf13/cobra"
)

// retirement is what `sealift target retire` is told.
type retirement struct {
	credentials string
	cacert      string
	superseded  bool
	keep        int
	dry         bool
	names       []string
}

// newTargetRetire is `sealift target retire`.
func newTargetRetire() *cobra.Command {
	var o retirement
	c := &cobra.Command{
		Use:   "retire --credentials build.zip (--superseded | TARGET...)",
		Short: "Take images out of the signed targets, so that nobody can give them to a device any more",
		Long: `Signs the targets without the images that are named, with the key in build.zip, and publishes them.
What is signed can be given to a device by whoever has stolen the online keys: --superseded takes out
what newer images of the same hardware ids replace; --dry-run lists it. The bytes stay for a week, a
filename never means another image, and devices keep what they run.`,
		RunE: func(c *cobra.Command, given []string) error {
			o.names = given
			switch {
			case o.credentials == "":
				return usage(errors.New("--credentials is missing"))
			case o.superseded == (len(given) > 0):
				return usage(errors.New("name targets, or give --superseded"))
			case o.keep < 1:
				return usage(errors.New("--keep is a number from 1"))
			}
			return o.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.credentials, "credentials", "", "archive for builds, build.zip")
	f.StringVar(&o.cacert, "cacert", "", "PEM bundle to trust besides the archive's, instead of the system's")
	f.BoolVar(&o.superseded, "superseded", false, "all that newer ones replace")
	f.IntVar(&o.keep, "keep", 1, "how many newer images of each hardware id there must be")
	f.BoolVar(&o.dry, "dry-run", false, "only list them")
	return c
}

func (o *retirement) run(ctx context.Context, w, warnings io.Writer) error {
	s, err := openSigner(ctx, o.credentials, o.cacert, warnings)
	if err != nil {
		return err
	}
	defer s.close()
	if o.superseded {
		if o.names, err = s.superseded(ctx, o.keep); err != nil {
			return err
		}
	}
	slices.Sort(o.names)
	o.names = slices.Compact(o.names)
	if len(o.names) == 0 {
		fmt.Fprintln(w, "nothing is superseded")
		return nil
	}
	if o.dry {
		for _, name := range o.names {
			fmt.Fprintln(w, plain(name))
		}
		return nil
	}
	signed, err := s.publish(ctx, func() error {
		for _, name := range o.names {
			if err := s.home.DeleteTarget(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("retiring %d targets: %w", len(o.names), err)
	}
	for _, name := range o.names {
		fmt.Fprintf(w, "retired %s\n", plain(name))
	}
	fmt.Fprintf(w, "published targets version %d, valid until %s\n", signed.Version, signed.Expires.Format("2006-01-02"))
	return nil
}

// superseded asks the server what newer images replace.
func (s *signer) superseded(ctx context.Context, keep int) ([]string, error) {
	ask, err := json.Marshal(map[string]any{"superseded": true, "keep": keep, "dryRun": true})
	if err != nil {
		return nil, err
	}
	a, err := s.server.Must(ctx, http.MethodPost, "retire", ask, http.Header{"Content-Type": {"application/json"}})
	if err != nil {
		return nil, err
	}
	var list struct{ Filenames []string }
	if err := json.Unmarshal(a.Body, &list); err != nil {
		return nil, fmt.Errorf("reading what is superseded: %w", err)
	}
	return list.Filenames, nil
}
