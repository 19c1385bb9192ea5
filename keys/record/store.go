package record

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/mod/sumdb/tlog"

	"sealift/internal/db"
	"sealift/uptane"
)

// store is the SQL of the record. Its rows are written by the vault.
type store struct{ db *db.DB }

func (s store) waiting(ctx context.Context) (any bool, err error) {
	err = s.db.GetContext(ctx, &any,
		`SELECT EXISTS (SELECT 1 FROM signature_record WHERE batch IS NULL) OR EXISTS (SELECT 1 FROM audit WHERE batch IS NULL)`)
	return any, err
}

// lock takes the right to add the next batch and returns its number. Nobody but
// sealers waits for one another here.
func (s store) lock(ctx context.Context, tx *sqlx.Tx) (number int64, err error) {
	err = tx.GetContext(ctx, &number, `UPDATE record_tree SET batches = batches + 1 WHERE id = 1 RETURNING batches`)
	return number, err
}

const (
	signatureColumns = `'signature' AS kind, id, namespace, signed AS at, repository, role, key_id, root_version, message_sha256, clock,
		'' AS actor, '' AS action, '' AS detail`
	actColumns = `'act' AS kind, id, namespace, created AS at, '' AS repository, '' AS role, '' AS key_id, 0 AS root_version,
		'' AS message_sha256, 0 AS clock, actor, action, detail`
)

// take gives waiting rows to the batch, and returns them in their order.
func (s store) take(ctx context.Context, tx *sqlx.Tx, number int64) (rows []Leaf, err error) {
	var acts []Leaf
	err = tx.SelectContext(ctx, &rows, `UPDATE signature_record SET batch = $1 WHERE batch IS NULL
		AND id IN (SELECT id FROM signature_record WHERE batch IS NULL ORDER BY clock, signed LIMIT $2) RETURNING `+signatureColumns, number, batchLimit)
	if err == nil {
		err = tx.SelectContext(ctx, &acts, `UPDATE audit SET batch = $1 WHERE batch IS NULL
			AND id IN (SELECT id FROM audit WHERE batch IS NULL ORDER BY id LIMIT $2) RETURNING `+actColumns, number, batchLimit)
	}
	return inOrder(append(rows, acts...)), err
}

// noteLast keeps when the last of the signatures was that have left the index of
// those that wait: the clock is held against it.
func (s store) noteLast(ctx context.Context, tx *sqlx.Tx, clock, signed int64) error {
	_, err := tx.ExecContext(ctx, `UPDATE record_tree SET last_clock = $1,
		last_signed = CASE WHEN last_clock = $1 AND last_signed > $2 THEN last_signed ELSE $2 END
		WHERE id = 1 AND last_clock <= $1`, clock, signed)
	return err
}

func inOrder(rows []Leaf) []Leaf {
	slices.SortFunc(rows, func(a, b Leaf) int { return strings.Compare(a.ID, b.ID) })
	return rows
}

// rows are those of a batch, in their order.
func (s store) rows(ctx context.Context, number int64) (rows []Leaf, err error) {
	err = s.db.SelectContext(ctx, &rows,
		`SELECT `+signatureColumns+` FROM signature_record WHERE batch = $1 UNION ALL SELECT `+actColumns+` FROM audit WHERE batch = $1`, number)
	return inOrder(rows), err
}

// homeless counts rows of batches that do not exist.
func (s store) homeless(ctx context.Context) (n int, err error) {
	const outside = `batch < 1 OR batch > (SELECT COALESCE(MAX(number), 0) FROM record_batch)`
	err = s.db.GetContext(ctx, &n, `SELECT (SELECT COUNT(*) FROM signature_record WHERE `+outside+`)
		+ (SELECT COUNT(*) FROM audit WHERE `+outside+`)`)
	return n, err
}

// overdue counts rows that wait although they are older than a moment.
func (s store) overdue(ctx context.Context, before int64) (n int64, err error) {
	err = s.db.GetContext(ctx, &n, `SELECT (SELECT COUNT(*) FROM signature_record WHERE batch IS NULL AND signed < $1)
		+ (SELECT COUNT(*) FROM audit WHERE batch IS NULL AND created < $1)`, before)
	return n, err
}

// found is a signature of some bytes and where it is.
type found struct {
	ID    string        `db:"id"`
	Batch sql.NullInt64 `db:"batch"`
}

// first finds the first signature of the bytes with that hash: one that is sealed,
// which there is an index of, or else one of those that wait.
func (s store) first(ctx context.Context, ns uptane.Namespace, sha256 string) (f found, err error) {
	const query = `SELECT id, batch FROM signature_record WHERE message_sha256 = $1 AND namespace = $2 AND batch `
	err = s.db.GetContext(ctx, &f, query+`IS NOT NULL ORDER BY batch, id LIMIT 1`, sha256, ns)
	if errors.Is(err, db.ErrNoRows) {
		err = s.db.GetContext(ctx, &f, query+`IS NULL ORDER BY id LIMIT 1`, sha256, ns)
	}
	return f, err
}

