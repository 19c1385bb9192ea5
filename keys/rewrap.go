package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// rewrapped is a data key under the master key before and after.
type rewrapped struct {
	number   int64
	old, new []byte
}

// Rewrap puts the data keys under another master key, in one transaction with
// the audit and with what also does: all of it opens with the old master key
// before, all of it with the new one after, whenever the process ends. What is
// sealed under data keys is not touched. The Vault is to be closed afterwards,
// as those of other processes are. done is how many data keys were moved.
func (v *Vault) Rewrap(ctx context.Context, to KEK, what string, also ...func(context.Context, *sqlx.Tx) error) (done int, err error) {
	rows, err := v.store.sealingKeys(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading data keys: %w", err)
	}
	var list []rewrapped
	for _, row := range rows {
		plain, err := v.seals.kek.Unwrap(row.Wrapped)
		if err != nil {
			return 0, err
		}
		r := rewrapped{number: row.Number, old: row.Wrapped}
		if r.new, err = to.Wrap(plain); err != nil {
			return 0, err
		}
		if again, err := to.Unwrap(r.new); err != nil || !bytes.Equal(again, plain) {
			return 0, errors.Join(errors.New("rewrapping data keys: the new master key does not open what it wrapped"), err)
		}
		list = append(list, r)
	}
	act, err := v.act(ctx, "", "key.rewrap", "%d data keys are under another master key: %s", len(list), what)
	if err != nil {
		return 0, err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		for _, r := range list {
			if ok, err := v.store.replaceWrapped(ctx, tx, r); err != nil || !ok {
				return errOr(err, errors.New("another process rewraps the data keys"))
			}
		}
		for _, more := range also {
			if err := more(ctx, tx); err != nil {
				return err
			}
		}
		return v.store.addAct(ctx, tx, act)
	})
	if err != nil {
		return 0, fmt.Errorf("rewrapping data keys: %w", err)
	}
	return len(list), nil
}
