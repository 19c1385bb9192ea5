package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// readDelegatedTwin opens the TUF document of a delegated role. It reports whether
// it was that of the visible metadata, which had none, and is published now.
func (r *Repo) readDelegatedTwin(ctx context.Context, ns uptane.Namespace, role uptane.Role, doc []byte, twin *twinRow) (late bool, err error) {
	_, rows, err := r.delegations(ctx, ns)
	if err != nil {
		return false, err
	}
	row, trust, err := trustIn(rows, role)
	if err != nil {
		return false, err
	}
	if err := acceptance.Form(uptane.TUF, uptane.ImageRepository, role, doc); err != nil {
		return false, err
	}
	d, err := uptane.Open[metadata.TargetsType](uptane.TUF, doc, role, trust.Ring, time.Time{})
	if err != nil {
		return false, ErrInvalid.With(err.Error())
	}
	twin.Digest, twin.Version, twin.Document = targetsDigest(role, &d.Payload), int(d.Payload.Version), d.Raw
	if row.Version != twin.Version || row.TUFVersion == row.Version {
		return false, nil
	}
	visible, err := r.store.delegated(ctx, ns, role, row.Version)
	if err != nil {
		return false, fmt.Errorf("reading metadata of %s of %s: %w", role, ns, err)
	}
	e, err := uptane.ParseEnvelope(uptane.Uptane, visible.Document)
	if err != nil || uptane.Twins(role, e.Signed, d.Signed) != nil {
		return false, nil // it waits for metadata of its own
	}
	seen, err := r.delegatedTwin(ctx, ns, row, *twin)
	var s signedSet
	if err == nil {
		s, err = r.sealTwin(ctx, ns, seen)
	}
	if errors.Is(err, errSuperseded) || errors.Is(err, errAgain) {
		return false, ErrBusy
	}
	if err != nil {
		return false, fmt.Errorf("judging TUF metadata of %s of %s: %w", role, ns, err)
	}
	err = r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := r.store.lock(ctx, tx, ns); err != nil {
			return err
		}
		if err := r.twinInOrder(ctx, tx, ns, seen, s); err != nil {
			return err
		}
		l, err := r.store.listing(ctx, tx, tree{ns, uptane.Uptane})
		if err != nil {
			return err
		}
		if l[role] != row.Version {
			return errSuperseded
		}
		if err := r.store.addTwin(ctx, tx, ns, role, *twin); err != nil {
			return err
		}
		return r.makeDelegatedTwinVisible(ctx, tx, ns, role, *twin)
	})
	if errors.Is(err, errSuperseded) || errors.Is(err, errAgain) {
		return false, ErrBusy
	}
	if err != nil {
		return false, fmt.Errorf("publishing TUF metadata of %s of %s: %w", role, ns, err)
	}
	r.forget(ns)
	return true, nil
}
