package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/diskblob"
	"sealift/keys"
	"sealift/repo"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

const (
	flatTargets    = 10_000
	delegatedRoles = 100 // each with as many targets
	leastSplit     = 5   // turns
	mostSplit      = 15
	splitTime      = 60 * time.Second
)

func delegationMeasure() measure {
	return measure{name: "delegation", limit: 4 * time.Minute, run: measureDelegation, figures: []figure{
		{Name: "add_target_flat_by_delegated", Unit: "x", Op: ">=", Goal: 20}, {Name: "add_target_delegated", Unit: "ms"}}}
}

// measureDelegation measures how long the Image repository takes to publish one
// target more, signed: where 10,000 are in one flat file, and where they are in a
// hundred delegated roles of which one is signed anew. Both on one database, in
// turns.
func measureDelegation(ctx context.Context, r *results) (err error) {
	dir, err := os.MkdirTemp("", "sealift-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d, err := db.Open(ctx, "sqlite:"+filepath.Join(dir, "sealift.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	shop, err := newShop(ctx, d, dir)
	if err != nil {
		return err
	}
	if err := shop.fill(ctx); err != nil {
		return err
	}
	var ratios, small []float64
	var flat []float64
	err = interleave(ctx, leastSplit, mostSplit, splitTime, func(n int) error {
		whole, err := shop.addFlat(ctx, fmt.Sprintf("more/%d", n))
		if err != nil {
			return err
		}
		part, err := shop.addDelegated(ctx, n%delegatedRoles, fmt.Sprintf("r%d/more-%d", n%delegatedRoles, n))
		if err != nil || n == 0 {
			return err
		}
		ratios = append(ratios, float64(whole)/float64(part))
		flat, small = append(flat, inMilliseconds(whole)), append(small, inMilliseconds(part))
		return nil
	})
	if err != nil {
		return err
	}
	r.take("add_target_flat_by_delegated", ratios, "from the signed document to what devices see, SQLite and a folder; flat %.3g ms; only the touched role, snapshot and timestamp are signed anew", median(flat))
	r.take("add_target_delegated", small, "%d roles with %d targets each", delegatedRoles, flatTargets/delegatedRoles)
	return nil
}

// shop is an Image repository with two namespaces, and who signs for them.
type shop struct {
	repo    *repo.Repo
	vault   *keys.Vault
	targets crypto.Signer
	flat    metadata.TargetsType
	sum     string // of the flat targets
	roles   []*metadata.TargetsType
	signers []crypto.Signer
}

const (
	flatNS  = uptane.Namespace("flat")
	splitNS = uptane.Namespace("split")
)

func newShop(ctx context.Context, d *db.DB, dir string) (*shop, error) {
	kek, err := keys.CreateFileKEK(filepath.Join(dir, "master.key"), nil)
	if err != nil {
		return nil, err
	}
	s := &shop{}
	if s.vault, err = keys.New(ctx, keys.Config{DB: d, KEK: kek}); err != nil {
		return nil, err
	}
	bucket, err := diskblob.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		return nil, err
	}
	s.repo, err = repo.New(ctx, repo.Config{DB: d, Bucket: bucket, Signer: s.vault, Roots: s.vault, RootVersion: s.vault.RootVersion,
		RoleKeysSince: s.vault.RoleKeysSince, PutRoots: s.vault.PutRoots, RootTwins: s.vault,
		Complete: func(context.Context, uptane.Namespace, ostree.Checksum) error { return nil }})
	if err != nil {
		return nil, err
	}
	for _, ns := range []uptane.Namespace{flatNS, splitNS} {
		if err := s.open(ctx, ns); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// open makes a root with keys of its own for a namespace.
func (s *shop) open(ctx context.Context, ns uptane.Namespace) error {
	root := metadata.Root(farOff()).Signed
	root.Keys, root.Roles = nil, nil
	signer := newSigner()
	s.targets = newSigner()
	named := map[uptane.Role]crypto.PublicKey{uptane.RoleRoot: signer.Public(), uptane.RoleTargets: s.targets.Public()}
	for role, public := range named {
		k, err := uptane.NewKey(public)
		if err == nil {
			err = uptane.AddKey(&root, role, k)
		}
		if err != nil {
			return err
		}
	}
	for _, role := range []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp} {
		k, err := s.vault.GenerateOnline(ctx, ns, uptane.ImageRepository, role, "ed25519")
		if err == nil {
			err = uptane.AddKey(&root, role, k)
		}
		if err != nil {
			return err
		}
	}
	doc, err := signedBy(uptane.RoleRoot, &root, signer)
	if err == nil {
		err = s.repo.PutRoot(ctx, ns, doc)
	}
	if err != nil {
		return err
	}
	if _, err = s.repo.Create(ctx, ns); err != nil {
		return err
	}
	s.signers = append(s.signers, s.targets) // the first two are those of the top levels
	return nil
}

func newSigner() crypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // never fails
	}
	return key
}

