package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newToken is `sealift token`.
func newToken() *cobra.Command {
	token := &cobra.Command{Use: "token", Short: "Make, list and revoke API tokens"}
	var f operatorFlags
	f.bind(token)
	token.AddCommand(newTokenCreate(&f), newTokenList(&f),
		f.speak(&cobra.Command{Use: "revoke ID", Short: "Take a token back", Args: args(cobra.ExactArgs(1))}, func(k *client, c *cobra.Command, given []string) error {
			if _, err := k.ask(c.Context(), http.MethodDelete, "/api/v1/tokens/"+url.PathEscape(given[0]), nil, nil); err != nil {
				return err
			}
			fmt.Fprintf(k.out, "token %s is revoked\n", plain(given[0]))
			return nil
		}))
	return token
}

type tokenAnswer struct {
	ID, Name, Token                           string
	Scopes                                    []string
	CreatedAt, ExpiresAt, RevokedAt, LastUsed *time.Time
}

func newTokenCreate(f *operatorFlags) *cobra.Command {
	var name string
	var scopes []string
	var days int
	c := f.speak(&cobra.Command{
		Use: "create --name NAME --scope SCOPE", Short: "Make a token and print it, once", Args: args(cobra.NoArgs),
		Long: `Makes a token and prints it; nobody can find it out later. Scopes: read, treehub:push,
repo:sign, director:write, registry:write, admin; delegation:ROLE for a supplier who signs
for a delegated role: its metadata and images, and commits with refs below ROLE/, nothing else.
garage-sign delegations export-credentials makes an archive for it.`,
	}, func(k *client, c *cobra.Command, _ []string) error {
		if name == "" || len(scopes) == 0 {
			return usage(errors.New("--name and at least one --scope are needed"))
		}
		var made tokenAnswer
		raw, err := k.ask(c.Context(), http.MethodPost, "/api/v1/tokens", map[string]any{"name": name, "scopes": scopes, "days": days}, &made)
		if err != nil {
			return err
		}
		return k.show(raw, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, made.Token)
			return err
		})
	})
	c.Flags().StringVar(&name, "name", "", "what the token is for")
	c.Flags().StringSliceVar(&scopes, "scope", nil, "what it may do (repeatable)")
	c.Flags().IntVar(&days, "days", 0, "how long it is good; 0 does not end")
	return c
}

func newTokenList(f *operatorFlags) *cobra.Command {
	var p pageFlags
	c := f.speak(&cobra.Command{Use: "list", Short: "List tokens, the newest first", Args: args(cobra.NoArgs)}, func(k *client, c *cobra.Command, _ []string) error {
		var list page[tokenAnswer]
		raw, err := k.get(c.Context(), p.query("/api/v1/tokens", url.Values{}), &list)
		if err != nil {
			return err
		}
		return k.show(raw, func(w io.Writer) error {
			t := newTable(w, "ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "REVOKED", "LAST USED")
			for _, a := range list.Values {
				t.row(a.ID, a.Name, strings.Join(a.Scopes, " "), when(a.CreatedAt), when(a.ExpiresAt), when(a.RevokedAt), when(a.LastUsed))
			}
			err := t.end()
			p.rest(w, len(list.Values), list.Total)
			return err
		})
	})
	p.bind(c)
	return c
}
