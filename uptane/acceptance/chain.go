package acceptance

import (
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"sealift/uptane"
)

// Chain is the roots of a repository in one flavour, each link of which the
// judges have accepted: a client that is at any of them can follow to the last.
// It does not change; [Chain.Extend] returns a longer one. Safe for concurrent
// use. The zero Chain has no root.
type Chain struct {
	flavour uptane.Flavour
	repo    uptane.Repository
	from    int
	last    document
	root    *metadata.RootType
	trust   trust                                 // aktualizr's, Uptane flavour
	tuf     *metadata.Metadata[metadata.RootType] // go-tuf's, TUF flavour
}

// Begin starts a chain with a root that clients trust as it comes, which is the
// first one unless that of a later version came with them. It answers
// [ErrRefused].
func Begin(f uptane.Flavour, repo uptane.Repository, doc []byte) (Chain, error) {
	c, r := Chain{flavour: f, repo: repo}.extend(doc)
	c.from = c.Version()
	return c, asFault(r)
}

// Extend adds the next root: signed by a threshold of the last one's keys and of
// its own, its version the last plus one, readable by everybody. Whether it has
// expired is not asked, because another may follow. It answers [ErrRefused].
func (c Chain) Extend(doc []byte) (Chain, error) {
	next, r := c.extend(doc)
	return next, asFault(r)
}

// Version is that of the last root, 0 for the zero Chain.
func (c Chain) Version() int {
	if c.root == nil {
		return 0
	}
	return int(c.root.Version)
}

// From is the version of the first root: older clients cannot follow.
func (c Chain) From() int { return c.from }

// Raw is the last root as it is served; the caller must not change it.
func (c Chain) Raw() []byte { return c.last.raw }

func (c Chain) extend(doc []byte) (Chain, *Refusal) {
	d, r := read(c.flavour, c.repo, uptane.RoleRoot, doc)
	if r != nil {
		return c, r
	}
	opened, err := uptane.OpenRootValue(c.flavour, d.value, c.root, time.Time{})
	if err != nil {
		return c, strictly(uptane.RoleRoot, err)
	}
	next := c
	next.last, next.root = d, &opened.Payload
	if c.flavour == uptane.TUF {
		next.tuf, r = goRoot(c.tuf, d.raw)
		return next, r
	}
	m := model{c.repo}
	next.trust = trustOfRoot(d)
	d.know(opened.Signers, next.trust, c.trust)
	if c.root != nil {
		if r := m.verify(d, c.trust); r != nil {
			return c, r
		}
	}
	return next, m.verify(d, next.trust)
}

// goRoot is go-tuf's judgement of a root after the one it trusts.
func goRoot(trusted *metadata.Metadata[metadata.RootType], raw []byte) (root *metadata.Metadata[metadata.RootType], r *Refusal) {
	defer recovered(&r, uptane.RoleRoot)
	if trusted == nil {
		first, err := trustedmetadata.New(raw)
		if err != nil {
			return nil, byGoTUF(uptane.RoleRoot, err)
		}
		return first.Root, nil
	}
	client := &trustedmetadata.TrustedMetadata{Root: trusted, Targets: map[string]*metadata.Metadata[metadata.TargetsType]{}}
	root, err := client.UpdateRoot(raw)
	return root, byGoTUF(uptane.RoleRoot, err)
}
