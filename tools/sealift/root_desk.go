package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/theupdateframework/go-tuf/v2/metadata"
	"golang.org/x/term"

	"sealift/internal/home"
	"sealift/internal/kms"
	"sealift/internal/reposerver"
	"sealift/uptane"
	model "sealift/uptane/ceremony"
)

const rootDraftsPath = "/api/v1/root-drafts"

// maxRootFile is more than any root has.
const maxRootFile = 256 << 10

var errOtherRepository = errors.New("name another --home or --repository")

// deskFlags say where somebody signs.
type deskFlags struct {
	offline, home, trust string
	keys                 []string
	yes                  bool
}

func (f *deskFlags) bind(c *cobra.Command) {
	c.Flags().StringVar(&f.offline, "offline", "./sealift-offline", "offline folder; the homes image and director in it sign")
	c.Flags().StringVar(&f.home, "home", "", "a signing home of your own, as garage-sign init makes it, in place of --offline")
	c.Flags().StringVar(&f.trust, "trust", "", "root.json to start trust from, for a home that has no root yet")
	c.Flags().StringSliceVar(&f.keys, "key-name", nil, "key to sign with (repeatable); default: every key of the home that a root names")
	c.Flags().BoolVar(&f.yes, "yes", false, "sign without being asked, after the changes were shown")
}

// desk is where a person signs: a home with keys, and the server that is not
// believed.
type desk struct {
	*client
	f      deskFlags
	home   *home.Home
	repo   uptane.Repository
	server *reposerver.Server
	root   uptane.Document[metadata.RootType] // trusted, and the server's newest
	before model.Model                        // what it says
}

// bearer adds the operator's token to requests.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// openDesk opens the home and follows the server's roots from the one that the
// home trusts.
func openDesk(ctx context.Context, k *client, f deskFlags, repo uptane.Repository) (*desk, error) {
	d := &desk{client: k, f: f, repo: repo}
	dir, path := f.home, "/api/v1/user_repo"
	if dir == "" {
		dir = filepath.Join(f.offline, string(repo))
	}
	warn := func(text string) { fmt.Fprintf(os.Stderr, "sealift: warning: %s\n", plain(text)) }
	h, err := home.Open(dir, home.Options{Warn: warn, Service: kms.New(kms.Config{}),
		Passphrases: &home.Passphrases{Getenv: os.Getenv, Names: []string{"SEALIFT_PASSPHRASE", "GARAGE_SIGN_PASSPHRASE"}, Prompt: prompt()}})
	if err != nil {
		return nil, usage(err)
	}
	if h.Config().ServerType.Repository() != repo {
		return nil, usage(fmt.Errorf("%s signs for the %s repository, not for the %s repository: %w", dir, h.Config().ServerType.Repository(), repo, errOtherRepository))
	}
	if repo == uptane.DirectorRepository {
		path = "/api/v1/director/admin/repo"
	}
	d.home = h
	d.server = reposerver.New(reposerver.Config{URL: k.Server + path, Agent: "sealift/" + version, Warn: warn,
		Client: &http.Client{Transport: bearer{k.Token, k.http.Transport}, Timeout: k.http.Timeout}})
	if _, err := h.Root(); errors.Is(err, home.ErrNotFound) && f.trust != "" {
		raw, err := readLimited(f.trust, maxRootFile)
		if err == nil {
			_, err = h.PullRoot(raw, nil, false)
		}
		if err != nil {
			return nil, fmt.Errorf("reading --trust: %w", err)
		}
	}
	return d, d.follow(ctx)
}

func (d *desk) follow(ctx context.Context) error {
	_, err := d.server.FollowRoots(ctx, d.home)
	if errors.Is(err, home.ErrNotFound) {
		return usage(fmt.Errorf("%s has no root to start trust from; name one with --trust: sealift init left them in sealift-out/import", d.home.Dir()))
	}
	if err != nil {
		return err
	}
	if d.root, err = d.home.Root(); err != nil {
		return err
	}
	d.before, err = model.Of(&d.root.Payload)
	return err
}

// rootDraftAnswer is a root that waits for signatures.
type rootDraftAnswer struct{ reposerver.RootDraft }

// draft asks for the root of a repository that waits; nil if none does.
func (k *client) draft(ctx context.Context, repo uptane.Repository) (*rootDraftAnswer, error) {
	var list page[rootDraftAnswer]
	if _, err := k.get(ctx, rootDraftsPath, &list); err != nil {
		return nil, err
	}
	for i, a := range list.Values {
		if a.Repository == string(repo) {
			return &list.Values[i], nil
		}
	}
	return nil, nil
}

