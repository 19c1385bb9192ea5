package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sealift/internal/home"
	"sealift/uptane"
	model "sealift/uptane/ceremony"
)

// repositories are both, in the order in which devices read them.
var repositories = []uptane.Repository{uptane.DirectorRepository, uptane.ImageRepository}

// newRoot is `sealift root`.
func newRoot() *cobra.Command {
	root := &cobra.Command{Use: "root", Short: "Ceremonies: new roots, signed by people at different times; new keys",
		Long: `The root of a repository names every key that counts. A new one is drafted on the server, signed
by people where their keys are, and published when enough of the old and of the new root keys have
signed. Who signs sees what changes, and signs what this command has encoded itself.
docs/trust.md has every ceremony as a session.`}
	var f operatorFlags
	f.bind(root)
	root.AddCommand(newRootShow(&f), newRootDraft(&f), newRootSign(&f), newRootPublish(&f), newRootWithdraw(&f), newRootRotate(&f), newRootRevoke(&f))
	return root
}

// repositoryFlag is --repository.
func repositoryFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "repository", "", "image or director")
}

func repositoryOf(name string) (uptane.Repository, error) {
	if repo := uptane.Repository(name); slices.Contains(repositories, repo) {
		return repo, nil
	}
	return "", usage(fmt.Errorf("--repository is image or director, not %q", name))
}

func newRootShow(f *operatorFlags) *cobra.Command {
	var name string
	c := f.speak(&cobra.Command{Use: "show", Short: "Show the keys of a root, and the root that waits for signatures", Args: args(cobra.NoArgs)},
		func(k *client, c *cobra.Command, _ []string) error {
			list := repositories
			if name != "" {
				repo, err := repositoryOf(name)
				if err != nil {
					return err
				}
				list = []uptane.Repository{repo}
			}
			for _, repo := range list {
				if err := showRoot(c.Context(), k, repo); err != nil {
					return err
				}
			}
			return nil
		})
	repositoryFlag(c, &name)
	return c
}

func showRoot(ctx context.Context, k *client, repo uptane.Repository) error {
	m, err := k.rootModel(ctx, repo)
	if err != nil {
		return err
	}
	fmt.Fprintf(k.out, "%s repository: root version %d, valid until %s\n", repo, m.Version, m.Expires.Format(time.DateOnly))
	t := newTable(k.out, "ROLE", "SIGN", "WHERE", "KEY")
	for _, role := range model.Roles() {
		where := "offline"
		if model.Online(repo, role) {
			where = "server"
		}
		for _, key := range m.Roles[role].Keys {
			t.row(string(role), fmt.Sprintf("%d of %d", m.Roles[role].Threshold, len(m.Roles[role].Keys)), where, string(key.ID()))
		}
	}
	if err := t.end(); err != nil {
		return err
	}
	a, err := k.draft(ctx, repo)
	if err != nil || a == nil {
		return err
	}
	a.print(k.out)
	return nil
}

// rootModel is what the root in force says, by the word of the server.
func (k *client) rootModel(ctx context.Context, repo uptane.Repository) (model.Model, error) {
	path := "/api/v1/user_repo/root.json"
	if repo == uptane.DirectorRepository {
		path = "/api/v1/director/admin/repo/root.json"
	}
	raw, err := k.get(ctx, path, nil)
	if err != nil {
		return model.Model{}, err
	}
	doc, err := uptane.OpenRoot(uptane.Uptane, raw, nil, time.Time{})
	if err != nil {
		return model.Model{}, err
	}
	return model.Of(&doc.Payload)
}

func (a *rootDraftAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "A draft waits until %s, begun by %s:\n", a.EndsAt.Format(time.DateOnly), plain(a.CreatedBy))
	for _, line := range model.Diff(a.Before, a.Model) {
		fmt.Fprintf(w, "  %s\n", plain(line))
	}
	fmt.Fprintf(w, "  %s\n", counts(a.Quorum))
	for _, id := range a.SignedBy {
		fmt.Fprintf(w, "  signed by %s\n", plain(id))
	}
}

