package registry

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

func (store) document(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID, kind string) (Document, error) {
	var row struct {
		Body      string `db:"body"`
		UpdatedAt int64  `db:"updated_at"`
	}
	err := sqlx.GetContext(ctx, q, &row, `SELECT body, updated_at FROM registry_document WHERE namespace = $1 AND device = $2 AND kind = $3`, ns, device, kind)
	return Document{Body: row.Body, UpdatedAt: millis(row.UpdatedAt)}, db.Err(err)
}

func (store) putDocument(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, device uptane.DeviceID, kind, body string, at time.Time) error {
	_, err := q.ExecContext(ctx, `INSERT INTO registry_document (namespace, device, kind, body, updated_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (namespace, device, kind) DO UPDATE SET body = excluded.body, updated_at = excluded.updated_at`, ns, device, kind, body, at.UnixMilli())
	return err
}

// replacePackages writes what changed of the list in one transaction.
func (r *Registry) replacePackages(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, list []Package) error {
	now := r.now().UnixMilli()
	return r.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := r.store.lock(ctx, tx, ns, device); err != nil {
			return err
		}
		var stored []Package
		if err := tx.SelectContext(ctx, &stored, `SELECT name, version FROM registry_package WHERE namespace = $1 AND device = $2`, ns, device); err != nil {
			return err
		}
		gone := map[Package]bool{}
		for _, p := range stored {
			gone[p] = true
		}
		for _, p := range list {
			if _, there := gone[p]; there {
				gone[p] = false
				continue
			}
			gone[p] = false
			if _, err := tx.ExecContext(ctx, `INSERT INTO registry_package (namespace, device, name, version, updated_at) VALUES ($1, $2, $3, $4, $5)`, ns, device, p.Name, p.Version, now); err != nil {
				return err
			}
		}
		for p, drop := range gone {
			if !drop {
				continue
			}
			if _, err := tx.ExecContext(ctx, `DELETE FROM registry_package WHERE namespace = $1 AND device = $2 AND name = $3 AND version = $4`, ns, device, p.Name, p.Version); err != nil {
				return err
			}
		}
		return nil
	})
}

func (store) packages(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID, nameContains string, offset, limit int) ([]Package, int, error) {
	const where = `FROM registry_package WHERE namespace = $1 AND device = $2 AND LOWER(name) LIKE $3 ESCAPE '\'`
	pattern := contains(nameContains)
	var total int
	if err := sqlx.GetContext(ctx, q, &total, `SELECT COUNT(*) `+where, ns, device, pattern); err != nil {
		return nil, 0, err
	}
	var list []Package
	err := sqlx.SelectContext(ctx, q, &list, `SELECT name, version `+where+` ORDER BY name, version LIMIT $4 OFFSET $5`, ns, device, pattern, limit, offset)
	return list, total, err
}

// addEvents writes a batch in one transaction; ids that are there stay as they are.
func (r *Registry) addEvents(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, events []Event) error {
	return r.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		for _, e := range events {
			if err := r.store.addEvent(ctx, tx, ns, device, e); err != nil {
				return err
			}
		}
		return r.store.forgetEvents(ctx, tx, ns, device)
	})
}

// forgetEvents drops the oldest events of a device, at most one batch of them:
// no device can pile up more.
func (store) forgetEvents(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, device uptane.DeviceID) error {
	_, err := q.ExecContext(ctx, `DELETE FROM registry_event WHERE namespace = $1 AND device = $2 AND id IN (SELECT id FROM registry_event
		WHERE namespace = $1 AND device = $2 ORDER BY received_at DESC, id DESC LIMIT $3 OFFSET $4)`, ns, device, maxEventItems, keptEvents)
	return err
}

func (store) addEvent(ctx context.Context, q sqlx.ExecerContext, ns uptane.Namespace, device uptane.DeviceID, e Event) error {
	_, err := q.ExecContext(ctx, `INSERT INTO registry_event (namespace, device, id, type, version, ecu, correlation, payload, device_time, received_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (namespace, device, id) DO NOTHING`,
		ns, device, e.ID, e.Type, e.Version, e.ECU, e.Correlation, e.Payload, e.DeviceTime.UnixMilli(), e.ReceivedAt.UnixMilli())
	return err
}

func (store) events(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID, correlation string, offset, limit int) ([]Event, int, error) {
	const where = `FROM registry_event WHERE namespace = $1 AND device = $2 AND ($3 = '' OR correlation = $3)`
	var total int
	if err := sqlx.GetContext(ctx, q, &total, `SELECT COUNT(*) `+where, ns, device, correlation); err != nil {
		return nil, 0, err
	}
	var rows []struct {
		ID          string `db:"id"`
		Type        string `db:"type"`
		Version     int    `db:"version"`
		ECU         string `db:"ecu"`
		Correlation string `db:"correlation"`
		Payload     string `db:"payload"`
		DeviceTime  int64  `db:"device_time"`
		ReceivedAt  int64  `db:"received_at"`
	}
	err := sqlx.SelectContext(ctx, q, &rows, `SELECT id, type, version, ecu, correlation, payload, device_time, received_at `+where+`
		ORDER BY received_at DESC, device_time DESC, id DESC LIMIT $4 OFFSET $5`, ns, device, correlation, limit, offset)
	list := make([]Event, len(rows))
	for i, r := range rows {
		list[i] = Event{ID: r.ID, Type: r.Type, Version: r.Version, ECU: r.ECU, Correlation: r.Correlation, Payload: r.Payload, DeviceTime: millis(r.DeviceTime), ReceivedAt: millis(r.ReceivedAt)}
	}
	return list, total, err
}
