package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"sealift/uptane"
	model "sealift/uptane/ceremony"
)

func newRootRevoke(f *operatorFlags) *cobra.Command {
	var at deskFlags
	var files []string
	var replace bool
	c := f.speak(&cobra.Command{Use: "revoke KEYID ...", Short: "A key is stolen: replace it, now, and hear what to do next", Args: args(cobra.MinimumNArgs(1)),
		Long: `Replaces stolen keys by a new root of their repository: an online one by a new key on the server,
an offline one by --replacement or by a new key in your signing home. It is drafted, shown, signed
with the keys at hand and published when these are enough. Devices refuse the thief from their next
poll on. What else to do depends on the key; the command says it. sealift root show lists the ids.`,
		Example: `  sealift root revoke KEYID
  sealift root revoke KEYID --home bob --replacement carol-2.pub   # Carol's root key; others sign, too`},
		func(k *client, c *cobra.Command, ids []string) error {
			left := slices.Clone(ids)
			var done []func(io.Writer)
			for _, repo := range repositories {
				d, err := openDesk(c.Context(), k, at, repo)
				if errors.Is(err, errOtherRepository) && at.home != "" {
					continue
				}
				if err != nil {
					return err
				}
				mine := slices.DeleteFunc(slices.Clone(left), func(id string) bool { role, _ := d.before.RoleOf(uptane.KeyID(id)); return role == "" })
				if len(mine) == 0 {
					continue
				}
				left = slices.DeleteFunc(left, func(id string) bool { return slices.Contains(mine, id) })
				advice, err := d.revoke(c.Context(), mine, files, replace)
				if err != nil {
					return err
				}
				done = append(done, advice...)
			}
			for _, say := range done {
				say(k.out)
			}
			if len(left) > 0 {
				return fmt.Errorf("no root names the key %s: sealift root show lists the keys in force", plain(left[0]))
			}
			return nil
		})
	at.bind(c)
	c.Flags().StringArrayVar(&files, "replacement", nil, "public key that takes the place of an offline one, FILE.pub (repeatable)")
	c.Flags().BoolVar(&replace, "replace", false, "give up the draft that waits and its signatures")
	return c
}

// revoke replaces keys of one repository and returns what to say of each role.
func (d *desk) revoke(ctx context.Context, ids, files []string, replace bool) ([]func(io.Writer), error) {
	r := &rotation{desk: d, ask: rootRequest{Repository: d.repo, Roles: map[uptane.Role]model.Trust{}}}
	gone := map[uptane.Role][]uptane.Key{}
	for _, id := range ids {
		role, key := d.before.RoleOf(uptane.KeyID(id))
		gone[role] = append(gone[role], key)
	}
	var given []uptane.Key
	for _, file := range files {
		key, err := readPublic(file)
		if err != nil {
			return nil, fmt.Errorf("--replacement %s: %w", plain(file), err)
		}
		given = append(given, key)
	}
	var advice []func(io.Writer)
	for _, role := range model.Roles() {
		if len(gone[role]) == 0 {
			continue
		}
		advice = append(advice, func(w io.Writer) { afterTheft(w, d.repo, role) })
		if model.Online(d.repo, role) {
			r.ask.Rotate = append(r.ask.Rotate, role)
			continue
		}
		if err := r.replaceKeys(role, gone[role], given); err != nil {
			return nil, err
		}
	}
	return advice, r.carryOut(ctx, replace)
}

// afterTheft says what to do next.
func afterTheft(w io.Writer, repo uptane.Repository, role uptane.Role) {
	fmt.Fprintf(w, "\nAfter the theft of a %s key of the %s repository:\n", role, repo)
	for i, line := range nextSteps(repo, role) {
		fmt.Fprintf(w, "%d. %s\n", i+1, line)
	}
}

func nextSteps(repo uptane.Repository, role uptane.Role) []string {
	switch {
	case model.Online(repo, role):
		return []string{
			"It was on the server: whoever took it could read the others. Unless you know better, sealift root rotate --role snapshot,timestamp and --repository director --role targets.",
			"Close the way in first, or the new keys go the same way. A copy of the database with the master key is the whole server: docs/trust.md, \"The whole server\".",
			"sealift audit verify tells whether the record was edited; signatures that are not in it were made elsewhere.",
		}
	case role == uptane.RoleTargets:
		return []string{
			"sealift target list: whatever none of you has signed must go: sealift target retire, garage-sign targets delete.",
			"Give the builds a new archive: garage-sign export-credentials; better one with --propose, which has no key.",
			"Devices that have installed the thief's image: sealift status, and an update to a good one.",
		}
	}
	return []string{
		"One root key alone signs nothing while the threshold is two or more; with a threshold of one the thief could have made a root: sealift root show must show no version that you do not know.",
		"Raise the threshold if it was one: sealift root draft --threshold root=2 --add root=FILE.pub.",
		"Keys that lay in the same place are stolen, too: revoke them as well.",
	}
}