// rootEdit is what `sealift root draft` is told.
type rootEdit struct {
	repository              string
	rotate, add, thresholds []string
	remove                  []string
	days                    int
	replace                 bool
}

// rootRequest is how the api is told.
type rootRequest struct {
	Repository uptane.Repository           `json:"repository"`
	Replaces   string                      `json:"replaces,omitempty"`
	Expires    *time.Time                  `json:"expires,omitempty"`
	Roles      map[uptane.Role]model.Trust `json:"roles,omitempty"`
	Rotate     []uptane.Role               `json:"rotate,omitempty"`
	KeyType    string                      `json:"keyType,omitempty"`
}

func newRootDraft(f *operatorFlags) *cobra.Command {
	var e rootEdit
	c := f.speak(&cobra.Command{Use: "draft --repository NAME", Short: "Begin the next root of a repository; nothing changes before it is published", Args: args(cobra.NoArgs),
		Long: `Begins the root that is to follow the one in force: the same, but for what the flags change, and
valid for a year from now. Without any flag only the time changes.`,
		Example: `  sealift root draft --repository image --days 400
  sealift root draft --repository image --add root=bob.pub --add root=carol.pub --threshold root=2
  sealift root draft --repository director --rotate timestamp`},
		func(k *client, c *cobra.Command, _ []string) error {
			repo, err := repositoryOf(e.repository)
			if err != nil {
				return err
			}
			before, err := k.rootModel(c.Context(), repo)
			if err != nil {
				return err
			}
			ask, err := e.request(repo, before)
			if err != nil {
				return usage(err)
			}
			a, err := k.begin(c.Context(), ask, e.replace)
			if err != nil {
				return err
			}
			a.print(k.out)
			fmt.Fprintf(k.out, "Whoever has a root key: sealift root sign --repository %s\n", repo)
			return nil
		})
	repositoryFlag(c, &e.repository)
	c.Flags().StringSliceVar(&e.rotate, "rotate", nil, "role signed on the server that gets new keys (repeatable)")
	c.Flags().StringArrayVar(&e.add, "add", nil, "ROLE=FILE.pub: a public key that may sign for a role (repeatable)")
	c.Flags().StringSliceVar(&e.remove, "remove", nil, "id of a key that may sign no longer (repeatable)")
	c.Flags().StringSliceVar(&e.thresholds, "threshold", nil, "ROLE=N: how many keys of a role must sign (repeatable)")
	c.Flags().IntVar(&e.days, "days", 365, "how long the root is valid")
	c.Flags().BoolVar(&e.replace, "replace", false, "give up the draft that waits and its signatures")
	return c
}

// request puts the edit into words for the api.
func (e rootEdit) request(repo uptane.Repository, before model.Model) (rootRequest, error) {
	ask := rootRequest{Repository: repo, Roles: map[uptane.Role]model.Trust{}}
	for _, role := range e.rotate {
		ask.Rotate = append(ask.Rotate, uptane.Role(role))
	}
	if e.days < 1 {
		return ask, fmt.Errorf("--days %d: a root needs a day at least", e.days)
	}
	expires := time.Now().UTC().Truncate(time.Second).Add(time.Duration(e.days) * 24 * time.Hour)
	ask.Expires = &expires
	trust := func(role uptane.Role) model.Trust {
		t, ok := ask.Roles[role]
		if !ok {
			t = model.Trust{Threshold: before.Roles[role].Threshold, Keys: slices.Clone(before.Roles[role].Keys)}
		}
		return t
	}
	for _, id := range e.remove {
		role, key := before.RoleOf(uptane.KeyID(id))
		if role == "" {
			return ask, fmt.Errorf("--remove %s: the root names no such key", plain(id))
		}
		t := trust(role)
		t.Keys = slices.DeleteFunc(t.Keys, func(k uptane.Key) bool { return k == key })
		ask.Roles[role] = t
	}
	for _, given := range e.add {
		role, file, _ := strings.Cut(given, "=")
		key, err := readPublic(file)
		if err != nil {
			return ask, fmt.Errorf("--add %s: %w", plain(given), err)
		}
		t := trust(uptane.Role(role))
		t.Keys = append(t.Keys, key)
		ask.Roles[uptane.Role(role)] = t
	}
	for _, given := range e.thresholds {
		role, number, _ := strings.Cut(given, "=")
		n, err := strconv.Atoi(number)
		if err != nil {
			return ask, fmt.Errorf("--threshold %q is not ROLE=N", given)
		}
		t := trust(uptane.Role(role))
		t.Threshold = n
		ask.Roles[uptane.Role(role)] = t
	}
	return ask, nil
}

