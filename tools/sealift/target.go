package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newTarget is `sealift target`.
func newTarget() *cobra.Command {
	target := &cobra.Command{Use: "target", Short: "Look at signed targets, sign and publish new ones"}
	var f operatorFlags
	var contains string
	var p pageFlags
	list := f.speak(&cobra.Command{Use: "list", Short: "List signed targets, the last changed last", Args: args(cobra.NoArgs)}, func(k *client, c *cobra.Command, _ []string) error {
		return listTargets(k, c, p, contains)
	})
	p.bind(list)
	list.Flags().StringVar(&contains, "name-contains", "", "only targets with this in their name")
	show := f.speak(&cobra.Command{Use: "show TARGET", Short: "Show what is signed of a target", Args: args(cobra.ExactArgs(1))}, showTarget)
	split := newTargetSplit(&f)
	for _, c := range []*cobra.Command{list, show, split} {
		f.bind(c)
	}
	target.AddCommand(list, show, split, newTargetAdd(), newTargetRetire())
	return target
}

type targetAnswer struct {
	Filename string
	Length   int64
	Hashes   map[string]string
	Stored   bool
	Custom   struct {
		Name, Version  string
		HardwareIDs    []string
		TargetFormat   string
		URI            *string
		CreatedAt      *time.Time
		UpdatedAt      *time.Time
		ReleaseCounter int64
	}
}

// targetPath is the api's path of a target; its name may have slashes.
func targetPath(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return "/api/v1/user_repo/target_items/" + strings.Join(parts, "/")
}

func listTargets(k *client, c *cobra.Command, p pageFlags, contains string) error {
	var list page[targetAnswer]
	params := url.Values{}
	if contains != "" {
		params.Set("nameContains", contains)
	}
	raw, err := k.get(c.Context(), p.query("/api/v1/user_repo/target_items", params), &list)
	if err != nil {
		return err
	}
	return k.show(raw, func(w io.Writer) error {
		t := newTable(w, "TARGET", "FORMAT", "HARDWARE IDS", "BYTES", "SHA256", "UPDATED")
		for _, v := range list.Values {
			t.row(v.Filename, v.Custom.TargetFormat, strings.Join(v.Custom.HardwareIDs, " "), fmt.Sprint(v.Length), shortSum(v.Hashes["sha256"]), when(v.Custom.UpdatedAt))
		}
		err := t.end()
		p.rest(w, len(list.Values), list.Total)
		return err
	})
}

func showTarget(k *client, c *cobra.Command, given []string) error {
	var v targetAnswer
	raw, err := k.get(c.Context(), targetPath(given[0]), &v)
	if err != nil {
		return err
	}
	return k.show(raw, func(w io.Writer) error {
		t := newTable(w)
		stored := "no"
		if v.Stored {
			stored = "yes"
		}
		for _, row := range [][2]string{
			{"target", v.Filename}, {"name", v.Custom.Name}, {"version", v.Custom.Version}, {"format", v.Custom.TargetFormat},
			{"hardware ids", strings.Join(v.Custom.HardwareIDs, " ")}, {"bytes", fmt.Sprint(v.Length)}, {"sha256", v.Hashes["sha256"]},
			{"release", fmt.Sprint(v.Custom.ReleaseCounter)}, {"uri", text(v.Custom.URI)}, {"stored here", stored},
			{"created", when(v.Custom.CreatedAt)}, {"updated", when(v.Custom.UpdatedAt)},
		} {
			t.row(row[0], row[1])
		}
		return t.end()
	})
}
