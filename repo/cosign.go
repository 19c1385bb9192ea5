package repo

import (
	"context"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// Cosign adds signatures to the targets of that id that wait: lists of signature
// objects of either flavour, as they stand in documents. When enough have signed,
// the targets are published; if that fails, signing once more tries again. by
// names who brings them.
//
// It answers ErrNotWaiting, ErrWaitingChanged, ErrInvalid, ErrInvalidTargets for
// signatures that are wrong or of other keys, and what [Repo.PutTargets] answers.
func (r *Repo) Cosign(ctx context.Context, ns uptane.Namespace, id string, sigs, tufSigs []byte, by string) (Waiting, error) {
	repository, err := r.repository(ctx, ns)
	if err != nil {
		return Waiting{}, err
	}
	row, err := r.awaitedAs(ctx, r.store.db, ns, repository, id)
	var added waitingRow
	if err == nil { // not in the transaction: it takes time, and reads the root
		added, err = r.cosigned(ctx, ns, row, sigs, tufSigs)
	}
	if err == nil {
		err = r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
			repository, err := r.store.lock(ctx, tx, ns)
			if err != nil {
				return err
			}
			if row, err = r.awaitedAs(ctx, tx, ns, repository, id); err != nil {
				return err
			}
			if row, err = mergeWaiting(row, added); err != nil {
				return err
			}
			if err := r.store.saveWaiting(ctx, tx, ns, row); err != nil {
				return err
			}
			return r.act(ctx, tx, ns, actCosign, "targets version %d, %s, by %s", row.Version, row.ID, signersIn(added))
		})
	}
	if err != nil {
		return Waiting{}, fmt.Errorf("adding signatures to targets of %s: %w", ns, err)
	}
	return r.publishWaiting(ctx, ns, row, by)
}

// signersIn names the keys that signed what waits.
func signersIn(row waitingRow) string {
	e, err := uptane.ParseEnvelope(uptane.Uptane, row.Uptane)
	if err != nil {
		return "nobody"
	}
	var ids []string
	for _, s := range e.Signatures {
		ids = append(ids, string(s.KeyID))
	}
	return strings.Join(ids, ", ")
}

// awaitedAs is awaited if that has an id.
func (r *Repo) awaitedAs(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, repository repositoryRow, id string) (waitingRow, error) {
	row, err := r.awaited(ctx, q, ns, repository)
	switch {
	case err != nil:
	case row.ID == "":
		err = ErrNotWaiting
	case row.ID != id:
		err = ErrWaitingChanged.Withf("%q waits, not %q; look at what it says before you sign it", row.ID, id)
	}
	return row, err
}

// cosigned is what waits with these signatures alone, found good.
func (r *Repo) cosigned(ctx context.Context, ns uptane.Namespace, row waitingRow, sigs, tufSigs []byte) (waitingRow, error) {
	var err error
	if row.Uptane, err = withSignatures(uptane.Uptane, row.Uptane, sigs); err != nil {
		return row, err
	}
	docs := map[uptane.Flavour][]byte{uptane.Uptane: row.Uptane}
	if len(tufSigs) == 0 {
		row.TUF = nil
	} else if row.TUF != nil {
		if row.TUF, err = withSignatures(uptane.TUF, row.TUF, tufSigs); err != nil {
			return row, err
		}
		docs[uptane.TUF] = row.TUF
	}
	for f, doc := range docs {
		e, err := uptane.ParseEnvelope(f, doc)
		if err != nil {
			return row, ErrInvalid.With(err.Error())
		}
		if err := r.checkSigners(ctx, ns, f, doc, e); err != nil {
			return row, err
		}
	}
	return row, nil
}

// withSignatures is the payload of a document with other signatures.
func withSignatures(f uptane.Flavour, doc, sigs []byte) ([]byte, error) {
	v, err := canonical.Parse(doc, canonical.Options{ASCII: true})
	if err != nil {
		return nil, err
	}
	list, err := canonical.Parse(sigs, canonical.Options{ASCII: true})
	if err != nil || list.Kind() != canonical.Array || len(list.Items()) == 0 {
		return nil, ErrInvalid.Withf("no list of %s signatures", f)
	}
	return v.With("signatures", list).Uptane(), nil
}

// mergeWaiting is a with the signatures of b, which is about the same payload.
func mergeWaiting(a, b waitingRow) (waitingRow, error) {
	var err error
	if a.Uptane, err = mergeSignatures(uptane.Uptane, a.Uptane, b.Uptane); err != nil {
		return a, err
	}
	if a.TUF == nil {
		a.TUF = b.TUF
	} else if b.TUF != nil {
		a.TUF, err = mergeSignatures(uptane.TUF, a.TUF, b.TUF)
	}
	return a, err
}

func mergeSignatures(f uptane.Flavour, a, b []byte) ([]byte, error) {
	have, err := uptane.ParseEnvelope(f, a)
	if err != nil {
		return nil, err
	}
	more, err := uptane.ParseEnvelope(f, b)
	if err != nil {
		return nil, err
	}
	for _, s := range more.Signatures {
		known := false
		for i := range have.Signatures {
			if have.Signatures[i].KeyID == s.KeyID {
				have.Signatures[i], known = s, true
			}
		}
		if !known {
			have.Signatures = append(have.Signatures, s)
		}
	}
	return have.Encode(f), nil
}
