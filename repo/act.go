package repo

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// What is written into the audit.
const (
	actCreate     = "repo.create"
	actTargets    = "targets.publish"
	actDelegation = "delegation.publish"
	actRemote     = "remote.set"
	actName       = "delegation.name"
	actPropose    = "targets.propose"
	actCosign     = "targets.cosign"
	actWithdraw   = "targets.withdraw"
	actNotBefore  = "not-before.set"
	actNote       = "target.note"
	actPolicy     = "policy.set"
	actTUF        = "tuf.switch"
)

// act enters an administrative act in the transaction that does it.
func (r *Repo) act(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, action, format string, args ...any) error {
	if r.cfg.Act == nil {
		return nil
	}
	return r.cfg.Act(ctx, tx, ns, action, fmt.Sprintf(format, args...))
}

// acting does something and enters it in the audit: both or neither.
func (r *Repo) acting(ctx context.Context, ns uptane.Namespace, action, detail string, do func(context.Context, *sqlx.Tx) error) error {
	return r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := do(ctx, tx); err != nil {
			return err
		}
		return r.act(ctx, tx, ns, action, "%s", detail)
	})
}
