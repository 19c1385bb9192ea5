package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"sealift/internal/home"
	"sealift/uptane"
	model "sealift/uptane/ceremony"
)

// rotation is a root with new keys, drafted, signed and published in one go where
// enough keys are at hand.
type rotation struct {
	*desk
	ask     rootRequest
	targets []string // keys of the image targets from then on that are at hand
	waiting bool     // others must sign
}

func newRootRotate(f *operatorFlags) *cobra.Command {
	var name string
	var roles []string
	var keytype string
	var replace bool
	var at deskFlags
	c := f.speak(&cobra.Command{Use: "rotate --role ROLE,...", Short: "Give roles new keys: online ones on the server, offline ones in the signing home", Args: args(cobra.NoArgs),
		Long: `Gives roles new keys: makes them (online roles on the server, root and image targets in your
signing home), drafts the root that names them, shows it, signs it with the keys at hand, and
publishes it when these are enough; else it waits for the others (sealift root sign). The server
keeps its old keys until the root is published, and deletes them with that.

Of an offline role the keys in your home are replaced, not those of other people; the successor of a
key in a PKCS#11 token is made in that token. When the image targets key changes, the targets are
signed anew and pushed at once, and builds need a new archive: it is said how.`,
		Example: `  sealift root rotate --role snapshot,timestamp                 # online keys of both repositories
  sealift root rotate --role targets --repository director
  sealift root rotate --role root --repository image --home bob # your own root key, in your own home
  sealift root rotate --role all                                # everything, with the offline folder`},
		func(k *client, c *cobra.Command, _ []string) error {
			list := repositories
			if name != "" {
				repo, err := repositoryOf(name)
				if err != nil {
					return err
				}
				list = []uptane.Repository{repo}
			}
			if at.home != "" && len(list) > 1 {
				return usage(errors.New("--home signs for one repository: say which with --repository"))
			}
			wanted, err := rolesOf(roles)
			if err != nil {
				return err
			}
			if _, _, err := home.ParseKeyType(keytype); err != nil {
				return usage(fmt.Errorf("reading --key-type: %w", err))
			}
			for _, repo := range list {
				d, err := openDesk(c.Context(), k, at, repo)
				if err != nil {
					return err
				}
				if err := d.rotate(c.Context(), wanted, keytype, replace); err != nil {
					return err
				}
			}
			return nil
		})
	at.bind(c)
	repositoryFlag(c, &name)
	c.Flags().StringSliceVar(&roles, "role", nil, "root, targets, snapshot, timestamp, or all")
	c.Flags().StringVar(&keytype, "key-type", "", "ed25519, rsa2048, rsa3072 or rsa4096 (default: that of the key that goes)")
	c.Flags().BoolVar(&replace, "replace", false, "give up the draft that waits and its signatures")
	return c
}

func rolesOf(names []string) ([]uptane.Role, error) {
	if slices.Equal(names, []string{"all"}) {
		return model.Roles(), nil
	}
	var list []uptane.Role
	for _, name := range names {
		if !slices.Contains(model.Roles(), uptane.Role(name)) {
			return nil, usage(fmt.Errorf("--role %q is not root, targets, snapshot, timestamp or all", name))
		}
		if !slices.Contains(list, uptane.Role(name)) {
			list = append(list, uptane.Role(name))
		}
	}
	if len(list) == 0 {
		return nil, usage(errors.New("--role is missing: root, targets, snapshot, timestamp, or all"))
	}
	return list, nil
}

// rotate replaces the keys of roles: all that are online, and of an offline role
// those that are in this home.
func (d *desk) rotate(ctx context.Context, roles []uptane.Role, keytype string, replace bool) error {
	r := &rotation{desk: d, ask: rootRequest{Repository: d.repo, Roles: map[uptane.Role]model.Trust{}, KeyType: keytype}}
	for _, role := range roles {
		if model.Online(d.repo, role) {
			r.ask.Rotate = append(r.ask.Rotate, role)
			continue
		}
		var mine []uptane.Key
		for _, key := range d.before.Roles[role].Keys {
			if d.home.Keys().Named(key) != "" {
				mine = append(mine, key)
			}
		}
		if len(mine) == 0 {
			return fmt.Errorf("no %s key of the %s repository is in %s: whoever holds one rotates it", role, d.repo, d.home.Dir())
		}
		if err := r.replaceKeys(role, mine, nil); err != nil {
			return err
		}
	}
	return r.carryOut(ctx, replace)
}

