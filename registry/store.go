package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// store holds the SQL about devices; the other store files hold the rest.
type store struct{}

type deviceRow struct {
	Namespace   string `db:"namespace"`
	ID          string `db:"id"`
	OEMID       string `db:"oemid"`
	Name        string `db:"name"`
	Status      string `db:"status"`
	Notes       string `db:"notes"`
	CreatedAt   int64  `db:"created_at"`
	ActivatedAt int64  `db:"activated_at"`
	LastSeen    int64  `db:"last_seen"`
}

const deviceColumns = `namespace, id, oemid, name, status, notes, created_at, activated_at, last_seen`

func (r deviceRow) device() Device {
	return Device{
		Namespace: uptane.Namespace(r.Namespace), ID: uptane.DeviceID(r.ID), OEMID: uptane.OEMID(r.OEMID), Name: r.Name, Status: r.Status, Notes: r.Notes,
		CreatedAt: millis(r.CreatedAt), ActivatedAt: millis(r.ActivatedAt), LastSeen: millis(r.LastSeen),
	}
}

// millis is the time of a column; 0 is no time.
func millis(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return time.UnixMilli(at).UTC()
}

func (store) deviceID(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, oemid uptane.OEMID) (uptane.DeviceID, error) {
	var id string
	err := sqlx.GetContext(ctx, q, &id, `SELECT id FROM registry_device WHERE namespace = $1 AND oemid = $2`, ns, oemid)
	return uptane.DeviceID(id), db.Err(err)
}

// addDevice does nothing where the name is known.
func (store) addDevice(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, id uptane.DeviceID, oemid uptane.OEMID, at time.Time) error {
	_, err := q.ExecContext(ctx, `INSERT INTO registry_device (namespace, id, oemid, name, status, created_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (namespace, oemid) DO NOTHING`, ns, id, oemid, string(oemid), "NotSeen", at.UnixMilli())
	return err
}

func (store) device(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, idOrName string) (Device, error) {
	var r deviceRow
	err := db.Err(sqlx.GetContext(ctx, q, &r, `SELECT `+deviceColumns+` FROM registry_device WHERE namespace = $1 AND id = $2`, ns, idOrName))
	if errors.Is(err, db.ErrNoRows) {
		err = db.Err(sqlx.GetContext(ctx, q, &r, `SELECT `+deviceColumns+` FROM registry_device WHERE namespace = $1 AND oemid = $2`, ns, idOrName))
	}
	return r.device(), err
}

func (store) devices(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, s Search, offset, limit int) ([]Device, int, error) {
	where, params := s.where(ns)
	var total int
	if err := sqlx.GetContext(ctx, q, &total, `SELECT COUNT(*) FROM registry_device d WHERE `+where, params...); err != nil {
		return nil, 0, err
	}
	var rows []deviceRow
	n := len(params)
	err := sqlx.SelectContext(ctx, q, &rows, fmt.Sprintf(`SELECT %s FROM registry_device d WHERE %s ORDER BY name, id LIMIT $%d OFFSET $%d`, deviceColumns, where, n+1, n+2),
		append(params, limit, offset)...)
	list := make([]Device, len(rows))
	for i, r := range rows {
		list[i] = r.device()
	}
	return list, total, err
}

// where builds the condition of a search; only placeholders carry outside text.
func (s Search) where(ns uptane.Namespace) (string, []any) {
	conditions, params := []string{`d.namespace = $1`}, []any{ns}
	add := func(condition string, value any) {
		params = append(params, value)
		conditions = append(conditions, fmt.Sprintf(condition, len(params)))
	}
	if s.NameContains != "" {
		add(`LOWER(d.name) LIKE $%d ESCAPE '\'`, contains(s.NameContains))
	}
	if s.OEMID != "" {
		add(`d.oemid = $%d`, s.OEMID)
	}
	if s.Status != "" {
		add(`d.status = $%d`, s.Status)
	}
	if !s.NotSeenSince.IsZero() {
		add(`d.last_seen < $%d`, s.NotSeenSince.UnixMilli())
	}
	if len(s.HardwareIDs) > 0 {
		list := make([]string, len(s.HardwareIDs))
		for i, id := range s.HardwareIDs {
			params = append(params, id)
			list[i] = fmt.Sprintf("$%d", len(params))
		}
		conditions = append(conditions, `EXISTS (SELECT 1 FROM registry_hardware h WHERE h.namespace = d.namespace AND h.device = d.id
			AND h.hardware_id IN (`+strings.Join(list, ", ")+`))`)
	}
	return strings.Join(conditions, " AND "), params
}

// contains is the LIKE pattern for a substring in lower case.
func contains(text string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(text)) + "%"
}

// lock takes the device's row until the transaction ends: what is written from
// what was read of a device has to take turns.
func (store) lock(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, id uptane.DeviceID) error {
	_, err := tx.ExecContext(ctx, `UPDATE registry_device SET status = status WHERE namespace = $1 AND id = $2`, ns, id)
	return err
}

