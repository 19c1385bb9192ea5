package repo

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Rewrap seals the secrets of remote addresses, of all namespaces, under others
// in a transaction that does the same with everything else.
func (r *Repo) Rewrap(ctx context.Context, tx *sqlx.Tx, to Secrets) error {
	rows, err := r.store.sealedHeaders(ctx, tx)
	if err != nil {
		return fmt.Errorf("reading remote delegations: %w", err)
	}
	for _, row := range rows {
		plain, err := r.cfg.Secrets.Unwrap(row.Headers)
		if err == nil {
			row.Headers, err = to.Wrap(plain)
		}
		if err == nil {
			err = r.store.replaceHeaders(ctx, tx, row)
		}
		if err != nil {
			return fmt.Errorf("sealing headers of remote %s of %s anew: %w", row.Role, row.Namespace, err)
		}
	}
	return nil
}