// replaceKeys lets others sign for an offline role in place of gone: those given,
// or new keys that are made in this home, as many as go, each of the type and at the
// place of the one that goes.
func (r *rotation) replaceKeys(role uptane.Role, gone, given []uptane.Key) error {
	t := model.Trust{Threshold: r.before.Roles[role].Threshold}
	for _, key := range r.before.Roles[role].Keys {
		if !slices.Contains(gone, key) {
			t.Keys = append(t.Keys, key)
		}
	}
	t.Keys = append(t.Keys, given...)
	if len(given) == 0 {
		for _, old := range gone {
			name := r.freeName(string(role))
			key, err := r.home.Keys().Successor(name, old, r.ask.KeyType)
			if err != nil {
				return err
			}
			t.Keys = append(t.Keys, key)
			fmt.Fprintf(r.out, "Made key %s in %s\n", name, r.home.Dir())
		}
	}
	r.ask.Roles[role] = t
	if role == uptane.RoleTargets {
		for _, key := range t.Keys {
			if name := r.home.Keys().Named(key); name != "" {
				r.targets = append(r.targets, name)
			}
		}
	}
	return nil
}

func (r *rotation) freeName(role string) string {
	for n := 2; ; n++ {
		if name := fmt.Sprintf("%s-%d", role, n); !r.home.Keys().Has(name) {
			return name
		}
	}
}

// carryOut drafts, signs and publishes. Image targets are pulled before, while
// they can be verified, and signed anew after.
func (r *rotation) carryOut(ctx context.Context, replace bool) error {
	_, targets := r.ask.Roles[uptane.RoleTargets]
	checksum := ""
	if targets {
		raw, sum, err := r.server.Targets(ctx)
		if err == nil {
			_, err = r.home.PullTargets(raw, sum)
		}
		if err != nil {
			return err
		}
		checksum = sum
	}
	a, err := r.begin(ctx, r.ask, replace)
	if err == nil {
		a, err = r.sign(ctx, a)
	}
	if err != nil {
		return err
	}
	if r.waiting = !a.Complete; r.waiting {
		fmt.Fprintf(r.out, "It waits for the others until %s: sealift root sign --repository %s\n", a.EndsAt.Format("2006-01-02"), r.repo)
		if targets {
			fmt.Fprintln(r.out, "Once it is published, sign the targets with the new key at once: garage-sign targets sign, targets push")
		}
		return nil
	}
	if err := r.publishRoot(ctx, a); err != nil {
		return err
	}
	if err := r.follow(ctx); err != nil || !targets {
		return err
	}
	return r.renewTargets(ctx, checksum)
}

// renewTargets signs the targets with the keys that the new root names.
func (r *rotation) renewTargets(ctx context.Context, checksum string) error {
	if need := r.before.Roles[uptane.RoleTargets].Threshold; len(r.targets) < need {
		fmt.Fprintf(r.out, "Devices refuse the targets until %d of the new keys have signed them: garage-sign targets propose, targets cosign\n", need)
		return nil
	}
	signed, err := r.home.SignTargets(ctx, home.Signing{Keys: r.targets})
	if err != nil {
		return err
	}
	now, err := r.server.PutTargets(ctx, signed, checksum)
	if err != nil {
		return fmt.Errorf("%w\nThe root is published; devices refuse the targets until they are signed with its keys: garage-sign targets sign, targets push", err)
	}
	fmt.Fprintf(r.out, "Published targets version %d, signed with the new key, valid until %s\n", signed.Version, signed.Expires.Format("2006-01-02"))
	fmt.Fprintf(r.out, "What builds have can sign no more. A new archive: garage-sign export-credentials --home-dir %s --repo %s --key-name %s --reseal --output build.zip\n",
		filepath.Dir(r.home.Dir()), filepath.Base(r.home.Dir()), r.targets[0])
	return r.home.Pushed(uptane.RoleTargets, signed, now)
}
