package db_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
)

const schema = `
CREATE TABLE entry (
	namespace TEXT NOT NULL,
	id TEXT NOT NULL,
	size BIGINT NOT NULL,
	live BOOLEAN NOT NULL,
	body BYTEA,
	PRIMARY KEY (namespace, id)
);
CREATE UNIQUE INDEX entry_size ON entry (namespace, size);
`

func files(scripts ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i, s := range scripts {
		m["schema/000"+string(rune('1'+i))+"_step.sql"] = &fstest.MapFile{Data: []byte(s)}
	}
	return m
}

func migrated(t *testing.T, d *db.DB) {
	t.Helper()
	if err := db.Migrate(t.Context(), d, "shelf", files(schema)); err != nil {
		t.Fatal(err)
	}
}

const insert = `INSERT INTO entry (namespace, id, size, live, body) VALUES ($1, $2, $3, $4, $5)`

type entry struct {
	ID   string `db:"id"`
	Size int64  `db:"size"`
	Live bool   `db:"live"`
	Body []byte `db:"body"`
}

func TestValuesComeBackAsTheyWere(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		migrated(t, d)
		ctx := t.Context()
		body := []byte{0, 1, 0xff}
		if _, err := d.ExecContext(ctx, insert, "default", "a", int64(1)<<60, true, body); err != nil {
			t.Fatal(err)
		}
		var got entry
		// Placeholders out of order, one of them twice.
		err := d.GetContext(ctx, &got, `SELECT id, size, live, body FROM entry WHERE id = $2 AND namespace = $1 AND $2 <> ''`, "default", "a")
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != "a" || got.Size != 1<<60 || !got.Live || string(got.Body) != string(body) {
			t.Errorf("got %+v", got)
		}

		err = d.GetContext(ctx, &got, `SELECT id, size, live, body FROM entry WHERE id = $1`, "b")
		if !errors.Is(db.Err(err), db.ErrNoRows) {
			t.Errorf("missing row: %v", err)
		}
		for _, row := range [][]any{{"default", "a", 2, true, nil}, {"default", "b", int64(1) << 60, true, nil}} {
			_, err = d.ExecContext(ctx, insert, row...)
			if !errors.Is(db.Err(err), db.ErrExists) {
				t.Errorf("inserting %v: %v, want ErrExists", row, err)
			}
		}
		_, err = d.ExecContext(ctx, insert, "default", nil, 1, true, nil)
		if err == nil || errors.Is(db.Err(err), db.ErrExists) {
			t.Errorf("NULL in a NOT NULL column: %v", err)
		}
		if db.Err(nil) != nil {
			t.Error("Err(nil) is not nil")
		}
	})
}

func TestInIsRebound(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		migrated(t, d)
		for i, id := range []string{"a", "b", "c"} {
			if _, err := d.ExecContext(t.Context(), insert, "default", id, i, true, nil); err != nil {
				t.Fatal(err)
			}
		}
		query, args, err := sqlx.In(`SELECT id FROM entry WHERE namespace = ? AND id IN (?) ORDER BY id`, "default", []string{"c", "a"})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := d.SelectContext(t.Context(), &got, d.Rebind(query), args...); err != nil {
			t.Fatal(err)
		}
		if strings.Join(got, "") != "ac" {
			t.Errorf("got %v", got)
		}
		arg := map[string]any{"ns": "default", "id": "a", "size": 7}
		if _, err := d.NamedExecContext(t.Context(), `UPDATE entry SET size = :size WHERE namespace = :ns AND id = :id`, arg); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTxRollsBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		migrated(t, d)
		boom := errors.New("boom")
		err := d.Tx(t.Context(), func(ctx context.Context, tx *sqlx.Tx) error {
			if _, err := tx.ExecContext(ctx, insert, "default", "a", 1, true, nil); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Errorf("Tx = %v, want the function's error", err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a panic must be passed on")
				}
			}()
			_ = d.Tx(t.Context(), func(ctx context.Context, tx *sqlx.Tx) error {
				_, _ = tx.ExecContext(ctx, insert, "default", "b", 2, true, nil)
				panic("bug")
			})
		}()
		if n := count(t, d); n != 0 {
			t.Errorf("%d rows survived a rollback", n)
		}
	})
}

func TestTxInsideTxFailsAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		migrated(t, d)
		err := d.Tx(t.Context(), func(ctx context.Context, tx *sqlx.Tx) error {
			if _, err := d.ExecContext(ctx, insert, "default", "x", 9, true, nil); err == nil {
				t.Error("a lone write inside a transaction must fail")
			}
			if d.Tx(ctx, func(context.Context, *sqlx.Tx) error { return nil }) == nil {
				t.Error("a transaction inside a transaction must fail")
			}
			var n int
			for how, err := range map[string]error{
				"of one": d.GetContext(ctx, &n, `SELECT 1`), "of all": d.SelectContext(ctx, new([]int), `SELECT 1`),
				"for somebody": sqlx.GetContext(ctx, d, &n, `SELECT 1`), "of all for somebody": sqlx.SelectContext(ctx, d, new([]int), `SELECT 1`),
			} {
				if err == nil {
					t.Errorf("a lone read %s inside a transaction must fail", how)
				}
			}
			_, err := tx.ExecContext(ctx, insert, "default", "a", 1, true, nil)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := count(t, d); n != 1 {
			t.Errorf("%d rows, want 1", n)
		}
	})
}

// TestWritersDoNotLoseEachOther reads and then writes in racing transactions;
// with the row locked first, no increment may be lost on either engine.
func TestWritersDoNotLoseEachOther(t *testing.T) {
	const writers, rounds = 8, 25
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		migrated(t, d)
		if _, err := d.ExecContext(t.Context(), insert, "default", "n", 0, true, nil); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range rounds {
					if err := d.Tx(t.Context(), increment); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		var size int
		if err := d.GetContext(t.Context(), &size, `SELECT size FROM entry WHERE id = $1`, "n"); err != nil {
			t.Fatal(err)
		}
		if size != writers*rounds {
			t.Errorf("counted %d, want %d", size, writers*rounds)
		}
	})
}

func increment(ctx context.Context, tx *sqlx.Tx) error {
	if _, err := tx.ExecContext(ctx, `UPDATE entry SET live = NOT live WHERE id = $1`, "n"); err != nil {
		return err
	}
	var size int
	if err := tx.GetContext(ctx, &size, `SELECT size FROM entry WHERE id = $1`, "n"); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `UPDATE entry SET size = $1 WHERE id = $2`, size+1, "n")
	return err
}

