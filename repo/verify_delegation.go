package repo

import (
	"context"
	"errors"

	"sealift/internal/db"
	"sealift/uptane"
)

// delegations opens the visible metadata of delegated roles again.
func (v *verification) delegations(ctx context.Context) error {
	rows, err := v.store.delegations(ctx, v.ns)
	if err != nil {
		return err
	}
	for role, row := range rows {
		if row.Version == 0 {
			continue
		}
		v.account.Looked("delegated metadata", 1)
		doc, err := v.store.delegated(ctx, v.ns, role, row.Version)
		if errors.Is(err, db.ErrNoRows) {
			v.damaged("delegation "+string(role), "its version %d is not there", row.Version)
			continue
		}
		if err != nil {
			return err
		}
		if checksum(doc.Document) != doc.Checksum {
			v.damaged("delegation "+string(role), "version %d has another checksum than its row", row.Version)
		}
		if !row.Valid {
			continue
		}
		trust, err := uptane.ParseDelegation(uptane.Uptane, []byte(row.Trust))
		if err == nil {
			_, err = openDelegated(doc.Document, role, trust)
		}
		if err != nil {
			v.damaged("delegation "+string(role), "%v", err)
		}
	}
	return nil
}