// readPublic reads a .pub file of a signing home, or PEM.
func readPublic(file string) (uptane.Key, error) {
	raw, err := readLimited(file, maxRootFile)
	if err != nil {
		return uptane.Key{}, err
	}
	return home.ParsePublic(raw)
}

// begin drafts a root on the server. Where one waits already it is given up if
// replace is set.
func (k *client) begin(ctx context.Context, ask rootRequest, replace bool) (*rootDraftAnswer, error) {
	old, err := k.draft(ctx, ask.Repository)
	if err != nil {
		return nil, err
	}
	if old != nil && !replace {
		return nil, fmt.Errorf("root version %d of the %s repository waits for signatures already: sealift root show; --replace gives it up", old.Model.Version, ask.Repository)
	}
	if old != nil {
		ask.Replaces = old.ID
	}
	var a rootDraftAnswer
	_, err = k.ask(ctx, http.MethodPost, rootDraftsPath, ask, &a)
	return &a, err
}

func newRootSign(f *operatorFlags) *cobra.Command {
	var name string
	var at deskFlags
	c := f.speak(&cobra.Command{Use: "sign --repository NAME", Short: "Look at the root that waits, and sign it", Args: args(cobra.NoArgs),
		Long: `Shows what the root that waits changes against the root that your own signing home trusts, asks, and
signs with the root keys of the home: what is signed is encoded here, never bytes of the server's.`,
		Example: `  sealift root sign --repository image                 # the offline folder of init
  sealift root sign --repository image --home bob      # a home of your own
  sealift root sign --repository director --home bob --trust import/director/root.json`},
		func(k *client, c *cobra.Command, _ []string) error {
			repo, err := repositoryOf(name)
			if err != nil {
				return err
			}
			a, err := k.mustDraft(c.Context(), repo)
			if err != nil {
				return err
			}
			d, err := openDesk(c.Context(), k, at, repo)
			if err != nil {
				return err
			}
			if a, err = d.sign(c.Context(), a); err == nil && a.Complete {
				fmt.Fprintf(k.out, "That is enough: sealift root publish --repository %s\n", repo)
			}
			return err
		})
	at.bind(c)
	repositoryFlag(c, &name)
	return c
}

func newRootPublish(f *operatorFlags) *cobra.Command {
	return f.speakOfDraft(&cobra.Command{Use: "publish --repository NAME", Short: "Make the root that enough people have signed the one in force"}, (*client).publishRoot)
}

func newRootWithdraw(f *operatorFlags) *cobra.Command {
	return f.speakOfDraft(&cobra.Command{Use: "withdraw --repository NAME", Short: "Give up the root that waits, with its signatures and the keys made for it"},
		func(k *client, ctx context.Context, a *rootDraftAnswer) error {
			if _, err := k.ask(ctx, http.MethodDelete, rootDraftsPath+"/"+a.ID, nil, nil); err != nil {
				return err
			}
			fmt.Fprintf(k.out, "Root version %d of the %s repository is given up\n", a.Model.Version, plain(a.Repository))
			return nil
		})
}

// speakOfDraft makes a command about the root of --repository that waits.
func (f *operatorFlags) speakOfDraft(c *cobra.Command, run func(*client, context.Context, *rootDraftAnswer) error) *cobra.Command {
	var name string
	c.Args = args(cobra.NoArgs)
	f.speak(c, func(k *client, c *cobra.Command, _ []string) error {
		repo, err := repositoryOf(name)
		if err != nil {
			return err
		}
		a, err := k.mustDraft(c.Context(), repo)
		if err != nil {
			return err
		}
		return run(k, c.Context(), a)
	})
	repositoryFlag(c, &name)
	return c
}
