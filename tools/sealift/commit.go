package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newCommit is `sealift commit`.
func newCommit() *cobra.Command {
	commit := &cobra.Command{Use: "commit", Short: "Look at OSTree commits that were pushed"}
	var f operatorFlags
	f.bind(commit)
	commit.AddCommand(newCommitList(&f))
	return commit
}

func newCommitList(f *operatorFlags) *cobra.Command {
	var p pageFlags
	c := f.speak(&cobra.Command{Use: "list", Short: "List commits, the last pushed first", Args: args(cobra.NoArgs)}, func(k *client, c *cobra.Command, _ []string) error {
		var list page[struct {
			Checksum, Subject string
			PushedAt          *time.Time
			Complete          bool
			Objects, Size     int64
			Refs              []string
		}]
		raw, err := k.get(c.Context(), p.query("/api/v1/treehub/commits", url.Values{}), &list)
		if err != nil {
			return err
		}
		return k.show(raw, func(w io.Writer) error {
			t := newTable(w, "COMMIT", "SUBJECT", "PUSHED", "OBJECTS", "BYTES", "REFS")
			for _, v := range list.Values {
				objects := fmt.Sprint(v.Objects)
				if !v.Complete {
					objects = "incomplete"
				}
				t.row(v.Checksum, v.Subject, when(v.PushedAt), objects, fmt.Sprint(v.Size), strings.Join(v.Refs, " "))
			}
			err := t.end()
			p.rest(w, len(list.Values), list.Total)
			return err
		})
	})
	p.bind(c)
	return c
}
