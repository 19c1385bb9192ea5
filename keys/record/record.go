// Package record is the transparency log of a server: every use of an online
// key and every administrative act is a leaf of one growing tree of hashes.
// Whoever holds one of its heads, a device, a mirror, a bucket in other hands,
// can tell later whether anything that came before it was changed, taken out,
// moved or cut off.
//
// Rows are written by the vault as ever. A sealer gathers those that wait, once a
// second, into a batch: the leaves of a batch have a tree of their own, its
// root is one record of the tree over all batches, and the root of that is the
// head. So neither signing nor polling waits for the record, and one batch costs
// the same whatever came before. Both trees are those of RFC 6962.
//
// What was signed in the last second is not sealed yet: a thief of the database
// can take that out unseen, and nothing older.
package record

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/mod/sumdb/tlog"

	"sealift/internal/db"
)

const (
	// batchLimit is how many rows of each table a batch takes.
	batchLimit = 2000
	// fresh is how old the head may be that others are told.
	fresh = time.Second
)

// Hash is a hash of the tree, SHA-256.
type Hash = tlog.Hash

// Head says that the first Size batches have this hash.
type Head struct {
	Size int64
	Hash Hash
	// At is when the last of the batches was sealed.
	At time.Time
}

// Config is what a Log needs.
type Config struct {
	// DB has the tables of the vault, migrated.
	DB *db.DB
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log is where failures go; nil means slog.Default.
	Log *slog.Logger
}

// Log is the record of a server. Any number of processes may share it. It is
// safe for concurrent use.
type Log struct {
	store store
	now   func() time.Time
	log   *slog.Logger

	mu   sync.Mutex
	head Head
	read time.Time
}

// New opens the record in the database.
func New(c Config) *Log {
	l := &Log{store: store{c.DB}, now: c.Now, log: c.Log}
	if l.now == nil {
		l.now = time.Now
	}
	if l.log == nil {
		l.log = slog.Default()
	}
	return l
}

// Run seals what waits every so often, until ctx ends, and hands each new head
// to tell. What fails is logged and tried again.
func (l *Log) Run(ctx context.Context, every time.Duration, tell func(context.Context, Head)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sealed, err := l.Seal(ctx)
		if err != nil && ctx.Err() == nil {
			l.log.Warn("sealing the record failed; it is tried again", "error", err)
		}
		if sealed {
			if head, err := l.Head(ctx); err == nil {
				tell(ctx, head)
			}
		}
	}
}

// errNothing ends a transaction that found nothing to seal.
var errNothing = errors.New("nothing waits")

// Seal gathers all that waits, and reports whether anything did.
func (l *Log) Seal(ctx context.Context) (sealed bool, err error) {
	for {
		waiting, err := l.store.waiting(ctx)
		if err != nil || !waiting {
			return sealed, err
		}
		err = l.store.db.Tx(ctx, l.sealBatch)
		if errors.Is(err, errNothing) { // another replica has it
			return sealed, nil
		}
		if err != nil {
			return sealed, fmt.Errorf("sealing the record: %w", err)
		}
		sealed = true
		l.forget()
	}
}

func (l *Log) sealBatch(ctx context.Context, tx *sqlx.Tx) error {
	number, err := l.store.lock(ctx, tx)
	if err != nil {
		return err
	}
	rows, err := l.store.take(ctx, tx, number)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return errNothing
	}
	if clock, signed, any := lastOf(rows); any {
		if err := l.store.noteLast(ctx, tx, clock, signed); err != nil {
			return err
		}
	}
	b := batch{Number: number, Sealed: l.now().UnixMilli(), leaves: hashesOf(rows)}
	reader := l.store.hashes(ctx, tx)
	added, err := tlog.StoredHashesForRecordHash(number-1, b.record(), reader)
	if err != nil {
		return err
	}
	if err := l.store.addHashes(ctx, tx, tlog.StoredHashIndex(0, number-1), added); err != nil {
		return err
	}
	if b.head, err = tlog.TreeHash(number, reader); err != nil {
		return err
	}
	return l.store.addBatch(ctx, tx, b)
}

// lastOf is the time of the last signature by the last clock, where there is one.
func lastOf(rows []Leaf) (clock, signed int64, any bool) {
	for _, r := range rows {
		if r.Kind == kindSignature && (!any || r.Clock > clock || r.Clock == clock && r.At > signed) {
			clock, signed, any = r.Clock, r.At, true
		}
	}
	return clock, signed, any
}

// Head returns the head of the tree, at most a second old. Its size is 0 where
// nothing has been sealed yet.
func (l *Log) Head(ctx context.Context) (Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if age := now.Sub(l.read); !l.read.IsZero() && age >= 0 && age < fresh {
		return l.head, nil
	}
	head, err := l.store.head(ctx)
	if err != nil {
		return head, fmt.Errorf("reading the head of the record: %w", err)
	}
	l.head, l.read = head, now
	return head, nil
}

func (l *Log) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read = time.Time{}
}

// batch is what was gathered at one moment.
type batch struct {
	Number, Sealed int64
	leaves         []Hash
	head           Hash
}

// record is the batch as a record of the tree over all batches.
func (b batch) record() Hash {
	return recordOf(b.Sealed, int64(len(b.leaves)), rootOf(b.leaves))
}

func recordOf(sealed, leaves int64, root Hash) Hash {
	data := binary.BigEndian.AppendUint64(nil, uint64(sealed))
	data = binary.BigEndian.AppendUint64(data, uint64(leaves))
	return tlog.RecordHash(append(data, root[:]...))
}

// rootOf is the root of the tree over these leaves.
func rootOf(leaves []Hash) Hash {
	t := grow(leaves)
	root, err := tlog.TreeHash(int64(len(leaves)), t)
	if err != nil {
		panic(err) // the tree is in memory and whole
	}
	return root
}

// tree is a tree in memory.
type tree []Hash

func grow(leaves []Hash) tree {
	t := make(tree, 0, 2*len(leaves))
	for i, leaf := range leaves {
		added, err := tlog.StoredHashesForRecordHash(int64(i), leaf, t)
		if err != nil {
			panic(err) // as above
		}
		t = append(t, added...)
	}
	return t
}

// ReadHashes implements tlog.HashReader.
func (t tree) ReadHashes(positions []int64) ([]Hash, error) {
	list := make([]Hash, len(positions))
	for i, at := range positions {
		if at >= int64(len(t)) {
			return nil, fmt.Errorf("reading hash %d of %d", at, len(t))
		}
		list[i] = t[at]
	}
	return list, nil
}
