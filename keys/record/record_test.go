package record_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/keys"
	"sealift/keys/record"
	"sealift/uptane"
)

const ns = uptane.Namespace("default")

// sumOf is the SHA-256 of what was signed, in hex.
func sumOf(msg []byte) string {
	sum := sha256.Sum256(msg)
	return hex.EncodeToString(sum[:])
}

// ledger is a record with rows as a vault writes them.
type ledger struct {
	*record.Log
	t   *testing.T
	db  *db.DB
	now time.Time
	ids []string // of signatures, in order
}

func newLedger(t *testing.T, d *db.DB) *ledger {
	t.Helper()
	kek, err := keys.CreateFileKEK(filepath.Join(t.TempDir(), "master.key"), nil)
	if err == nil {
		_, err = keys.New(t.Context(), keys.Config{DB: d, KEK: kek})
	}
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{t: t, db: d, now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
	l.Log = record.New(record.Config{DB: d, Now: func() time.Time { return l.now }})
	return l
}

// sign enters a signature of msg.
func (l *ledger) sign(msg string) {
	l.t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		l.t.Fatal(err)
	}
	l.ids = append(l.ids, id.String())
	l.exec(`INSERT INTO signature_record (id, namespace, repository, role, key_id, root_version, message_sha256, signed, clock)
		VALUES ($1, $2, 'director', 'targets', 'k', 1, $3, $4, 0)`, id.String(), ns, sumOf([]byte(msg)), l.now.UnixMilli())
}

// act enters an administrative act.
func (l *ledger) act(detail string) {
	l.t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		l.t.Fatal(err)
	}
	l.exec(`INSERT INTO audit (id, namespace, created, actor, action, detail) VALUES ($1, $2, $3, 'local', 'x', $4)`,
		id.String(), ns, l.now.UnixMilli(), detail)
}

func (l *ledger) exec(query string, args ...any) {
	l.t.Helper()
	if _, err := l.db.ExecContext(l.t.Context(), query, args...); err != nil {
		l.t.Fatal(err)
	}
}

// seal seals what waits, a second later.
func (l *ledger) seal() record.Head {
	l.t.Helper()
	l.now = l.now.Add(time.Second)
	if _, err := l.Seal(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	h, err := l.Head(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return h
}

// verify returns what is damaged.
func (l *ledger) verify(witnesses ...record.Head) (record.Result, []record.Damage) {
	l.t.Helper()
	var list []record.Damage
	r, err := l.Verify(l.t.Context(), witnesses, func(record.Result) {}, func(d record.Damage) { list = append(list, d) })
	if err != nil {
		l.t.Fatal(err)
	}
	return r, list
}

// fill makes five batches of three signatures and an act, and returns their heads.
func (l *ledger) fill() (heads []record.Head) {
	l.t.Helper()
	for i := range 5 {
		for j := range 3 {
			l.sign(fmt.Sprint("document ", i, j))
		}
		l.act(fmt.Sprint("act ", i))
		heads = append(heads, l.seal())
	}
	return heads
}

// Rows that nobody seals are told, once a server would have sealed them.
func TestRowsThatNobodySeals(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLedger(t, d)
		l.sign("a document")
		l.act("an act")
		if r, damages := l.verify(); r.Overdue != 0 || len(damages) != 0 {
			t.Errorf("at once: %+v, %v", r, damages)
		}
		l.now = l.now.Add(61 * time.Second)
		if r, damages := l.verify(); r.Overdue != 2 || len(damages) != 0 {
			t.Errorf("after a minute: %+v, %v", r, damages)
		}
		l.seal()
		if r, _ := l.verify(); r.Overdue != 0 || r.Leaves != 2 {
			t.Errorf("sealed: %+v", r)
		}
	})
}