func farOff() time.Time { return time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second) }

func signedBy[T metadata.Roles](role uptane.Role, payload *T, s crypto.Signer) ([]byte, error) {
	b, err := uptane.Payload(uptane.Uptane, role, payload)
	if err != nil {
		return nil, err
	}
	sig, err := uptane.Sign(s, b)
	return uptane.Frame(uptane.Uptane, b, sig), err
}

func addTo(t *metadata.TargetsType, filename string) error {
	sum, now := sha256.Sum256([]byte(filename)), time.Now().UTC().Truncate(time.Second)
	file, err := uptane.Target{Filename: filename, Hashes: metadata.Hashes{"sha256": sum[:]}, Custom: uptane.Custom{Name: filename, Version: "1",
		HardwareIDs: []uptane.HardwareID{"board"}, TargetFormat: uptane.FormatOSTree, CreatedAt: now, UpdatedAt: now, ReleaseCounter: 1}}.File()
	if err == nil {
		t.Targets[filename] = file
	}
	return err
}

// fill publishes 10,000 targets in each of both ways.
func (s *shop) fill(ctx context.Context) error {
	s.flat = metadata.Targets(farOff()).Signed
	top := metadata.Targets(farOff()).Signed
	top.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	for i := range delegatedRoles {
		role, signer := metadata.Targets(farOff()).Signed, newSigner()
		role.Version = 0
		for n := range flatTargets / delegatedRoles {
			if err := errors.Join(addTo(&s.flat, fmt.Sprintf("r%d/%d", i, n)), addTo(&role, fmt.Sprintf("r%d/%d", i, n))); err != nil {
				return err
			}
		}
		model := metadata.RootType{}
		k, err := uptane.NewKey(signer.Public())
		if err == nil {
			err = uptane.AddKey(&model, uptane.RoleTargets, k)
		}
		if err != nil {
			return err
		}
		maps.Copy(top.Delegations.Keys, model.Keys)
		top.Delegations.Roles = append(top.Delegations.Roles, metadata.DelegatedRole{Name: fmt.Sprint("r", i), Threshold: 1, Terminating: true,
			KeyIDs: model.Roles["targets"].KeyIDs, Paths: []string{fmt.Sprintf("r%d/*", i)}})
		s.roles, s.signers = append(s.roles, &role), append(s.signers, signer)
	}
	doc, err := signedBy(uptane.RoleTargets, &top, s.signers[1])
	if err != nil {
		return err
	}
	if _, err := s.repo.PutTargets(ctx, splitNS, doc, "", "bench"); err != nil {
		return err
	}
	for i := range s.roles {
		if _, err := s.addDelegated(ctx, i, fmt.Sprintf("r%d/first", i)); err != nil {
			return err
		}
	}
	s.flat.Version = 0
	_, err = s.addFlat(ctx, "first")
	return err
}

// addFlat signs and publishes one target more at the top level, and returns how
// long publishing took.
func (s *shop) addFlat(ctx context.Context, filename string) (time.Duration, error) {
	s.flat.Version++
	if err := addTo(&s.flat, filename); err != nil {
		return 0, err
	}
	doc, err := signedBy(uptane.RoleTargets, &s.flat, s.signers[0])
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	s.sum, err = s.repo.PutTargets(ctx, flatNS, doc, s.sum, "bench")
	return time.Since(begin), err
}

// addDelegated signs and publishes one target more of a role.
func (s *shop) addDelegated(ctx context.Context, i int, filename string) (time.Duration, error) {
	name := uptane.Role(fmt.Sprint("r", i))
	s.roles[i].Version++
	if err := addTo(s.roles[i], filename); err != nil {
		return 0, err
	}
	doc, err := signedBy(name, s.roles[i], s.signers[2+i])
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	_, err = s.repo.PutDelegation(ctx, splitNS, name, doc, "bench")
	return time.Since(begin), err
}
