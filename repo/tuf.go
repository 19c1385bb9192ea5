package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// TUF is how the tree for TUF clients stands.
type TUF struct {
	On        bool
	Anonymous bool // whoever asks gets it
	// Root is the version of the current root, RootTwin that of the last root up to
	// which all have a TUF document. TUF can be switched on when they are equal.
	Root, RootTwin int
	// Targets is the version that devices see, TUFTargets the one that TUF clients
	// see; 0 is none. They differ after a push that came without its TUF document,
	// until the next one with it.
	Targets, TUFTargets int
}

// Behind is by how many versions TUF clients lag behind devices.
func (t TUF) Behind() int { return t.Targets - t.TUFTargets }

// TUF tells how the tree for TUF clients stands. It answers ErrNoRepository.
func (r *Repo) TUF(ctx context.Context, ns uptane.Namespace) (TUF, error) {
	row, err := r.repository(ctx, ns)
	if err != nil {
		return TUF{}, err
	}
	t := TUF{On: row.TUF, Anonymous: row.Anonymous}
	if t.Root, err = r.cfg.RootVersion(ctx, ns, uptane.ImageRepository); err != nil {
		return t, fmt.Errorf("reading root version of %s: %w", ns, err)
	}
	if r.cfg.RootTwins != nil {
		if t.RootTwin, err = r.cfg.RootTwins.RootTwinVersion(ctx, ns); err != nil {
			return t, fmt.Errorf("reading TUF root version of %s: %w", ns, err)
		}
	}
	t.Targets, err = r.version(ctx, ns, row.Push)
	if err == nil {
		t.TUFTargets, err = r.version(ctx, ns, row.TUFPush)
	}
	return t, err
}

// version is that of a push, 0 where there is none.
func (r *Repo) version(ctx context.Context, ns uptane.Namespace, push string) (int, error) {
	if push == "" {
		return 0, nil
	}
	v, err := r.store.pushVersion(ctx, ns, push)
	if err != nil {
		return 0, fmt.Errorf("reading targets version of %s: %w", ns, err)
	}
	return v, nil
}

// SetTUF switches the tree for TUF clients on or off, and anonymous reading of
// it. Switched off it keeps what it has. It answers ErrTwinMissing unless every
// root has its TUF document: clients walk through all of them. A namespace that
// has pushed targets only without TUF documents may be switched on; its clients
// find targets after the next push. What they would find is judged first, as on
// every other way to them: acceptance.ErrRefused says what to sign anew.
func (r *Repo) SetTUF(ctx context.Context, ns uptane.Namespace, on, anonymous bool) error {
	if anonymous && !on {
		return ErrInvalid.With("what is off cannot be anonymous")
	}
	for range maxTries {
		err := r.switchTUF(ctx, ns, on, anonymous)
		if errors.Is(err, errAgain) || errors.Is(err, errSuperseded) || errors.Is(err, uptane.ErrRootChanged) {
			continue // something was published meanwhile
		}
		if errors.Is(err, db.ErrNoRows) {
			return ErrNoRepository
		}
		if err != nil {
			return fmt.Errorf("switching TUF of %s: %w", ns, err)
		}
		r.forget(ns)
		return nil
	}
	return ErrBusy
}

func (r *Repo) switchTUF(ctx context.Context, ns uptane.Namespace, on, anonymous bool) error {
	var judged stand
	if on {
		var err error
		if judged, err = r.judgeTUF(ctx, ns); err != nil {
			return err
		}
	}
	return r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		row, err := r.store.lock(ctx, tx, ns)
		if err != nil {
			return err
		}
		if on && !row.TUF && row.visible(uptane.TUF) != judged {
			return errAgain
		}
		if err := r.store.setTUF(ctx, tx, ns, on, anonymous); err != nil {
			return err
		}
		return r.act(ctx, tx, ns, actTUF, "enabled %t, anonymous %t", on, anonymous)
	})
}

// requireTwins answers ErrTwinMissing unless all roots up to version have their
// TUF document.
func (r *Repo) requireTwins(ctx context.Context, ns uptane.Namespace, version int) error {
	have := 0
	if r.cfg.RootTwins != nil {
		var err error
		if have, err = r.cfg.RootTwins.RootTwinVersion(ctx, ns); err != nil {
			return fmt.Errorf("reading TUF root version of %s: %w", ns, err)
		}
	}
	if have >= version {
		return nil
	}
	return ErrTwinMissing.Withf("the TUF document of root version %d comes next, those up to version %d are missing", have+1, version)
}

// requireRootTwin answers ErrTwinMissing to a new root without a twin. One that
// is published with its twin may be sent again.
func (r *Repo) requireRootTwin(ctx context.Context, ns uptane.Namespace, version int) error {
	err := r.requireTwins(ctx, ns, version)
	if errors.Is(err, ErrTwinMissing) {
		return ErrTwinMissing.Withf("TUF is on: send the TUF document of root version %d first (PUT tuf/root), or switch TUF off", version)
	}
	return err
}