// Whoever edits the database is found out, and the first bad leaf is named.
func TestDamageIsNamed(t *testing.T) {
	rows := []struct {
		name  string
		edit  func(l *ledger, ids []string)
		batch int64
		says  func(ids []string) string
	}{
		{"flipped byte", func(l *ledger, ids []string) {
			l.exec(`UPDATE signature_record SET message_sha256 = 'f' || SUBSTR(message_sha256, 2) WHERE id = $1`, ids[7])
		}, 3, func(ids []string) string { return "leaf " + ids[7] + " in batch 3: it was changed" }},
		{"act rewritten", func(l *ledger, _ []string) {
			l.exec(`UPDATE audit SET actor = 'somebody else' WHERE detail = 'act 1'`)
		}, 2, func([]string) string { return "it was changed" }},
		{"deleted row", func(l *ledger, ids []string) {
			l.exec(`DELETE FROM signature_record WHERE id = $1`, ids[4])
		}, 2, func(ids []string) string { return "1 of its 4 leaves are gone, the first after " + ids[3] }},
		{"swapped rows", func(l *ledger, ids []string) {
			l.exec(`UPDATE signature_record SET id = 'x' WHERE id = $1`, ids[1])
			l.exec(`UPDATE signature_record SET id = $2 WHERE id = $1`, ids[8], ids[1])
			l.exec(`UPDATE signature_record SET id = $1 WHERE id = 'x'`, ids[8])
		}, 1, func(ids []string) string { return "leaf " + ids[8] + " in batch 1: it was changed" }},
		{"moved to another batch", func(l *ledger, ids []string) {
			l.exec(`UPDATE signature_record SET batch = 2 WHERE id = $1`, ids[0])
		}, 1, func([]string) string { return "1 of its 4 leaves are gone" }},
		{"put in later", func(l *ledger, _ []string) {
			l.sign("forged")
			l.exec(`UPDATE signature_record SET batch = 4 WHERE batch IS NULL`)
		}, 4, func([]string) string { return "does not belong here" }},
		{"row and its hash", func(l *ledger, ids []string) {
			l.exec(`UPDATE signature_record SET key_id = 'other' WHERE id = $1`, ids[3])
			l.exec(`UPDATE record_batch SET leaves = (SELECT leaves FROM record_batch WHERE number = 1) WHERE number = 2`)
		}, 2, func(ids []string) string { return "leaf " + ids[3] }},
		{"batch deleted", func(l *ledger, _ []string) {
			l.exec(`DELETE FROM record_batch WHERE number = 3`)
		}, 3, func([]string) string { return "the batch was deleted" }},
		{"end cut off", func(l *ledger, _ []string) {
			l.exec(`DELETE FROM signature_record WHERE batch = 5`)
			l.exec(`DELETE FROM audit WHERE batch = 5`)
			l.exec(`DELETE FROM record_batch WHERE number = 5`)
		}, 5, func([]string) string { return "the end was cut off" }},
		{"end cut off with care", func(l *ledger, _ []string) {
			l.exec(`DELETE FROM signature_record WHERE batch = 5`)
			l.exec(`DELETE FROM audit WHERE batch = 5`)
			l.exec(`DELETE FROM record_batch WHERE number = 5`)
			l.exec(`UPDATE record_tree SET batches = 4`)
			l.exec(`DELETE FROM record_hash WHERE position >= 7`)
		}, 5, func([]string) string { return "the end was cut off: a head of 5 batches was told, 4 are here" }},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLedger(t, d)
		l.fill()
		if r, damages := l.verify(); len(damages) > 0 || r.Leaves != 20 || r.Batches != 5 {
			t.Fatalf("%+v of an honest record: %v", r, damages)
		}
	})
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				l := newLedger(t, d)
				heads := l.fill()
				row.edit(l, l.ids)
				_, damages := l.verify(heads...)
				if len(damages) == 0 {
					t.Fatal("nothing was found")
				}
				if says := row.says(l.ids); damages[0].Batch != row.batch || !strings.Contains(damages[0].String(), says) {
					t.Errorf("%v\nwant batch %d, %q", damages, row.batch, says)
				}
			})
		})
	}
}

// Somebody takes the last batch back and lets the server seal something else in its
// place: there are two heads of one size. Whoever has both sees it, and whoever has
// the first.
func TestForkedRecord(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLedger(t, d)
		heads := l.fill()
		l.exec(`UPDATE signature_record SET batch = NULL WHERE batch = 5`)
		l.exec(`UPDATE audit SET batch = NULL WHERE batch = 5`)
		l.exec(`DELETE FROM record_batch WHERE number = 5`)
		l.exec(`DELETE FROM record_hash WHERE position >= 7`)
		l.exec(`UPDATE record_tree SET batches = 4`)
		l.sign("in place of it")
		fork := l.seal()
		if fork.Size != 5 || fork.Hash == heads[4].Hash {
			t.Fatalf("%+v is no fork of %+v", fork, heads[4])
		}
		if _, damages := l.verify(fork); len(damages) > 0 {
			t.Errorf("with the second head alone: %v", damages)
		}
		for _, witnesses := range [][]record.Head{{heads[4]}, {fork, heads[4]}, {heads[4], fork}} {
			if _, damages := l.verify(witnesses...); len(damages) != 1 || damages[0].Batch != 5 || !strings.Contains(damages[0].String(), "outside, the head of 5 batches is") {
				t.Errorf("with %d heads: %v", len(witnesses), damages)
			}
		}
	})
}

