package record

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

// Faults of proofs.
var (
	// ErrNotRecorded: no online key of this server signed those bytes.
	ErrNotRecorded = fault.New(fault.NotFound, "signature_not_recorded", "no signature of these bytes is in the record")
	// ErrLaterThanHead: the signature is in the record, behind that head.
	ErrLaterThanHead = fault.New(fault.Conflict, "signature_later_than_head",
		"these bytes were signed after that head was made; take a later timestamp.json")
	// ErrUnknownHead: the record is not that long.
	ErrUnknownHead = fault.New(fault.Conflict, "record_head_unknown", "the record here is shorter than that head says")
	// ErrNoProof: a proof does not prove what it is held against.
	ErrNoProof = errors.New("the proof does not hold")
)

// maxProof bounds the text of a proof: two paths of at most 64 hashes each, and
// a leaf.
const maxProof = 64 << 10

// maxTree is more batches and leaves than there will ever be. The arithmetic of
// trees does not end for sizes near the largest integer.
const maxTree = 1 << 48

// Proof shows that a leaf is in the tree of a certain size.
type Proof struct {
	// Size of the tree, in batches, and the number of the batch, from 1.
	Size  int64 `json:"size"`
	Batch int64 `json:"batch"`
	// Sealed is when the batch was, in Unix milliseconds; it has so many
	// leaves, of which this is the one of that index, from 0.
	Sealed int64 `json:"sealed"`
	Leaves int64 `json:"leaves"`
	Index  int64 `json:"index"`
	Leaf   Leaf  `json:"leaf"`
	// Root is that of the batch. Inner leads to it from the leaf, Outer from
	// there to the head. Hashes are base64.
	Root  Hash   `json:"root"`
	Inner []Hash `json:"inner"`
	Outer []Hash `json:"outer"`
}

// ParseProof reads the JSON text of a proof.
func ParseProof(r io.Reader) (Proof, error) {
	var p Proof
	d := json.NewDecoder(io.LimitReader(r, maxProof))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("reading proof: %w", err)
	}
	return p, nil
}

// Prove shows that the bytes with that SHA-256 (hex) were signed here, in that
// namespace, and are in the tree of that size; size 0 means the present one.
func (l *Log) Prove(ctx context.Context, ns uptane.Namespace, sha256 string, size int64) (Proof, error) {
	p, err := l.prove(ctx, ns, sha256, size)
	if err != nil {
		return p, fmt.Errorf("proving a signature: %w", err)
	}
	return p, nil
}

func (l *Log) prove(ctx context.Context, ns uptane.Namespace, sha256 string, size int64) (p Proof, err error) {
	f, err := l.store.first(ctx, ns, sha256)
	if errors.Is(err, db.ErrNoRows) {
		return p, ErrNotRecorded
	}
	if err != nil {
		return p, err
	}
	head, err := l.Head(ctx)
	if err == nil && size > head.Size { // another replica may just have told of it
		l.forget()
		head, err = l.Head(ctx)
	}
	if err != nil {
		return p, err
	}
	if size == 0 {
		size = head.Size
	}
	if size > head.Size { // of another server, or of this one before it was restored
		return p, ErrUnknownHead.Withf("%d batches, of %d", size, head.Size)
	}
	if !f.Batch.Valid || f.Batch.Int64 > size {
		return p, ErrLaterThanHead
	}
	p = Proof{Size: size, Batch: f.Batch.Int64}
	rows, err := l.store.rows(ctx, p.Batch)
	if err != nil {
		return p, err
	}
	b, ok, err := l.store.batch(ctx, p.Batch)
	if err == nil && !ok {
		err = fmt.Errorf("batch %d is gone", p.Batch)
	}
	if err != nil {
		return p, err
	}
	leaves := hashesOf(rows)
	for i, r := range rows {
		if r.ID == f.ID {
			p.Index, p.Leaf = int64(i), r
		}
	}
	p.Sealed, p.Leaves = b.Sealed, int64(len(leaves))
	p.Root, p.Inner, err = treeProof(leaves, p.Index)
	if err != nil {
		return p, err
	}
	p.Outer, err = tlog.ProveRecord(size, p.Batch-1, l.store.hashes(ctx, l.store.db))
	return p, err
}

// Check demands that the proof shows the signature of msg, the bytes that were
// signed, in the tree with that head. It needs nothing but its arguments.
func (p Proof) Check(msg []byte, head Head) error {
	sum := sha256.Sum256(msg)
	switch {
	case p.Leaf.Kind != kindSignature || p.Leaf.SHA256 != hex.EncodeToString(sum[:]):
		return fmt.Errorf("%w: its leaf is about other bytes", ErrNoProof)
	case p.Size != head.Size:
		return fmt.Errorf("%w: it is for the tree of %d batches, the head for %d", ErrNoProof, p.Size, head.Size)
	case p.Batch < 1 || p.Batch > p.Size || p.Size > maxTree || p.Index < 0 || p.Index >= p.Leaves || p.Leaves > maxTree:
		return fmt.Errorf("%w: it points outside the tree", ErrNoProof)
	}
	if err := tlog.CheckRecord(p.Inner, p.Leaves, p.Root, p.Index, p.Leaf.hash()); err != nil {
		return fmt.Errorf("%w: its leaf is not in the batch: %w", ErrNoProof, err)
	}
	if err := tlog.CheckRecord(p.Outer, p.Size, head.Hash, p.Batch-1, recordOf(p.Sealed, p.Leaves, p.Root)); err != nil {
		return fmt.Errorf("%w: it leads to another head: %w", ErrNoProof, err)
	}
	return nil
}

func treeProof(leaves []Hash, index int64) (root Hash, path []Hash, err error) {
	t := grow(leaves)
	if root, err = tlog.TreeHash(int64(len(leaves)), t); err != nil {
		return root, nil, err
	}
	path, err = tlog.ProveRecord(int64(len(leaves)), index, t)
	return root, path, err
}