// TestDeadlockIsRunAgain makes two transactions lock two rows crosswise.
// SQLite cannot get there: it has one writer.
func TestDeadlockIsRunAgain(t *testing.T) {
	if os.Getenv(dbtest.EnvURL) == "" {
		return // dbtest.Each would leave PostgreSQL out just as quietly
	}
	d := dbtest.Postgres(t)
	migrated(t, d)
	for i, id := range []string{"a", "b"} {
		if _, err := d.ExecContext(t.Context(), insert, "default", id, i, true, nil); err != nil {
			t.Fatal(err)
		}
	}
	var meet, wg sync.WaitGroup
	meet.Add(2)
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		wg.Go(func() {
			first := true
			err := d.Tx(t.Context(), func(ctx context.Context, tx *sqlx.Tx) error {
				const touch = `UPDATE entry SET live = NOT live WHERE id = $1`
				if _, err := tx.ExecContext(ctx, touch, order[0]); err != nil {
					return err
				}
				if first { // both hold their first row now
					first = false
					meet.Done()
					meet.Wait()
				}
				_, err := tx.ExecContext(ctx, touch, order[1])
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	odd := filepath.Join(dir, "50% of #1?.db")
	d, err := db.Open(t.Context(), odd)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	migrated(t, d)
	for _, name := range []string{odd, odd + "-wal"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v: others can read it", name, info.Mode())
		}
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := d.GetContext(t.Context(), &got, "PRAGMA "+pragma); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", pragma, got, err, want)
		}
	}

	for _, url := range []string{"", "sqlite:", ":memory:", filepath.Join(dir, "missing", "x.db"),
		"postgres://joe:hunter2@localhost:port/x", "host=/nonexistent user=joe password=hunter2 dbname=x"} {
		_, err := db.Open(t.Context(), url)
		if err == nil {
			t.Errorf("Open(%q) succeeded", url)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%q) tells the password: %v", url, err)
		}
	}
}

func count(t *testing.T, d *db.DB) (n int) {
	t.Helper()
	if err := d.GetContext(t.Context(), &n, `SELECT count(*) FROM entry`); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCheckReadsTheFile turns bytes in the middle of the file: the engine
// finds pages or indexes that contradict themselves.
// A database without room says so, keeps nothing of what did not fit, and goes on
// when there is room.
func TestFullDatabase(t *testing.T) {
	d, ctx := dbtest.SQLite(t), t.Context()
	exec := func(query string, args ...any) error {
		_, err := d.ExecContext(ctx, query, args...)
		return err
	}
	if err := errors.Join(exec(`CREATE TABLE heap (n BIGINT PRIMARY KEY, load BYTEA NOT NULL)`), exec(`PRAGMA max_page_count = 50`)); err != nil {
		t.Fatal(err)
	}
	grow := func(ctx context.Context, tx *sqlx.Tx) (err error) {
		for n := 0; n < 100 && err == nil; n++ {
			_, err = tx.ExecContext(ctx, `INSERT INTO heap (n, load) VALUES ($1, $2)`, n, make([]byte, 4096))
		}
		return err
	}
	if err := d.Tx(ctx, grow); !db.IsFull(err) || db.IsFull(nil) || db.IsFull(db.ErrExists) {
		t.Errorf("growing beyond its bound: %v", err)
	}
	var n int
	if err := errors.Join(d.GetContext(ctx, &n, `SELECT count(*) FROM heap`), exec(`PRAGMA max_page_count = 5000`)); err != nil || n != 0 {
		t.Errorf("%d rows are there, %v", n, err)
	}
	if err := d.Tx(ctx, grow); err != nil {
		t.Errorf("with room: %v", err)
	}
}

func TestCheckReadsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	d, err := db.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	migrated(t, d)
	for i := range 300 {
		if _, err := d.ExecContext(t.Context(), insert, "default", strings.Repeat("id", i+1), i, true, nil); err != nil {
			t.Fatal(err)
		}
	}
	if problems, err := d.Check(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("an honest file: %q, %v", problems, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(raw) / 2; i < len(raw)/2+4096; i++ {
		raw[i] ^= 0x55
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err = db.Open(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if problems, err := d.Check(t.Context()); err == nil && len(problems) == 0 {
		t.Error("a broken file passed")
	}
}

// TestSnapshotWhileOthersWrite copies a database again and again under a
// writer that always adds two rows at once: every copy has an even number.
func TestSnapshotWhileOthersWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "50% of #1?.db")
	d, err := db.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	migrated(t, d)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wrote := make(chan struct{}, 1)
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i += 2 {
			_ = d.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
				for j := range 2 {
					if _, err := tx.ExecContext(ctx, insert, "default", strconv.Itoa(i+j), i+j, true, nil); err != nil {
						return err
					}
				}
				return nil
			})
			select {
			case wrote <- struct{}{}:
			default:
			}
		}
	})
	last := 0
	for i := range 5 {
		<-wrote
		to := filepath.Join(dir, strconv.Itoa(i)+".db")
		if err := db.Snapshot(t.Context(), path, to); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(to)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		copied, err := db.Open(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		if n := count(t, copied); n%2 != 0 || n < last {
			t.Errorf("%d rows after %d", n, last)
		} else {
			last = n
		}
		if err := copied.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if last == 0 {
		t.Error("nothing was written meanwhile")
	}
	if err := db.Snapshot(t.Context(), path, filepath.Join(dir, "0.db")); err == nil {
		t.Error("a file that is there was replaced")
	}
}
