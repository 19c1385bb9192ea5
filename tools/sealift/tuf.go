package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

const tufPath = "/api/v1/user_repo/tuf"

// newTUF is `sealift tuf`.
func newTUF() *cobra.Command {
	tuf := &cobra.Command{Use: "tuf", Short: "Offer the Image repository to clients of TUF 1.0, or stop to",
		Long: `The Image repository can be read by clients of TUF 1.0 as well: metadata is at /tuf/metadata,
images are at /tuf/targets, for devices at the gateway and with a token at the api. It is off until
you switch it on. Every root must have its TUF document then; garage-sign makes both.`}
	var f operatorFlags
	f.bind(tuf)
	var anonymous bool
	on := f.speak(&cobra.Command{Use: "on", Short: "Offer it, to devices and tokens of this namespace", Args: args(cobra.NoArgs)}, func(k *client, c *cobra.Command, _ []string) error {
		return switchTUF(k, c, true, anonymous)
	})
	on.Flags().BoolVar(&anonymous, "anonymous", false, "to everybody who can reach the api, under /tuf/public/NAMESPACE, as well")
	tuf.AddCommand(on,
		f.speak(&cobra.Command{Use: "off", Short: "Stop to; nothing is deleted", Args: args(cobra.NoArgs)}, func(k *client, c *cobra.Command, _ []string) error {
			return switchTUF(k, c, false, false)
		}),
		f.speak(&cobra.Command{Use: "status", Short: "Whether it is offered, and how far it lags behind", Args: args(cobra.NoArgs)}, func(k *client, c *cobra.Command, _ []string) error {
			var state tufAnswer
			raw, err := k.get(c.Context(), tufPath, &state)
			if err != nil {
				return err
			}
			return k.show(raw, state.print)
		}))
	return tuf
}

func switchTUF(k *client, c *cobra.Command, on, anonymous bool) error {
	var state tufAnswer
	raw, err := k.ask(c.Context(), http.MethodPut, tufPath, map[string]any{"enabled": on, "anonymous": anonymous}, &state)
	if err != nil {
		return err
	}
	return k.show(raw, state.print)
}

// tufAnswer is how the tree for TUF clients stands.
type tufAnswer struct {
	Enabled, Anonymous                bool
	RootVersion, TUFRootVersion       int
	TargetsVersion, TUFTargetsVersion int
	Behind                            int
}

func (a tufAnswer) print(w io.Writer) error {
	switch {
	case a.Anonymous:
		fmt.Fprintln(w, "TUF is on, for everybody")
	case a.Enabled:
		fmt.Fprintln(w, "TUF is on, for devices and tokens of this namespace")
	default:
		fmt.Fprintln(w, "TUF is off")
	}
	t := newTable(w, "ROLE", "DEVICES", "TUF CLIENTS")
	t.row("root", fmt.Sprint(a.RootVersion), fmt.Sprint(a.TUFRootVersion))
	t.row("targets", fmt.Sprint(a.TargetsVersion), fmt.Sprint(a.TUFTargetsVersion))
	if err := t.end(); err != nil {
		return err
	}
	if a.TUFRootVersion < a.RootVersion {
		fmt.Fprintf(w, "root version %d and later lack their TUF document, without which TUF cannot be on: garage-sign root twins\n", a.TUFRootVersion+1)
	}
	if a.Behind > 0 {
		fmt.Fprintf(w, "TUF clients are behind by %d: what was pushed last came without its TUF document\n", a.Behind)
	}
	return nil
}

// note is what the overview says of it.
func (a tufAnswer) note() string {
	switch {
	case !a.Enabled:
		return ""
	case a.Behind > 0:
		return fmt.Sprintf("; TUF clients are behind by %d", a.Behind)
	}
	return "; TUF clients see them, too"
}
