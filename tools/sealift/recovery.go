package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// adoptTogether is how many certificates one request adopts.
const adoptTogether = 500

// newRecovery is `sealift recovery`.
func newRecovery() *cobra.Command {
	recovery := &cobra.Command{Use: "recovery", Short: "After a restored backup: what devices know and the server does not"}
	var f operatorFlags
	f.bind(recovery)
	var anyway bool
	end := f.speak(&cobra.Command{Use: "end", Short: "Declare it over: nothing is taken note of any more", Args: args(cobra.NoArgs)}, func(k *client, c *cobra.Command, _ []string) error {
		if _, err := k.ask(c.Context(), http.MethodPost, "/api/v1/recovery/end", map[string]any{"anyway": anyway}, nil); err != nil {
			return err
		}
		fmt.Fprintln(k.out, "the recovery is over; this is in the audit")
		return nil
	})
	end.Flags().BoolVar(&anyway, "anyway", false, "also while a repository is behind: devices with newer versions then refuse what they get")
	recovery.AddCommand(
		f.speak(&cobra.Command{Use: "show", Short: "Show what is behind, who waits, and what to do", Args: args(cobra.NoArgs)}, showRecovery),
		end,
	)
	return recovery
}

type recoveryAnswer struct {
	Lasts                bool
	BackupAt, RestoredAt *time.Time
	Behind               []struct {
		Repository, Role string
		Here, Exists     int
		ShownBy          string
	}
	Certificates int
	Unregistered []struct {
		DeviceID string
		LastSeen *time.Time
	}
}

func showRecovery(k *client, c *cobra.Command, _ []string) error {
	var a recoveryAnswer
	raw, err := k.get(c.Context(), "/api/v1/recovery", &a)
	if err != nil {
		return err
	}
	return k.show(raw, a.print)
}

// howToRegister is what makes a device send its list of ECUs again.
const howToRegister = `They are let in, but sent their ECUs to the server that is lost, and send them once only. On each:
an aktualizr sends them again when its own table of them is empty: stop it, run
  sqlite3 /var/sota/sql.db 'DELETE FROM ecus;'
and start it; keys and certificate stay. A device that is wiped instead needs sealift device reset.`

func (a recoveryAnswer) print(w io.Writer) error {
	if !a.Lasts {
		fmt.Fprintln(w, "no restored backup is being recovered from")
		return nil
	}
	fmt.Fprintf(w, "The backup of %s was restored %s.\n", when(a.BackupAt), when(a.RestoredAt))
	for _, b := range a.Behind {
		fmt.Fprintf(w, "\nThe %s repository serves nothing to devices: %s %d is here, %d exists, as %s shows.\n", plain(b.Repository), plain(b.Role), b.Here, b.Exists, plain(b.ShownBy))
		fmt.Fprintf(w, "Bring what was signed since the backup: garage-sign %s push, from the folder that signed it.\n", plain(b.Role))
	}
	if a.Certificates > 0 {
		fmt.Fprintf(w, "\n%d devices came with certificates issued after the backup: sealift device adopt shows them.\n", a.Certificates)
	}
	if len(a.Unregistered) > 0 {
		fmt.Fprintf(w, "\nThe ECUs of these devices are not known. %s\n\n", howToRegister)
		t := newTable(w, "DEVICE", "LAST SEEN")
		for _, d := range a.Unregistered {
			t.row(d.DeviceID, when(d.LastSeen))
		}
		if err := t.end(); err != nil {
			return err
		}
	}
	if len(a.Behind) == 0 && a.Certificates == 0 && len(a.Unregistered) == 0 {
		fmt.Fprintln(w, "Nothing is behind and nobody waits. When all devices have come back: sealift recovery end")
	}
	return nil
}

type lostAnswer struct {
	Fingerprint, DeviceID          string
	NotBefore, FirstSeen, LastSeen *time.Time
}