func (store) setDevice(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, id uptane.DeviceID, name, notes string) (int64, error) {
	res, err := q.ExecContext(ctx, `UPDATE registry_device SET name = $3, notes = $4 WHERE namespace = $1 AND id = $2`, ns, id, name, notes)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (store) setStatus(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, id uptane.DeviceID, status string) error {
	_, err := q.ExecContext(ctx, `UPDATE registry_device SET status = $3 WHERE namespace = $1 AND id = $2`, ns, id, status)
	return err
}

func (store) activate(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, id uptane.DeviceID, at time.Time) error {
	_, err := q.ExecContext(ctx, `UPDATE registry_device SET activated_at = $3 WHERE namespace = $1 AND id = $2 AND activated_at = 0`, ns, id, at.UnixMilli())
	return err
}

// seenRows is how many rows one statement has for last-seen times, always, and
// seenBatch how many devices one transaction writes.
const (
	seenRows  = 32
	seenBatch = 1024
)

var seenQuery = `WITH seen (namespace, id, at) AS (` + db.Values(seenRows, "TEXT", "TEXT", "BIGINT") + `)
	UPDATE registry_device SET last_seen = seen.at FROM seen
	WHERE registry_device.namespace = seen.namespace AND registry_device.id = seen.id`

// setSeen writes many last-seen times.
func (store) setSeen(ctx context.Context, d *db.DB, seen map[deviceKey]int64) error {
	all := slices.SortedFunc(maps.Keys(seen), func(a, b deviceKey) int { // replicas lock rows in one order
		return cmp.Or(cmp.Compare(a.ns, b.ns), cmp.Compare(a.device, b.device))
	})
	for batch := range slices.Chunk(all, seenBatch) {
		err := d.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
			for part := range slices.Chunk(batch, seenRows) {
				args := make([]any, 0, seenRows*3)
				for i := range seenRows {
					k := part[min(i, len(part)-1)]
					args = append(args, k.ns, k.device, seen[k])
				}
				if _, err := tx.ExecContext(ctx, seenQuery, args...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (store) replaceHardware(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, device uptane.DeviceID, ids map[uptane.HardwareID]bool) error {
	if _, err := q.ExecContext(ctx, `DELETE FROM registry_hardware WHERE namespace = $1 AND device = $2`, ns, device); err != nil {
		return err
	}
	for id := range ids {
		if _, err := q.ExecContext(ctx, `INSERT INTO registry_hardware (namespace, device, hardware_id) VALUES ($1, $2, $3)`, ns, device, id); err != nil {
			return err
		}
	}
	return nil
}

// history is a row to be written; Detail becomes JSON.
type history struct {
	At                     time.Time
	Kind, ECU, Correlation string
	Detail                 any
}

// forgetOneIn is how seldom old history is looked for: finding that there is none
// too many takes longer than writing an entry.
const forgetOneIn = 32

// addHistory now and then drops the oldest entries of the device: it causes them
// itself and must not be able to pile them up.
func (store) addHistory(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, device uptane.DeviceID, h history) error {
	detail, err := json.Marshal(h.Detail)
	if err != nil {
		return fmt.Errorf("writing detail: %w", err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("making an id: %w", err)
	}
	_, err = q.ExecContext(ctx, `INSERT INTO registry_history (namespace, device, id, at, kind, ecu, correlation, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		ns, device, id.String(), h.At.UnixMilli(), h.Kind, h.ECU, h.Correlation, string(detail))
	if err != nil || rand.N(forgetOneIn) != 0 {
		return err
	}
	_, err = q.ExecContext(ctx, `DELETE FROM registry_history WHERE namespace = $1 AND device = $2 AND id IN (SELECT id FROM registry_history
		WHERE namespace = $1 AND device = $2 ORDER BY id DESC LIMIT 100 OFFSET $3)`, ns, device, keptHistory)
	return err
}

func (store) history(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID, offset, limit int) ([]HistoryEntry, int, error) {
	var total int
	if err := sqlx.GetContext(ctx, q, &total, `SELECT COUNT(*) FROM registry_history WHERE namespace = $1 AND device = $2`, ns, device); err != nil {
		return nil, 0, err
	}
	var rows []struct {
		At          int64  `db:"at"`
		Kind        string `db:"kind"`
		ECU         string `db:"ecu"`
		Correlation string `db:"correlation"`
		Detail      string `db:"detail"`
	}
	err := sqlx.SelectContext(ctx, q, &rows, `SELECT at, kind, ecu, correlation, detail FROM registry_history
		WHERE namespace = $1 AND device = $2 ORDER BY id DESC LIMIT $3 OFFSET $4`, ns, device, limit, offset)
	list := make([]HistoryEntry, len(rows))
	for i, r := range rows {
		list[i] = HistoryEntry{At: millis(r.At), Kind: r.Kind, ECU: r.ECU, Correlation: r.Correlation, Detail: r.Detail}
	}
	return list, total, err
}
