package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"syscall"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/acceptance"
)

const (
	gateRoots = 50 // in the chain
	leastGate = 5  // turns
	mostGate  = 25
	gateTime  = 10 * time.Second
)

func gateMeasure() measure {
	return measure{name: "gate", limit: 60 * time.Second, run: measureGate, figures: []figure{
		{Name: "gate_root_chain_50", Unit: "ms", Op: "<", Goal: 100}, {Name: "gate_push", Unit: "ms"}}}
}

// measureGate measures how long three judges take over a chain of fifty roots and
// the set under the last one, in both flavours: what a server pays the first time
// that it publishes after its start. A push pays for the set alone.
func measureGate(ctx context.Context, r *results) error {
	flavours := []uptane.Flavour{uptane.Uptane, uptane.TUF}
	var trees []gateTree
	keys := map[uptane.Role]crypto.Signer{}
	for _, role := range []uptane.Role{uptane.RoleRoot, uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp} {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		keys[role] = key
	}
	for _, f := range flavours {
		t, err := newGateTree(ctx, f, keys)
		if err != nil {
			return err
		}
		trees = append(trees, t)
	}
	var whole, waited, push []float64
	err := interleave(ctx, leastGate, mostGate, gateTime, func(n int) error {
		begin, used, sets := time.Now(), processTime(), time.Duration(0)
		for _, t := range trees {
			took, err := t.judge()
			if err != nil {
				return err
			}
			sets += took
		}
		if n > 0 {
			whole, push = append(whole, inMilliseconds(processTime()-used)), append(push, inMilliseconds(sets))
			waited = append(waited, inMilliseconds(time.Since(begin)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.take("gate_root_chain_50", whole, "cold, nothing judged before: processor time for %d roots in each of two flavours, Ed25519, and the set under the last; by the clock %.3g ms, other work on the machine included",
		gateRoots, median(waited))
	r.take("gate_push", push, "warm: the set alone, in both flavours; the links were judged before in the same process")
	return nil
}

// processTime is what this process has used of the processors, which other work on
// the machine does not add to.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func inMilliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// gateTree is what a repository shows in one flavour.
type gateTree struct {
	flavour uptane.Flavour
	roots   [][]byte
	set     acceptance.Set
}

// deskOf signs for each role with its key.
type deskOf map[uptane.Role]crypto.Signer

// Sign is that of uptane.Signer.
func (d deskOf) Sign(_ context.Context, job uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	sig, err := uptane.Sign(d[job.Role], msg)
	return []uptane.RawSig{sig}, err
}

func newGateTree(ctx context.Context, f uptane.Flavour, keys deskOf) (gateTree, error) {
	t, end := gateTree{flavour: f}, time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)
	root := metadata.Root(end).Signed
	root.Version, root.Keys, root.Roles = 0, nil, nil
	for role, key := range keys {
		public, err := uptane.NewKey(key.Public())
		if err == nil {
			err = uptane.AddKey(&root, role, public)
		}
		if err != nil {
			return t, err
		}
	}
	for range gateRoots {
		root.Version++
		doc, err := sealFor(ctx, f, keys, uptane.RoleRoot, &root)
		if err != nil {
			return t, err
		}
		t.roots = append(t.roots, doc)
	}
	targets := metadata.Targets(end).Signed
	var err error
	if t.set.Targets, err = sealFor(ctx, f, keys, uptane.RoleTargets, &targets); err != nil {
		return t, err
	}
	if t.set.Snapshot, err = sealFor(ctx, f, keys, uptane.RoleSnapshot, uptane.NewSnapshot(1, end, 1, nil)); err != nil {
		return t, err
	}
	timestamp, err := uptane.NewTimestamp(f, 1, end, t.set.Snapshot)
	if err == nil {
		t.set.Timestamp, err = sealFor(ctx, f, keys, uptane.RoleTimestamp, timestamp)
	}
	return t, err
}

func sealFor[T metadata.Roles](ctx context.Context, f uptane.Flavour, keys deskOf, role uptane.Role, payload *T) ([]byte, error) {
	return uptane.Seal(ctx, f, keys, uptane.Job{Namespace: "default", Repository: uptane.ImageRepository, Role: role}, payload)
}

// judge walks the chain and returns how long the set took after that.
func (t gateTree) judge() (time.Duration, error) {
	c, err := acceptance.Begin(t.flavour, uptane.ImageRepository, t.roots[0])
	for _, root := range t.roots[1:] {
		if err == nil {
			c, err = c.Extend(root)
		}
	}
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	err = c.Judge(t.set, nil, begin)
	return time.Since(begin), err
}