// newDeviceAdopt is `sealift device adopt`.
func newDeviceAdopt(f *operatorFlags) *cobra.Command {
	var all bool
	c := f.speak(&cobra.Command{
		Use: "adopt [--all | DEVICE | FINGERPRINT ...]", Short: "Let devices in whose certificates were issued after a restored backup",
		Long: `Without arguments lists the certificates of the own device CA that came since a backup was
restored and that the server does not know. They were issued after the backup was made - or forged,
by whoever has stolen the key of the CA. To adopt one is to vouch for it.`,
	}, func(k *client, c *cobra.Command, given []string) error {
		list, err := k.lost(c)
		if err != nil {
			return err
		}
		if !all && len(given) == 0 {
			return showLost(k, list)
		}
		if !all {
			if list, err = chosen(list, given); err != nil {
				return err
			}
		}
		return k.adopt(c, list)
	})
	c.Flags().BoolVar(&all, "all", false, "adopt every one that waits")
	return c
}

// lost reads the whole list.
func (k *client) lost(c *cobra.Command) ([]lostAnswer, error) {
	var all []lostAnswer
	for after := ""; ; {
		var page struct{ Values []lostAnswer }
		if _, err := k.get(c.Context(), "/api/v1/recovery/certificates?after="+url.QueryEscape(after), &page); err != nil {
			return nil, err
		}
		if len(page.Values) == 0 {
			// The older certificate of a device first: the newer one takes its place.
			slices.SortStableFunc(all, func(a, b lostAnswer) int { return a.begins().Compare(b.begins()) })
			return all, nil
		}
		all = append(all, page.Values...)
		after = page.Values[len(page.Values)-1].Fingerprint
	}
}

func (l lostAnswer) begins() time.Time {
	if l.NotBefore == nil {
		return time.Time{}
	}
	return *l.NotBefore
}

func showLost(k *client, list []lostAnswer) error {
	if len(list) == 0 {
		fmt.Fprintln(k.out, "no certificate waits to be adopted")
		return nil
	}
	t := newTable(k.out, "DEVICE", "VALID FROM", "FIRST SEEN", "LAST SEEN", "FINGERPRINT")
	for _, l := range list {
		t.row(l.DeviceID, when(l.NotBefore), when(l.FirstSeen), when(l.LastSeen), l.Fingerprint)
	}
	return t.end()
}

// chosen are those that names or fingerprints pick.
func chosen(list []lostAnswer, given []string) ([]lostAnswer, error) {
	var out []lostAnswer
	for _, name := range given {
		before := len(out)
		for _, l := range list {
			if l.DeviceID == name || l.Fingerprint == strings.ToLower(name) {
				out = append(out, l)
			}
		}
		if len(out) == before {
			return nil, fmt.Errorf("no certificate of %q waits to be adopted", plain(name))
		}
	}
	return out, nil
}

func (k *client) adopt(c *cobra.Command, list []lostAnswer) error {
	refused := 0
	for part := range slices.Chunk(list, adoptTogether) {
		fingerprints := make([]string, len(part))
		for i, l := range part {
			fingerprints[i] = l.Fingerprint
		}
		var answer struct {
			Values []struct {
				DeviceID, Fingerprint, Reason string
				ECUsRegistered                bool
			}
		}
		if _, err := k.ask(c.Context(), http.MethodPost, "/api/v1/recovery/adopt", map[string]any{"fingerprints": fingerprints}, &answer); err != nil {
			return err
		}
		for _, a := range answer.Values {
			switch {
			case a.Reason != "":
				refused++
				fmt.Fprintf(k.out, "%s: not adopted: %s\n", plain(a.DeviceID+" "+shortSum(a.Fingerprint)), plain(a.Reason))
			case a.ECUsRegistered:
				fmt.Fprintf(k.out, "%s: adopted\n", plain(a.DeviceID))
			default:
				fmt.Fprintf(k.out, "%s: adopted; its ECUs are not known, see sealift recovery show\n", plain(a.DeviceID))
			}
		}
	}
	if refused > 0 {
		return errors.New("some were not adopted")
	}
	return nil
}
