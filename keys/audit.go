package keys

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// Act is an administrative act in the audit.
type Act struct {
	ID        string           `db:"id"`
	Namespace uptane.Namespace `db:"namespace"`
	At        time.Time        `db:"-"`
	Actor     string           `db:"actor"`
	Action    string           `db:"action"`
	Detail    string           `db:"detail"`
}

// maxActs is the longest page of [Vault.Acts].
const maxActs = 1000

// AuditIn records an administrative act of a person or program, in the transaction
// of the act itself. Detail is free text; secrets do not belong there.
func (v *Vault) AuditIn(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, actor, action, detail string) error {
	a, err := v.act(ctx, ns, action, "%s", detail)
	if err != nil {
		return err
	}
	a.Actor = actor
	if err := v.store.addAct(ctx, tx, a); err != nil {
		return fmt.Errorf("recording act %s: %w", action, err)
	}
	return nil
}

// Act is [Vault.AuditIn] of whoever acts in ctx: what services are given to audit
// what they do.
func (v *Vault) Act(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, action, detail string) error {
	return v.AuditIn(ctx, tx, ns, v.actor(ctx), action, detail)
}

// Acts returns the latest acts in a namespace, newest first: at most limit of
// those before the act with that id, of all where it is empty.
func (v *Vault) Acts(ctx context.Context, ns uptane.Namespace, before string, limit int) ([]Act, error) {
	rows, err := v.store.acts(ctx, ns, before, min(max(limit, 1), maxActs))
	if err != nil {
		return nil, fmt.Errorf("reading audit of namespace %s: %w", ns, err)
	}
	list := make([]Act, len(rows))
	for i, r := range rows {
		list[i] = r.Act
		list[i].At = time.UnixMilli(r.Created).UTC()
	}
	return list, nil
}

// act is an audit entry of whoever acts in ctx, to be stored in the
// transaction of the act itself.
func (v *Vault) act(ctx context.Context, ns uptane.Namespace, action, format string, args ...any) (Act, error) {
	id, err := newID()
	if err != nil {
		return Act{}, err
	}
	return Act{ID: id, Namespace: ns, At: v.now(), Actor: v.actor(ctx), Action: action, Detail: fmt.Sprintf(format, args...)}, nil
}
