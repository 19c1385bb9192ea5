package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// newTargetSplit is `sealift target split`: what is to be signed so that targets
// move into a delegated role.
func newTargetSplit(f *operatorFlags) *cobra.Command {
	var paths []string
	var dir string
	c := f.speak(&cobra.Command{
		Use: "split ROLE", Short: "Move targets of the top level into a delegated role", Args: args(cobra.ExactArgs(1)),
		Long: `Writes what is to be signed so that targets of the top level move into the delegated role
ROLE: ROLE.json, which whoever signs for the role signs and pushes first, and targets.json, the
top level without them, which is signed and pushed second:

  garage-sign delegations sign -i ROLE.json -e -k KEY
  garage-sign delegations push -r REPO -n ROLE -i ROLE.json
  garage-sign targets pull -r REPO
  cp targets.json HOME/REPO/roles/unsigned/targets.json
  garage-sign targets sign -r REPO -k targets --version N
  garage-sign targets push -r REPO

For devices whose targets have outgrown what they read. Refused while a registered device with
Secondaries has an ECU of a hardware id that would be concerned: Secondaries know the top level
only, and one of them makes its device give the whole update up.`,
	}, func(k *client, c *cobra.Command, given []string) error {
		return splitTargets(k, c, given[0], dir, paths)
	})
	c.Flags().StringSliceVar(&paths, "path", nil, "pattern of the targets that move (repeatable); without it those that the role's own paths cover")
	c.Flags().StringVar(&dir, "out", ".", "folder to write to")
	return c
}

func splitTargets(k *client, c *cobra.Command, role, dir string, paths []string) error {
	var v struct {
		Moved      []string `json:"moved"`
		Delegation []byte   `json:"unsigned_delegation_base64"`
		Targets    []byte   `json:"unsigned_targets_base64"`
	}
	raw, err := k.ask(c.Context(), http.MethodPost, "/api/v1/user_repo/trusted-delegations/"+url.PathEscape(role)+"/split", map[string][]string{"paths": paths}, &v)
	if err != nil {
		return err
	}
	var head struct{ Version int64 }
	if err := json.Unmarshal(v.Targets, &head); err != nil {
		return fmt.Errorf("reading what is to be signed: %w", err)
	}
	for name, payload := range map[string][]byte{role + ".json": v.Delegation, "targets.json": v.Targets} {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("writing what is to be signed: %w", err)
		}
		_, err = f.Write(append(payload, '\n'))
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return fmt.Errorf("writing what is to be signed: %w", err)
		}
	}
	return k.show(raw, func(w io.Writer) error {
		for _, name := range v.Moved {
			fmt.Fprintln(w, plain(name))
		}
		fmt.Fprintf(w, "%d targets move; sign and push %s first, then %s as version %d\n", len(v.Moved), filepath.Join(dir, role+".json"), filepath.Join(dir, "targets.json"), head.Version)
		return nil
	})
}
