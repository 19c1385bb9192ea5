package main

import (
	"context"
	"errors"
	"fmt"

	"sealift/treehub/ostree"
)

// gathering is how many objects are looked at for each request that may be
// under way: those that wait are asked for together.
const gathering = 4

type pushOptions struct {
	common
	repo, ref, credentials, repoManifest string
	dryRun, walkTree, noChecks           bool
}

func parsePush(args []string, out *screen) (*pushOptions, error) {
	o := new(pushOptions)
	f := newFlags("garage-push", &o.common)
	f.StringVarP(&o.repo, "repo", "C", "", "location of OSTree repo (required)")
	f.StringVarP(&o.ref, "ref", "r", "", "OSTree ref to push, or commit refhash (required)")
	f.StringVarP(&o.credentials, "credentials", "j", "", "credentials: archive or treehub.json (required)")
	f.StringVar(&o.repoManifest, "repo-manifest", "", "manifest of the repo tool to send with the commit (XML)")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "check everything, but upload nothing")
	f.BoolVarP(&o.walkTree, "walk-tree", "w", false, "look at every object of the tree, also where the server has the commit")
	f.BoolVar(&o.noChecks, "disable-integrity-checks", false, "do not verify objects before they are sent")
	return o, o.parse(f, args, out, "repo", "ref", "credentials")
}

func runPush(ctx context.Context, args []string, out *screen) int {
	o, err := parsePush(args, out)
	if err == nil {
		err = push(ctx, o, out)
	}
	if err != nil {
		return fail(ctx, out, err)
	}
	return 0
}

// push sends the commit from the bottom up, then lets the ref point to it.
func push(ctx context.Context, o *pushOptions, out *screen) error {
	var manifest []byte
	if o.repoManifest != "" {
		var err error
		if manifest, err = readManifest(o.repoManifest); err != nil {
			return err
		}
	}
	dir, err := ostree.OpenDir(o.repo)
	if err != nil {
		return err
	}
	commit, isRef, err := dir.Resolve(ctx, o.ref)
	if errors.Is(err, ostree.ErrNotFound) {
		return fmt.Errorf("Ref or commit refhash %s was not found in repository %s", o.ref, o.repo) // scripts look for this text
	}
	if err != nil {
		return err
	}
	s, err := connect(ctx, "garage-push", o.credentials, &o.common, out)
	if err != nil {
		return err
	}
	out.say(levelInfo, "Pushing commit %s", commit)
	if err := pushObjects(ctx, s, dir, commit, o, out); err != nil {
		return err
	}
	if o.dryRun {
		return nil
	}
	if isRef {
		if err := s.hub.SetRef(ctx, o.ref, commit); err != nil {
			return err
		}
		out.say(levelInfo, "Ref %s points to %s", o.ref, commit)
	}
	if manifest != nil {
		if err := s.hub.PutManifest(ctx, commit, manifest); err != nil { // the commit is there; this is an extra
			out.say(levelWarning, "The manifest was not stored: %v", err)
		}
	}
	return nil
}

func pushObjects(ctx context.Context, s *session, dir *ostree.Dir, commit ostree.Checksum, o *pushOptions, out *screen) error {
	stats, err := ostree.Copy(ctx, dir, s.hub, commit, ostree.CopyOptions{
		Jobs: gathering * o.jobs, WalkTree: o.walkTree, SkipVerify: o.noChecks, DryRun: o.dryRun,
		Progress: func(st ostree.Stats) { out.show(false, "%s", progress(st)) },
	})
	out.show(true, "")
	if err != nil {
		return err
	}
	if o.dryRun {
		out.say(levelInfo, "%d of %d objects are missing on the server.", stats.Missing, stats.Queried)
		out.say(levelInfo, "Dry run. No objects uploaded.")
		return nil
	}
	out.say(levelInfo, "Upload to Treehub complete after %d HEAD requests and %d PUT requests.", stats.Queried, stats.Uploaded)
	out.say(levelInfo, "Total size of uploaded objects: %d bytes.", stats.Bytes)
	return nil
}

func progress(st ostree.Stats) string {
	return fmt.Sprintf("checked %d/%d, uploaded %d/%d objects, %s", st.Queried, st.Total, st.Uploaded, st.Missing, size(st.Bytes))
}