// A batch of a number beyond all others keeps nobody busy.
func TestVerifyingEnds(t *testing.T) {
	l := newLedger(t, dbtest.SQLite(t))
	l.fill()
	l.exec(`INSERT INTO record_batch (number, sealed, leaves, head) SELECT 4611686018427387904, sealed, leaves, head FROM record_batch WHERE number = 5`)
	_, damages := l.verify()
	if last := damages[len(damages)-1].String(); len(damages) > 1100 || !strings.Contains(fmt.Sprint(damages), "not looked at") {
		t.Errorf("%d damages, the last: %s", len(damages), last)
	}
}

// Somebody writes the whole record anew. In itself it is whole; any head that was
// told before gives him away.
func TestRewrittenRecord(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLedger(t, d)
		heads := l.fill()
		l.exec(`DELETE FROM signature_record WHERE id = $1`, l.ids[5])
		l.exec(`DELETE FROM record_batch`)
		l.exec(`DELETE FROM record_hash`)
		l.exec(`UPDATE record_tree SET batches = 0`)
		l.exec(`UPDATE signature_record SET batch = NULL`)
		l.exec(`UPDATE audit SET batch = NULL`)
		l.seal()
		if _, damages := l.verify(); len(damages) > 0 {
			t.Errorf("without a witness: %v", damages)
		}
		if _, damages := l.verify(heads[0]); len(damages) != 1 || !strings.Contains(damages[0].String(), "outside, the head of 1 batches") {
			t.Errorf("with a witness: %v", damages)
		}
	})
}

// Every signature is proved against every head since; nothing else is.
func TestProofs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLedger(t, d)
		heads := l.fill()
		for i := range 5 {
			msg := []byte(fmt.Sprint("document ", i, 1))
			for _, head := range heads {
				p, err := l.Prove(t.Context(), ns, sumOf(msg), head.Size)
				if head.Size < int64(i+1) {
					if !errors.Is(err, record.ErrLaterThanHead) {
						t.Errorf("document of batch %d, head %d: %v", i+1, head.Size, err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				checkProof(t, p, msg, head)
			}
		}
		if _, err := l.Prove(t.Context(), ns, sumOf([]byte("forged")), 0); !errors.Is(err, record.ErrNotRecorded) {
			t.Errorf("bytes that nobody signed: %v", err)
		}
		for _, size := range []int64{6, 1<<62 + 1, math.MaxInt64} {
			if _, err := l.Prove(t.Context(), ns, sumOf([]byte("document 0 1")), size); !errors.Is(err, record.ErrUnknownHead) {
				t.Errorf("a head of %d batches: %v", size, err)
			}
		}
		if _, err := l.Prove(t.Context(), "other", sumOf([]byte("document 0 1")), 0); !errors.Is(err, record.ErrNotRecorded) {
			t.Errorf("another namespace: %v", err)
		}
	})
}

