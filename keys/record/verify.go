package record

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// maxMissing is how many missing batches are told of: who adds one of a number
// beyond all others must not keep a verification busy for ever.
const maxMissing = 1000

// Damage is what is wrong with the record.
type Damage struct {
	// Batch is where, from 1; 0 means none in particular.
	Batch int64
	// Leaf is the row, where it can be told.
	Leaf string
	What string
}

func (d Damage) String() string {
	switch {
	case d.Leaf != "":
		return fmt.Sprintf("leaf %s in batch %d: %s", d.Leaf, d.Batch, d.What)
	case d.Batch != 0:
		return fmt.Sprintf("batch %d: %s", d.Batch, d.What)
	default:
		return d.What
	}
}

// Result is what a verification looked at.
type Result struct {
	Batches, Leaves int64
	// Witnesses is how many of the heads from outside were compared.
	Witnesses int
	// Overdue is how many rows have waited for a sealer for more than a minute:
	// no server runs, or it cannot seal. Nothing protects them yet.
	Overdue int64
	Head    Head
}

// Verify works the whole tree out anew from the rows of the vault and tells
// damaged of each damage, the first bad leaf first. Heads that were told
// outside are held against it: they alone show that the end was cut off, or
// everything written anew. It changes nothing and may run while others sign;
// looked is told now and then how far it is. Errors are accidents.
func (l *Log) Verify(ctx context.Context, witnesses []Head, looked func(Result), damaged func(Damage)) (Result, error) {
	v := &verification{Log: l, ctx: ctx, damaged: damaged, edge: edge{}, witnesses: slices.Clone(witnesses)}
	slices.SortFunc(v.witnesses, func(a, b Head) int { return int(a.Size - b.Size) })
	counted, last, err := l.store.size(ctx)
	if err != nil {
		return v.result, fmt.Errorf("verifying the record: %w", err)
	}
	if counted != last {
		v.damaged(Damage{Batch: min(counted, last) + 1, What: fmt.Sprintf("the end was cut off: %d batches are counted, the last one here is %d", counted, last)})
	}
	for n := int64(1); n <= last; n++ {
		if v.missing > maxMissing {
			v.damaged(Damage{Batch: n, What: fmt.Sprintf("more than %d batches are missing; those from here to %d are not looked at", maxMissing, last)})
			break
		}
		if err := v.batch(n); err != nil {
			return v.result, fmt.Errorf("verifying batch %d of the record: %w", n, err)
		}
		looked(v.result)
	}
	if n, err := l.store.homeless(ctx); err != nil {
		return v.result, fmt.Errorf("verifying the record: %w", err)
	} else if n > 0 {
		v.damaged(Damage{What: fmt.Sprintf("%d rows belong to batches that do not exist", n)})
	}
	if v.result.Overdue, err = l.store.overdue(ctx, l.now().Add(-time.Minute).UnixMilli()); err != nil {
		return v.result, fmt.Errorf("verifying the record: %w", err)
	}
	for _, h := range v.witnesses {
		v.damaged(Damage{Batch: last + 1, What: fmt.Sprintf("the end was cut off: a head of %d batches was told, %d are here", h.Size, last)})
	}
	return v.result, nil
}

type verification struct {
	*Log
	ctx       context.Context
	damaged   func(Damage)
	result    Result
	edge      edge
	differs   bool   // the tree from an earlier one
	missing   int    // batches
	witnesses []Head // not compared yet, the shortest first
}

func (v *verification) batch(n int64) error {
	b, ok, err := v.store.batch(v.ctx, n)
	if err != nil {
		return err
	}
	if !ok {
		v.missing++
		v.damaged(Damage{Batch: n, What: "the batch was deleted"})
	}
	rows, err := v.store.rows(v.ctx, n)
	if err != nil {
		return err
	}
	v.result.Batches, v.result.Leaves = n, v.result.Leaves+int64(len(rows))
	if ok {
		v.leaves(b, rows)
	} else {
		b = batch{Number: n, leaves: hashesOf(rows)}
	}
	head, err := v.edge.add(n-1, b.record())
	if err != nil {
		return err
	}
	v.result.Head = Head{Size: n, Hash: head, At: time.UnixMilli(b.Sealed).UTC()}
	if ok && head != b.head {
		v.torn(Damage{Batch: n, What: "its head does not follow from its leaves and the batches before"})
	}
	v.compare(head)
	return nil
}

// torn tells of the first place at which the tree is another one: all that
// follows differs too.
func (v *verification) torn(d Damage) {
	if !v.differs {
		v.damaged(d)
	}
	v.differs = true
}

// compare holds the heads that were told of this size against the one that
// follows from what is here.
func (v *verification) compare(head Hash) {
	n := v.result.Head.Size
	for len(v.witnesses) > 0 && v.witnesses[0].Size <= n {
		v.result.Witnesses++
		if w := v.witnesses[0]; w.Hash != head {
			v.torn(Damage{Batch: n, What: fmt.Sprintf("outside, the head of %d batches is %x; what is here gives %x", w.Size, w.Hash[:], head[:])})
		}
		v.witnesses = v.witnesses[1:]
	}
}

// leaves holds the rows of a batch against the hashes that were kept of them.
func (v *verification) leaves(b batch, rows []Leaf) {
	ids := map[Hash]string{}
	for _, r := range rows {
		h := r.hash()
		ids[h] = r.ID
		if !slices.Contains(b.leaves, h) {
			v.damaged(Damage{Batch: b.Number, Leaf: r.ID, What: "it was changed, or does not belong here"})
		}
	}
	gone := len(b.leaves) - len(rows)
	if gone <= 0 {
		return
	}
	before := ""
	for _, h := range b.leaves {
		id, here := ids[h]
		if !here {
			break
		}
		before = " after " + id
	}
	v.damaged(Damage{Batch: b.Number, What: fmt.Sprintf("%d of its %d leaves are gone, the first%s", gone, len(b.leaves), before)})
}

// edge is what the next hash of a growing tree needs of the ones before: the
// roots of its whole subtrees.
type edge map[int64]Hash

// add appends a record as the one of that index and returns the hash of the tree.
func (e edge) add(index int64, record Hash) (Hash, error) {
	asked := map[int64]bool{}
	reader := tlog.HashReaderFunc(func(positions []int64) ([]Hash, error) {
		list := make([]Hash, len(positions))
		for i, at := range positions {
			asked[at] = true
			list[i] = e[at]
		}
		return list, nil
	})
	added, err := tlog.StoredHashesForRecordHash(index, record, reader)
	if err != nil {
		return Hash{}, err
	}
	for i, h := range added {
		e[tlog.StoredHashIndex(0, index)+int64(i)] = h
	}
	clear(asked)
	head, err := tlog.TreeHash(index+1, reader)
	maps.DeleteFunc(e, func(at int64, _ Hash) bool { return !asked[at] })
	return head, err
}