// mustDraft is draft where there has to be one.
func (k *client) mustDraft(ctx context.Context, repo uptane.Repository) (*rootDraftAnswer, error) {
	a, err := k.draft(ctx, repo)
	if err == nil && a == nil {
		err = fmt.Errorf("no root of the %s repository waits for signatures; sealift root draft begins one", repo)
	}
	return a, err
}

// review shows what the server's draft becomes here, and refuses one that is named
// for other bytes.
func (d *desk) review(a *rootDraftAnswer) (model.Payloads, error) {
	p, lines, err := d.home.ReviewDraft(a.Model, a.ID)
	if len(lines) > 0 {
		fmt.Fprintf(d.out, "Root of the %s repository, %s:\n", d.repo, p.ID)
	}
	for _, line := range lines {
		fmt.Fprintf(d.out, "  %s\n", plain(line))
	}
	return p, err
}

// signers are the keys of the home that the root in force or the next one names,
// but those that are to go, unless they are needed.
func (d *desk) signers(next model.Model) ([]string, error) {
	if len(d.f.keys) > 0 {
		return d.f.keys, nil
	}
	old, own := d.before.Roles[uptane.RoleRoot], next.Roles[uptane.RoleRoot]
	var stay, leave []string
	reached := 0
	for _, key := range old.Keys {
		switch name := d.home.Keys().Named(key); {
		case name == "":
		case own.Has(key):
			stay, reached = append(stay, name), reached+1
		default:
			leave = append(leave, name)
		}
	}
	for _, key := range own.Keys {
		if name := d.home.Keys().Named(key); name != "" && !old.Has(key) {
			stay = append(stay, name)
		}
	}
	stay = append(stay, leave[:max(0, min(len(leave), old.Threshold-reached))]...)
	if len(stay) == 0 {
		return nil, fmt.Errorf("no root key of the %s repository is in %s", d.repo, d.home.Dir())
	}
	return stay, nil
}

// sign shows the draft, asks, signs and sends the signatures.
func (d *desk) sign(ctx context.Context, a *rootDraftAnswer) (*rootDraftAnswer, error) {
	p, err := d.review(a)
	if err != nil {
		return a, err
	}
	names, err := d.signers(a.Model)
	if err != nil {
		return a, err
	}
	if err := d.confirm("Sign this with " + strings.Join(names, " and ") + "?"); err != nil {
		return a, err
	}
	sigs, tuf, err := d.home.SignDraft(ctx, p, names)
	if err != nil {
		return a, err
	}
	body := map[string]json.RawMessage{"uptane": sigs}
	if tuf != nil {
		body["tuf"] = tuf
	}
	var now rootDraftAnswer
	if _, err := d.ask(ctx, http.MethodPost, rootDraftsPath+"/"+a.ID+"/signatures", body, &now); err != nil {
		return a, err
	}
	fmt.Fprintf(d.out, "Signed with %s: %s\n", strings.Join(names, " and "), counts(now.Quorum))
	return &now, nil
}

func counts(q model.Quorum) string {
	return fmt.Sprintf("%d of %d keys of the root before and %d of %d of its own have signed", q.Old, q.OldNeeds, q.New, q.NewNeeds)
}

// confirm asks on the terminal, unless --yes was given.
func (d *desk) confirm(question string) error {
	if d.f.yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return usage(errors.New("nobody can be asked here; read the changes above and give --yes"))
	}
	fmt.Fprintf(os.Stderr, "%s [y/N] ", question)
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if !slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(line))) {
		return errors.New("not signed")
	}
	return nil
}

// replicasFollow is how long it takes until every replica serves a new root.
const replicasFollow = 1100 * time.Millisecond

// publishRoot publishes a draft that enough have signed. When it returns, every
// replica knows the root: what comes next may reach any of them.
func (k *client) publishRoot(ctx context.Context, a *rootDraftAnswer) error {
	if _, err := k.ask(ctx, http.MethodPost, rootDraftsPath+"/"+a.ID+"/publish", nil, nil); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(replicasFollow):
	}
	fmt.Fprintf(k.out, "Published root version %d of the %s repository\n", a.Model.Version, plain(a.Repository))
	return nil
}
