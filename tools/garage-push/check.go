package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"sealift/treehub/ostree"
)

type checkOptions struct {
	common
	ref, credentials, treeDir string
	walkTree                  bool
}

func parseCheck(args []string, out *screen) (*checkOptions, error) {
	o := new(checkOptions)
	f := newFlags("garage-check", &o.common)
	f.StringVarP(&o.ref, "ref", "r", "", "refhash to check (required)")
	f.StringVarP(&o.credentials, "credentials", "j", "", "credentials: archive or treehub.json (required)")
	f.BoolVarP(&o.walkTree, "walk-tree", "w", false, "fetch and verify the entire tree")
	f.StringVarP(&o.treeDir, "tree-dir", "t", "", "folder to keep the fetched tree in, an OSTree repository (only with --walk-tree)")
	return o, o.parse(f, args, out, "ref", "credentials")
}

func runCheck(ctx context.Context, args []string, out *screen) int {
	o, err := parseCheck(args, out)
	if err == nil {
		err = check(ctx, o, out)
	}
	if err != nil {
		return fail(ctx, out, err)
	}
	return 0
}

// check looks for the object in TreeHub, with -w for all below it, and, if it
// is a commit, for a signed target that names it.
func check(ctx context.Context, o *checkOptions, out *screen) error {
	sum, err := ostree.ParseChecksum(o.ref)
	if err != nil {
		return fmt.Errorf("--ref %s is no refhash: %w", o.ref, err)
	}
	s, err := connect(ctx, "garage-check", o.credentials, &o.common, out)
	if err != nil {
		return err
	}
	root, err := findObject(ctx, s, sum, o.walkTree)
	if err != nil {
		return err
	}
	out.say(levelInfo, "OSTree object %s is found in treehub", root)
	if o.walkTree {
		if err := walkTree(ctx, s, root, o, out); err != nil {
			return err
		}
	}
	if root.Type != ostree.TypeCommit {
		out.say(levelInfo, "%s is no commit, so targets are not checked", root)
		return nil
	}
	return checkTargets(ctx, s, sum, out)
}

// findObject finds out what kind of object a checksum belongs to. Only with
// any may it be something other than a commit.
func findObject(ctx context.Context, s *session, sum ostree.Checksum, any bool) (ostree.ObjectName, error) {
	kinds := []ostree.ObjectType{ostree.TypeCommit}
	if any {
		kinds = append(kinds, ostree.TypeFile, ostree.TypeDirMeta, ostree.TypeDirTree)
	}
	for _, kind := range kinds {
		name := ostree.ObjectName{Checksum: sum, Type: kind}
		has, err := s.hub.Has(ctx, name)
		if err != nil {
			return ostree.ObjectName{}, err
		}
		if has {
			return name, nil
		}
	}
	if any {
		return ostree.ObjectName{}, fmt.Errorf("OSTree object %s is missing in treehub or of unknown type", sum)
	}
	return ostree.ObjectName{}, fmt.Errorf("OSTree commit %s is missing in treehub", sum)
}

// walkTree fetches and verifies all objects from root downwards.
func walkTree(ctx context.Context, s *session, root ostree.ObjectName, o *checkOptions, out *screen) error {
	folder := o.treeDir
	if folder == "" {
		temp, err := os.MkdirTemp("", "garage-check-")
		if err != nil {
			return fmt.Errorf("making a folder for the tree: %w", err)
		}
		defer os.RemoveAll(temp)
		folder = temp
	}
	dir, err := ostree.InitDir(folder)
	if err != nil {
		return err
	}
	w := &walk{hub: s.hub, dir: dir, out: out, jobs: o.jobs, seen: map[ostree.ObjectName]bool{}}
	if err := w.run(ctx, root); err != nil {
		return err
	}
	out.say(levelInfo, "All %d objects below %s are present in treehub and correct", len(w.seen), root)
	return nil
}

// maxTargets bounds targets.json.
const maxTargets = 64 << 20

// targetsDocument is what is looked at in targets.json.
type targetsDocument struct {
	Signed struct {
		Expires time.Time `json:"expires"`
		Targets map[string]struct {
			Hashes map[string]string `json:"hashes"`
		} `json:"targets"`
	} `json:"signed"`
}

// checkTargets looks for a target that names the commit, also among targets that
// wait for somebody else to sign them: there a build has done its part. It does not
// verify signatures: devices do, against roots that this tool has no trust in.
func checkTargets(ctx context.Context, s *session, commit ostree.Checksum, out *screen) error {
	base, err := s.archive.TufRepoURL()
	if err != nil {
		return err
	}
	repo := strings.TrimRight(base, "/") + "/api/v1/user_repo/"
	doc := new(targetsDocument)
	if err := fetch(ctx, s.client, repo+"targets.json", doc); err != nil {
		return fmt.Errorf("fetching targets.json: %w", err)
	}
	if !time.Now().Before(doc.Signed.Expires) {
		return fmt.Errorf("targets.json expired on %s; sign it again with a later date", doc.Signed.Expires.Format(time.RFC3339))
	}
	if name := doc.naming(commit); name != "" {
		out.say(levelInfo, "OSTree commit %s is found in targets.json as %s", commit, name)
		return nil
	}
	var waiting struct{ Uptane targetsDocument }
	if err := fetch(ctx, s.client, repo+"proposals/targets", &waiting); err == nil {
		if name := waiting.Uptane.naming(commit); name != "" {
			out.say(levelInfo, "OSTree commit %s is proposed as %s; devices get it once the targets are signed (garage-sign targets cosign)", commit, name)
			return nil
		}
	}
	return fmt.Errorf("OSTree commit %s is missing in targets.json; sign a target for it with garage-sign", commit)
}

// naming is the target of a commit, "" for none.
func (d *targetsDocument) naming(commit ostree.Checksum) string {
	for name, target := range d.Signed.Targets {
		if strings.EqualFold(target.Hashes["sha256"], commit.String()) {
			return name
		}
	}
	return ""
}

// fetch reads a document.
func fetch(ctx context.Context, client *http.Client, url string, doc any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxTargets+1))
	if err != nil {
		return err
	}
	if len(data) > maxTargets {
		return errors.New("the document is too large")
	}
	if err := json.Unmarshal(data, doc); err != nil {
		return fmt.Errorf("reading it: %w", err)
	}
	return nil
}