// checkProof sends the proof through its text, checks it, and checks that it
// proves nothing else.
func checkProof(t *testing.T, p record.Proof, msg []byte, head record.Head) {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if p, err = record.ParseProof(bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(msg, head); err != nil {
		t.Errorf("document of batch %d, head %d: %v", p.Batch, head.Size, err)
	}
	other := head
	other.Hash[3] ^= 1
	forged := p
	forged.Leaf.SHA256 = sumOf([]byte("forged"))
	late := p
	late.Leaf.At++
	vast, vastHead := p, head // whose arithmetic would never end
	vast.Size, vast.Leaves, vastHead.Size = math.MaxInt64, math.MaxInt64, math.MaxInt64
	vast.Inner, vast.Outer = append(slices.Clone(p.Inner), p.Root), append(slices.Clone(p.Outer), p.Root)
	for what, err := range map[string]error{
		"other bytes": p.Check([]byte("forged"), head), "another head": p.Check(msg, other),
		"another leaf": forged.Check([]byte("forged"), head), "another time": late.Check(msg, head),
		"a vast tree": vast.Check(msg, vastHead),
		"nothing":     record.Proof{}.Check(msg, head),
	} {
		if !errors.Is(err, record.ErrNoProof) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Several replicas seal at once while others sign: every row is in exactly one
// batch, and the tree is whole.
func TestReplicasSeal(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLedger(t, d)
		for i := range 40 {
			l.sign(fmt.Sprint("document ", i))
		}
		var all sync.WaitGroup
		for range 4 {
			replica := record.New(record.Config{DB: d})
			all.Go(func() {
				for range 5 {
					if _, err := replica.Seal(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		l.sign("the last")
		head := l.seal()
		r, damages := l.verify(head)
		if len(damages) > 0 || r.Leaves != 41 || r.Witnesses != 1 {
			t.Errorf("%+v %v", r, damages)
		}
	})
}

// Heads are found again in what they were told in: lines of a log, a document.
func TestParseHeads(t *testing.T) {
	h := record.Head{Size: 7, At: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
	_, _ = rand.Read(h.Hash[:])
	line, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(map[string]any{"signatures": []string{}, "signed": map[string]any{"_type": "Timestamp", "custom": h.Custom()}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := record.ParseHeads(strings.NewReader(fmt.Sprintf("ready\n%s\nhead: %s\n{\"other\":1}\n%s", line, line, document)))
	if err != nil || len(list) != 3 || list[0] != h || list[2].Hash != h.Hash || list[2].Size != 7 {
		t.Errorf("%+v %v", list, err)
	}
	if _, err := record.ParseHeads(strings.NewReader(`{"head":"abc","size":1}`)); err == nil {
		t.Error("half a hash was accepted")
	}
	// The last head is the one that shows most: it is not passed over unseen.
	long := io.MultiReader(strings.NewReader(strings.Repeat(strings.Repeat("x", 1<<10)+"\n", 64<<10)), bytes.NewReader(line))
	if list, err := record.ParseHeads(long); err == nil {
		t.Errorf("of a log that is too long %d heads were read, and nothing was said", len(list))
	}
}

// The sealer tells each head once, and stops with its context.
func TestRun(t *testing.T) {
	l := newLedger(t, dbtest.SQLite(t))
	l.sign("document")
	ctx, stop := context.WithCancel(t.Context())
	told := make(chan record.Head)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Run(ctx, time.Millisecond, func(_ context.Context, h record.Head) { told <- h })
	}()
	select {
	case h := <-told:
		if h.Size != 1 {
			t.Errorf("%+v", h)
		}
	case <-time.After(20 * time.Second):
		t.Error("no head was told")
	}
	stop()
	<-ended
}

func FuzzParseProof(f *testing.F) {
	f.Add([]byte(`{"size":1,"batch":1,"leaves":1,"leaf":{"kind":"signature"},"inner":[],"outer":[]}`))
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := record.ParseProof(bytes.NewReader(text))
		if err == nil && p.Check(public, record.Head{Size: p.Size}) == nil {
			t.Error("a proof of bytes that were never signed")
		}
	})
}

func FuzzParseHeads(f *testing.F) {
	f.Add([]byte(`{"at":"2026-11-22T10:00:00Z","head":"` + strings.Repeat("ab", 32) + `","size":7}`))
	f.Add([]byte("ready {\"signed\":{\"custom\":{\"record\":{\"head\":\"" + strings.Repeat("00", 32) + "\",\"size\":1}}}}\n{\"head\":\"x\"}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := record.ParseHeads(bytes.NewReader(text))
		if err != nil {
			return
		}
		for _, h := range list {
			line, err := json.Marshal(h)
			if err != nil {
				continue // a time that JSON does not have
			}
			if again, err := record.ParseHeads(bytes.NewReader(line)); h.Size < 1 || err != nil || len(again) != 1 || again[0].Size != h.Size || again[0].Hash != h.Hash {
				t.Errorf("%s is read as %+v, %v", line, again, err)
			}
		}
	})
}
