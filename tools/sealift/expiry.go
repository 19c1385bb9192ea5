package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newExpiry is `sealift expiry`.
func newExpiry() *cobra.Command {
	return newPage[expiryAnswer](&cobra.Command{
		Use: "expiry", Short: "Forecast everything that ends: what people sign, CAs, certificates, tokens",
		Long: `Lists everything that ends, what people must act on first. Exit code 1 says that something has ended
or ends within seven days.`,
	}, "/api/v1/expiry")
}

// expiryAnswer is the page of everything that ends.
type expiryAnswer struct {
	Namespace string
	Time      time.Time
	Things    []struct {
		Thing   string
		Expires time.Time
		Seconds int64
		Online  bool
		findingAnswer
		Told []struct {
			Days int
			At   *time.Time
		}
	}
	Keys   []findingAnswer
	Policy policyAnswer
}

func (a expiryAnswer) print(w io.Writer) error {
	fmt.Fprintf(w, "namespace %s, %s\n\n", plain(a.Namespace), a.Time.Local().Format("2006-01-02 15:04:05 MST"))
	for _, f := range a.Keys {
		f.print(w, "")
	}
	online := false
	for _, e := range a.Things {
		if e.Online && !online {
			online = true
			fmt.Fprintln(w, "\nThe server renews these by itself:")
		}
		e.print(w, "")
		if n := len(e.Told); n > 0 {
			fmt.Fprintf(w, "     announced %s\n", when(e.Told[n-1].At))
		}
	}
	fmt.Fprintf(w, "\npolicy: min-targets-life %s\n", a.Policy)
	return nil
}

// verdict is an error while something needs people within the week.
func (a expiryAnswer) verdict() error {
	var list []string
	for _, e := range a.Things {
		if e.Level == "error" {
			list = append(list, e.Thing)
		}
	}
	if len(list) == 0 {
		if len(a.Keys) > 0 {
			return errors.New("keys are to be replaced, or cannot be used")
		}
		return nil
	}
	return fmt.Errorf("ended, or about to end: %s", plain(strings.Join(list, ", ")))
}

// policyAnswer is what a namespace demands of what is pushed.
type policyAnswer struct{ MinTargetsLifeDays int64 }

func (p policyAnswer) String() string {
	if p.MinTargetsLifeDays == 0 {
		return "0d (any; below seven days the server's log warns)"
	}
	return fmt.Sprintf("%dd (what is pushed must be good for so long)", p.MinTargetsLifeDays)
}

const policyPath = "/api/v1/policy"

// newPolicy is `sealift policy`.
func newPolicy() *cobra.Command {
	policy := &cobra.Command{Use: "policy", Short: "What the namespace demands of what is pushed"}
	var f operatorFlags
	f.bind(policy)
	show := func(k *client, raw []byte, p policyAnswer) error {
		return k.show(raw, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "min-targets-life %s\n", p)
			return err
		})
	}
	policy.AddCommand(
		f.speak(&cobra.Command{Use: "show", Short: "Show it", Args: args(cobra.NoArgs)}, func(k *client, c *cobra.Command, _ []string) error {
			var p policyAnswer
			raw, err := k.get(c.Context(), policyPath, &p)
			if err != nil {
				return err
			}
			return show(k, raw, p)
		}),
		f.speak(&cobra.Command{
			Use: "set min-targets-life DAYS", Short: "Refuse pushed targets that are good for fewer days; 0 takes any", Args: args(cobra.ExactArgs(2)),
			Long: `Targets and metadata of delegated roles that are pushed from now on must be good for so many days at
least, such as 90d; 0 takes any that have not expired. The change is in the audit.`,
		}, func(k *client, c *cobra.Command, given []string) error {
			days, err := strconv.ParseUint(strings.TrimSuffix(given[1], "d"), 10, 16)
			if given[0] != "min-targets-life" || err != nil {
				return usage(fmt.Errorf("min-targets-life and a number of days such as 90d are expected, not %q %q", plain(given[0]), plain(given[1])))
			}
			var p policyAnswer
			raw, err := k.ask(c.Context(), http.MethodPut, policyPath, map[string]any{"minTargetsLifeDays": days}, &p)
			if err != nil {
				return err
			}
			return show(k, raw, p)
		}))
	return policy
}