// storedHash is a hash of the tree over the batches.
type storedHash struct {
	Position int64  `db:"position"`
	Hash     []byte `db:"hash"`
}

// hashes reads hashes of the tree over the batches.
func (s store) hashes(ctx context.Context, q sqlx.QueryerContext) tlog.HashReader {
	return tlog.HashReaderFunc(func(positions []int64) ([]Hash, error) {
		if len(positions) == 0 {
			return nil, nil
		}
		query, args, err := sqlx.In(`SELECT position, hash FROM record_hash WHERE position IN (?)`, positions)
		if err != nil {
			return nil, err
		}
		var rows []storedHash
		if err := sqlx.SelectContext(ctx, q, &rows, sqlx.Rebind(sqlx.DOLLAR, query), args...); err != nil {
			return nil, err
		}
		list := make([]Hash, len(positions))
		for i, at := range positions {
			r := slices.IndexFunc(rows, func(r storedHash) bool { return r.Position == at })
			if r < 0 || len(rows[r].Hash) != tlog.HashSize {
				return nil, fmt.Errorf("reading hash %d of the record: it is gone or has another length", at)
			}
			list[i] = Hash(rows[r].Hash)
		}
		return list, nil
	})
}

// addHashes stores hashes from a position on.
func (s store) addHashes(ctx context.Context, tx *sqlx.Tx, position int64, list []Hash) error {
	rows, args := make([]string, len(list)), make([]any, 0, 2*len(list))
	for i, h := range list {
		rows[i] = fmt.Sprintf("($%d, $%d)", 2*i+1, 2*i+2)
		args = append(args, position+int64(i), h[:])
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO record_hash (position, hash) VALUES `+strings.Join(rows, ", "), args...)
	return err
}

func (s store) addBatch(ctx context.Context, tx *sqlx.Tx, b batch) error {
	leaves := make([]byte, 0, len(b.leaves)*tlog.HashSize)
	for _, h := range b.leaves {
		leaves = append(leaves, h[:]...)
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO record_batch (number, sealed, leaves, head) VALUES ($1, $2, $3, $4)`,
		b.Number, b.Sealed, leaves, b.head[:])
	return err
}

// batch reads a batch; ok is false where there is none of that number.
func (s store) batch(ctx context.Context, number int64) (b batch, ok bool, err error) {
	var row struct {
		Sealed int64  `db:"sealed"`
		Leaves []byte `db:"leaves"`
		Head   []byte `db:"head"`
	}
	err = s.db.GetContext(ctx, &row, `SELECT sealed, leaves, head FROM record_batch WHERE number = $1`, number)
	if errors.Is(err, db.ErrNoRows) {
		return b, false, nil
	}
	b = batch{Number: number, Sealed: row.Sealed}
	for len(row.Leaves) >= tlog.HashSize {
		b.leaves = append(b.leaves, Hash(row.Leaves[:tlog.HashSize]))
		row.Leaves = row.Leaves[tlog.HashSize:]
	}
	if len(row.Head) == tlog.HashSize {
		b.head = Hash(row.Head)
	}
	return b, true, err
}

// size is how many batches there are, by what sealers count and by the last one.
func (s store) size(ctx context.Context) (counted, last int64, err error) {
	var row struct {
		Counted int64 `db:"counted"`
		Last    int64 `db:"last"`
	}
	err = s.db.GetContext(ctx, &row, `SELECT COALESCE((SELECT MAX(batches) FROM record_tree), 0) AS counted,
		COALESCE((SELECT MAX(number) FROM record_batch), 0) AS last`)
	return row.Counted, row.Last, err
}

func (s store) head(ctx context.Context) (Head, error) {
	var row struct {
		Number int64  `db:"number"`
		Sealed int64  `db:"sealed"`
		Head   []byte `db:"head"`
	}
	err := s.db.GetContext(ctx, &row, `SELECT number, sealed, head FROM record_batch ORDER BY number DESC LIMIT 1`)
	if errors.Is(err, db.ErrNoRows) {
		return Head{}, nil
	}
	if err == nil && len(row.Head) != tlog.HashSize {
		err = fmt.Errorf("reading batch %d: its head is no hash", row.Number)
	}
	if err != nil {
		return Head{}, err
	}
	return Head{Size: row.Number, Hash: Hash(row.Head), At: time.UnixMilli(row.Sealed).UTC()}, nil
}