// RequireAnonymous answers ErrTUFOff unless anybody may read the TUF tree of the
// namespace. Ask it before anything else about a namespace that a stranger named.
func (r *Repo) RequireAnonymous(ctx context.Context, ns uptane.Namespace) error {
	if !ns.Valid() {
		return ErrTUFOff
	}
	row, err := r.repository(ctx, ns)
	if errors.Is(err, ErrNoRepository) || err == nil && !(row.TUF && row.Anonymous) {
		return ErrTUFOff
	}
	return err
}

// TUFMetadata is [Repo.Metadata] for TUF clients: N.root.json, timestamp.json,
// N.snapshot.json, N.targets.json and N.ROLE.json of delegated roles, old versions
// too. Besides the answers of
// Metadata there is ErrTUFOff.
func (r *Repo) TUFMetadata(ctx context.Context, ns uptane.Namespace, filename string) (Document, error) {
	role, version, err := uptane.ParseFilename(filename)
	if err != nil || (version == 0) != (role == uptane.RoleTimestamp) {
		return Document{}, ErrRoleMissing.Withf("%.100q is not metadata for TUF clients", filename)
	}
	t := tree{ns, uptane.TUF}
	if _, err := r.tufRow(ctx, t); err != nil {
		return Document{}, err
	}
	if err := r.RequireNewest(ctx, ns); err != nil {
		return Document{}, err
	}
	if role == uptane.RoleRoot {
		return r.tufRoot(ctx, t, version)
	}
	s, err := r.current(ctx, t)
	if err != nil {
		return Document{}, err
	}
	var doc []byte
	switch {
	case role == uptane.RoleTimestamp:
		return s.serve(s.timestamp, r.now())
	case role == uptane.RoleTargets && version == s.push.Version:
		return s.targets(), nil
	case role == uptane.RoleTargets, role.Delegation():
		doc, err = r.store.publishedTwin(ctx, ns, role, version)
	case version == s.snapshot.Version:
		doc = s.snapshot.Document
	default:
		var row documentRow
		row, err = r.store.of(t).document(ctx, role, version)
		doc = row.Document
	}
	if errors.Is(err, db.ErrNoRows) || err == nil && doc == nil {
		return Document{}, ErrRoleMissing
	}
	if err != nil {
		return Document{}, fmt.Errorf("reading %s of %s: %w", filename, ns, err)
	}
	return s.document(doc, checksum(doc)), nil
}

func (r *Repo) tufRoot(ctx context.Context, t tree, version int) (Document, error) {
	row, err := r.tufRow(ctx, t)
	if err != nil {
		return Document{}, err
	}
	if r.cfg.RootTwins == nil {
		return Document{}, ErrRoleMissing
	}
	raw, err := r.cfg.RootTwins.RootTwin(ctx, t.ns, version)
	if err != nil {
		return Document{}, fmt.Errorf("reading TUF root of %s: %w", t.ns, err)
	}
	return Document{Bytes: raw, Checksum: checksum(raw), Repository: row.ID}, nil
}

// tufRow returns the repository, at most a second old, if TUF is on.
func (r *Repo) tufRow(ctx context.Context, t tree) (repositoryRow, error) {
	if s := r.view(t).get(); s != nil {
		if age := r.now().Sub(s.read); age >= 0 && age < fresh {
			return s.repository, nil // a set is kept only while TUF is on
		}
	}
	row, err := r.repository(ctx, t.ns)
	if err == nil && !row.TUF {
		err = ErrTUFOff
	}
	return row, err
}

// TUFImage returns where the bytes are that TUF metadata lists, by the name under
// which its clients ask: [DIR/]SHA256.NAME. It answers ErrTUFOff or
// ErrTargetMissing; the latter also for OSTree commits, which are in TreeHub, and
// for images that lie on other servers.
func (r *Repo) TUFImage(ctx context.Context, ns uptane.Namespace, name string) (Image, error) {
	if _, err := r.tufRow(ctx, tree{ns, uptane.TUF}); err != nil {
		return Image{}, err
	}
	filename, sum, err := uptane.ParseHashedName(name)
	if err != nil {
		return Image{}, ErrTargetMissing
	}
	row, err := r.store.tufImage(ctx, ns, filename, sum)
	if errors.Is(err, db.ErrNoRows) {
		return Image{}, ErrTargetMissing
	}
	if err != nil {
		return Image{}, fmt.Errorf("reading image of TUF target %q of %s: %w", filename, ns, err)
	}
	return Image{Bucket: r.bucket, Key: row.Blob, SHA256: row.SHA256, Length: row.Length}, nil
}
