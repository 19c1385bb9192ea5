package keys

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	"sealift/uptane"
)

// Where a private key is, as [Held.Place] says it; a key in a token or key service is
// named by its URI.
const (
	PlaceDatabase = "database"
	PlaceOffline  = "offline" // not here: whoever signs has it
)

var (
	// ErrInToken: the private key does not leave its token or key service.
	ErrInToken = errors.New("the key is in a PKCS#11 token or a key service, which does not give it away")
	// ErrNotHeld: there is no such private key here.
	ErrNotHeld = errors.New("no such private key on this server")
)

// Held is a key of a repository and who has its private half.
type Held struct {
	Repository uptane.Repository
	Role       uptane.Role
	Key        uptane.Key
	// Place is [PlaceDatabase], [PlaceOffline] or the URI of a key in a token or key
	// service.
	Place string
	// InRoot: the current root names it; others do not sign.
	InRoot bool
	// Imported is since when it is known that another server had the private key,
	// where copies of it may be left: it is to be replaced. Zero for all others.
	Imported time.Time
}

// Custody lists the keys that the current roots of a namespace name, and those
// that are held here beside them, in the order of repositories and roles.
func (v *Vault) Custody(ctx context.Context, ns uptane.Namespace) ([]Held, error) {
	var list []Held
	for _, repo := range []uptane.Repository{uptane.ImageRepository, uptane.DirectorRepository} {
		state, err := v.rootState(ctx, ns, repo)
		if err != nil {
			return nil, err
		}
		rows, err := v.store.onlineKeys(ctx, v.store.db, ns, repo)
		if err != nil {
			return nil, fmt.Errorf("reading online keys: %w", err)
		}
		imported, err := v.store.imported(ctx, ns, repo)
		if err != nil {
			return nil, fmt.Errorf("reading imported keys: %w", err)
		}
		for _, role := range topLevel() {
			here, err := v.heldFor(ctx, state, role, rows)
			if err != nil {
				return nil, err
			}
			for n, h := range here {
				here[n].Imported = maybeTime(imported[h.Key.ID()])
			}
			list = append(list, here...)
		}
	}
	return list, nil
}

func (v *Vault) heldFor(ctx context.Context, state *rootState, role uptane.Role, rows []onlineKeyRow) (list []Held, err error) {
	named := state.roles[role]
	for _, key := range named.keys {
		if !held(rows, role, key) {
			list = append(list, Held{Repository: state.repo, Role: role, Key: key, Place: PlaceOffline, InRoot: true})
		}
	}
	for _, row := range rows {
		if row.Role != role {
			continue
		}
		key, err := uptane.ParseSPKI(row.SPKI)
		if err != nil {
			return nil, fmt.Errorf("reading online keys: %w", err)
		}
		packed, err := v.seals.openBytes(ctx, row.sealed, string(state.ns), string(state.repo), string(role), string(key.ID()))
		if err != nil {
			return nil, fmt.Errorf("opening key %s: %w", key.ID(), err)
		}
		place := PlaceDatabase
		if isPackedURI(packed) {
			place = string(packed)
		}
		list = append(list, Held{Repository: state.repo, Role: role, Key: key, Place: place, InRoot: named.has(key)})
	}
	return list, nil
}

// Export hands a private key of an online role to save, once the act is in the
// audit. It exists for a local command: whoever has the database and the master
// key can do the same, and nobody else may. Errors wrap ErrInToken or ErrNotHeld,
// or are those of save.
func (v *Vault) Export(ctx context.Context, ns uptane.Namespace, id uptane.KeyID, save func(Held, crypto.Signer) error) error {
	list, err := v.Custody(ctx, ns)
	if err != nil {
		return err
	}
	for _, h := range list {
		switch {
		case h.Key.ID() != id || h.Place == PlaceOffline:
			continue
		case h.Place != PlaceDatabase:
			return fmt.Errorf("exporting key %s: %w (%s)", id, ErrInToken, h.Place)
		}
		return v.export(ctx, ns, h, save)
	}
	return fmt.Errorf("exporting key %s in namespace %s: %w", id, ns, ErrNotHeld)
}

func (v *Vault) export(ctx context.Context, ns uptane.Namespace, h Held, save func(Held, crypto.Signer) error) error {
	rows, err := v.store.onlineKeys(ctx, v.store.db, ns, h.Repository)
	if err != nil {
		return fmt.Errorf("reading online keys: %w", err)
	}
	for _, row := range rows {
		if row.Role != h.Role || string(row.SPKI) != string(h.Key.SPKI()) {
			continue
		}
		private, _, err := v.seals.openOnline(ctx, row.sealed, roleKey{ns, h.Repository, h.Role, h.Key})
		if err != nil {
			return fmt.Errorf("opening key %s: %w", h.Key.ID(), err)
		}
		act, err := v.act(ctx, ns, "key.export", "private key %s, for %s of the %s repository, leaves the server", h.Key.ID(), h.Role, h.Repository)
		if err == nil {
			err = v.store.addAct(ctx, v.store.db, act)
		}
		if err != nil {
			return fmt.Errorf("recording the export of key %s: %w", h.Key.ID(), err)
		}
		return save(h, private)
	}
	return fmt.Errorf("exporting key %s: %w", h.Key.ID(), ErrNotHeld)
}
