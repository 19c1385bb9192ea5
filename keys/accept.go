package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// accept lets the judges of package acceptance read a root that is to follow the
// last one of its flavour, which is version last. The links before it were judged
// when they were published, and never change, so that a device at any older root
// can follow when one at the last root can.
func (v *Vault) accept(ctx context.Context, state *rootState, f uptane.Flavour, last int, doc []byte) error {
	if last == 0 {
		_, err := acceptance.Begin(f, state.repo, doc)
		return err
	}
	raw, err := v.rootDoc(ctx, state, f, last, last)
	if err != nil {
		return err
	}
	chain, err := acceptance.Begin(f, state.repo, raw)
	if err != nil {
		return err
	}
	_, err = chain.Extend(doc)
	return err
}

// refusal adds to the rules that a root breaks what a judge said; an error that is
// no refusal comes back.
func (r *reasons) refusal(err error) (*acceptance.Refusal, error) {
	refused := acceptance.RefusalOf(err)
	if refused == nil {
		return nil, err
	}
	r.add("%v", refused)
	return refused, nil
}

// faultOf is fault with the refusal of a judge, if there is one, for callers that
// look for its rule.
func (r reasons) faultOf(refused *acceptance.Refusal) error {
	if refused == nil || len(r) == 0 {
		return r.fault()
	}
	return ErrInvalidRoot.With(r.Error()).Wrap(errors.Join(r, refused))
}

// tooLarge refuses a root by its size alone, before anybody reads it.
func tooLarge(n int) error {
	refused := &acceptance.Refusal{Judge: acceptance.Aktualizr, Rule: acceptance.RuleSize, Role: uptane.RoleRoot,
		Reason: fmt.Sprintf("it is larger than %d bytes: %d", maxRoot, n)}
	return reasons{refused.Error()}.faultOf(refused)
}

// requireServable refuses a root under which devices would stand still: one that
// has ended while the last one lasts, and one of which the server cannot open an
// online key. A chain that is brought back after a restored backup is taken as it
// is, so that a newer root can follow.
func (v *Vault) requireServable(ctx context.Context, state *rootState, next nextRoot) error {
	if state.recovering {
		return nil
	}
	var why reasons
	now := v.now()
	if end := next.payload.Expires; !now.Before(end) && state.version > 0 && now.Before(state.payload.Expires) {
		why.add("it ended %s, and version %d lasts until %s: devices would refuse everything; sign it again with a later end",
			end.Format(time.RFC3339), state.version, state.payload.Expires.Format(time.RFC3339))
	}
	rows, err := v.store.onlineKeys(ctx, v.store.db, state.ns, state.repo)
	if err != nil {
		return fmt.Errorf("reading online keys: %w", err)
	}
	for _, row := range rows {
		key, err := uptane.ParseSPKI(row.SPKI)
		if err != nil {
			return fmt.Errorf("reading online keys: %w", err)
		}
		if !next.roles[row.Role].has(key) {
			continue
		}
		_, uri, err := v.openOnline(ctx, state, row, key)
		if err == nil && uri != "" {
			err = v.seals.away.try(uri, key)
		}
		if err != nil {
			why.add("key %s of %s cannot be used here: %v", key.ID(), row.Role, err)
		}
	}
	return why.fault()
}
