package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/home"
	"sealift/internal/reposerver"
	"sealift/uptane"
	"sealift/uptane/canonical"
	"sealift/uptane/ceremony"
)

// desk is where a root that waits at the server is put together and signed.
type desk struct {
	*call
	h      *home.Home
	drafts reposerver.Drafts
	repo   uptane.Repository
}

// openDesk opens the home and brings its root up to date: what waits is judged by
// the newest.
func (c *call) openDesk() (*desk, error) {
	h, err := c.home()
	if err != nil {
		return nil, err
	}
	r, err := c.repository(h)
	if err != nil {
		return nil, err
	}
	if err := c.walkRoots(h, r); err != nil {
		return nil, err
	}
	config, err := c.serverConfig(h, h.Config().APIURL())
	return &desk{c, h, reposerver.NewDrafts(config), h.Config().ServerType.Repository()}, err
}

// waiting is the root that waits, nil for none.
func (d *desk) waiting() (*reposerver.RootDraft, error) {
	draft, err := d.drafts.Of(d.ctx, d.repo)
	if withheld(err) {
		err = explained("this server keeps no roots that wait for signatures; they go from one to the next as files: root cosign --input FILE: %w", err)
	}
	return draft, err
}

// mustWait is waiting where something has to be.
func (d *desk) mustWait() (*reposerver.RootDraft, error) {
	draft, err := d.waiting()
	if err == nil && draft == nil {
		err = explained("no root waits for signatures; `root propose` begins one")
	}
	return draft, err
}

// runRootPropose lets what the unsigned root says wait at the server, which encodes
// it as the successor of its newest root, until enough people have signed.
func runRootPropose(c *call) error {
	d, err := c.openDesk()
	if err != nil {
		return err
	}
	ask, err := d.request()
	if err != nil {
		return err
	}
	old, err := d.waiting()
	if err != nil {
		return err
	}
	if old != nil {
		if !c.has("replace") {
			return explained("root version %d of %s waits already; `root cosign` shows it, --replace gives it up with its signatures", old.Model.Version, old.CreatedBy)
		}
		ask.Replaces = old.ID
	}
	draft, err := d.drafts.Begin(c.ctx, ask)
	if reposerver.Refused(err, "forbidden") {
		return explained("%w\nTo begin a root is for administrators: `sealift root draft`", err)
	}
	if err != nil {
		return err
	}
	return d.cosign(draft)
}

// request is what the unsigned root says, and when it is to end.
func (d *desk) request() (reposerver.DraftRequest, error) {
	ask := reposerver.DraftRequest{Repository: d.repo}
	raw, err := d.h.Unsigned(uptane.RoleRoot)
	if errors.Is(err, home.ErrNotFound) {
		return ask, noUnsignedRoot()
	}
	if err != nil {
		return ask, err
	}
	v, err := canonical.Parse(raw, canonical.Options{ASCII: true})
	if err != nil {
		return ask, err
	}
	// Which version it gets the server says.
	root, err := uptane.ParsePayload[metadata.RootType](uptane.Uptane, uptane.RoleRoot, v.With("version", canonical.Int(1)).Uptane())
	if err != nil {
		return ask, err
	}
	m, err := ceremony.Of(root)
	if err != nil {
		return ask, err
	}
	ends, err := d.expires()
	if err != nil {
		return ask, err
	}
	if usual := d.now().UTC().Truncate(time.Second).Add(home.RootLife); ends.IsZero() && m.Expires.Before(usual) {
		ends = usual
	} else if ends.IsZero() {
		ends = m.Expires
	}
	ask.Roles, ask.Expires = m.Roles, &ends
	return ask, nil
}

// runRootCosignDraft shows the root that waits at the server, and signs it.
func runRootCosignDraft(c *call) error {
	d, err := c.openDesk()
	if err != nil {
		return err
	}
	draft, err := d.mustWait()
	if err != nil {
		return err
	}
	return d.cosign(draft)
}

// cosign shows what the model of a draft becomes here, and signs just that.
func (d *desk) cosign(draft *reposerver.RootDraft) error {
	p, lines, err := d.h.ReviewDraft(draft.Model, draft.ID)
	if len(lines) > 0 {
		d.say("Root version %d, valid until %s, proposed by %s on %s:", draft.Model.Version, draft.Model.Expires.Format(time.RFC3339),
			draft.CreatedBy, draft.CreatedAt.Format(time.RFC3339))
	}
	for _, line := range lines {
		d.say("  %s", line)
	}
	if err != nil {
		return explained("what waits must not be signed: %w", err)
	}
	if d.has("key-name") {
		if err := d.confirm("Sign this with " + strings.Join(d.list("key-name"), " and ") + "?"); err != nil {
			return err
		}
		sigs, tuf, err := d.h.SignDraft(d.ctx, p, d.list("key-name"))
		if err != nil {
			return err
		}
		if draft, err = d.drafts.Sign(d.ctx, draft.ID, sigs, tuf); err != nil {
			return gone(err)
		}
	}
	q := draft.Quorum
	d.say("Signed by %d of %d keys of the root before and %d of %d of its own", q.Old, q.OldNeeds, q.New, q.NewNeeds)
	if q.Reached() {
		d.say("That is enough: `root publish` makes it the root in force")
	}
	return nil
}

// gone explains that the draft is not what it was.
func gone(err error) error {
	for _, code := range []string{"root_draft_not_found", "root_draft_changed"} {
		if reposerver.Refused(err, code) {
			return exitError{exitConflict, fmt.Errorf("%w\n`root cosign` shows what waits now", err)}
		}
	}
	return err
}

// replicasFollow is how long it takes until every replica serves a new root.
const replicasFollow = 1100 * time.Millisecond

// runRootPublish makes the root that enough people have signed the one in force.
func runRootPublish(c *call) error {
	d, err := c.openDesk()
	if err != nil {
		return err
	}
	draft, err := d.mustWait()
	if err != nil {
		return err
	}
	if err := d.drafts.Publish(c.ctx, draft.ID); err != nil {
		if reposerver.Refused(err, "root_draft_incomplete") {
			return explained("%w\nNothing was published; `root cosign` adds signatures", err)
		}
		return gone(err)
	}
	// What comes next may reach any replica of the server.
	if err := c.wait(c.ctx, replicasFollow); err != nil {
		return err
	}
	c.say("Published root version %d; `root pull` brings it here", draft.Model.Version)
	return nil
}

// runRootWithdraw gives up the root that waits.
func runRootWithdraw(c *call) error {
	d, err := c.openDesk()
	if err != nil {
		return err
	}
	draft, err := d.mustWait()
	if err != nil {
		return err
	}
	if err := d.drafts.Withdraw(c.ctx, draft.ID); err != nil {
		return gone(err)
	}
	c.say("Root version %d of %s waits no longer", draft.Model.Version, draft.CreatedBy)
	return nil
}
