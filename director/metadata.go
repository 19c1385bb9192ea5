package director

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sealift/internal/db"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// Metadata returns a document of the Director repository as a device asks for
// it: root.json, N.root.json, and targets, snapshot and timestamp of that
// device, with or without version. What is due is written and signed first.
//
// Only the newest version of a device's own documents is served: an older one
// may list what was cancelled since. A device without ECUs gets
// ErrNotRegistered and nothing is signed. Equal calls get equal bytes.
func (d *Director) Metadata(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, filename string) ([]byte, error) {
	role, version, err := uptane.ParseFilename(filename)
	if err != nil || !role.TopLevel() {
		return nil, ErrNoMetadata
	}
	if role == uptane.RoleRoot {
		return d.roots.Root(ctx, ns, uptane.DirectorRepository, version)
	}
	s, err := d.ready(ctx, ns, device, role)
	if err != nil {
		return nil, fmt.Errorf("serving %s of device %s: %w", filename, device, err)
	}
	if version != 0 && s.Version != int64(version) {
		return nil, ErrNoMetadata
	}
	return s.Document, nil
}

// maxRootChanges is how many roots may overtake one request.
const maxRootChanges = 3

// ready returns a role's document, signed and good to serve.
func (d *Director) ready(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, role uptane.Role) (served, error) {
	overtaken := 0
	for range maxTries {
		s, err := d.advance(ctx, ns, device, role)
		if errors.Is(err, uptane.ErrRootChanged) {
			overtaken++
		}
		switch {
		case err == nil:
			return s, nil
		case overtaken >= maxRootChanges:
			return s, ErrBusy.Wrap(err)
		case !errors.Is(err, errMoved):
			return s, err
		}
	}
	return served{}, ErrBusy
}

// advance returns a document that is good to serve, or takes one step towards
// it and returns errMoved. Every step may be taken by several replicas at
// once; one wins and all read what it stored.
func (d *Director) advance(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, role uptane.Role) (served, error) {
	root, err := d.keys.RootVersion(ctx, ns, uptane.DirectorRepository)
	if err != nil {
		return served{}, err
	}
	s, err := d.poll(ctx, ns, device, role)
	switch {
	case err != nil:
		return s, err
	case d.usable(s, root) && s.Document != nil:
		return s, nil
	case d.usable(s, root):
		return s, d.seal(ctx, ns, device, role, s)
	case role == uptane.RoleTimestamp && s.Version == 0 && s.Newest != 0:
		return s, d.addTimestamp(ctx, ns, device)
	}
	return s, d.renew(ctx, ns, device, root)
}

func (d *Director) poll(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, role uptane.Role) (served, error) {
	s, err := d.store.poll(ctx, ns, device, role)
	if errors.Is(err, db.ErrNoRows) || err == nil && !s.Registered {
		return s, ErrNotRegistered
	}
	return s, err
}

// usable reports whether a document says what it must: written for the
// device's present state, under the current root, with enough time left.
func (d *Director) usable(s served, root int) bool {
	return s.Version != 0 && !s.Void && s.RootVersion == int64(root) && s.WrittenFor == s.Epoch &&
		fresh(d.now(), s.CreatedAt, s.Expires, s.Capped)
}

// fresh applies the rule of age: a quarter of the life or 72 hours must be
// left, whichever is more. What expires with its root is good to its end,
// because a new one would not live longer.
func fresh(now time.Time, created, expires int64, capped bool) bool {
	left := expires - now.UnixMilli()
	if capped {
		return left > 0
	}
	return left >= max((expires-created)/4, minLeft.Milliseconds())
}

// seal signs exactly what is stored and stores the result unless another
// replica's came first.
func (d *Director) seal(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, role uptane.Role, s served) error {
	job := uptane.Job{Namespace: ns, Repository: uptane.DirectorRepository, Role: role, RootVersion: int(s.RootVersion)}
	doc, err := uptane.SealPayload(ctx, uptane.Uptane, d.signer, job, s.Payload)
	if errors.Is(err, uptane.ErrRootChanged) {
		if err := d.store.void(ctx, d.store.db, ns, device, s.Version); err != nil {
			return err
		}
		return fmt.Errorf("%w: %w", errMoved, err)
	}
	if err != nil {
		return err
	}
	if err := d.accept(ctx, ns, device, role, doc); err != nil {
		return err
	}
	if err := d.store.seal(ctx, ns, device, role, s.Version, doc); err != nil {
		return err
	}
	return errMoved
}

// accept judges the form of a document before it is stored: once, when it is
// sealed, so that serving costs nothing more. What is refused is never served; the
// device keeps what it has.
func (d *Director) accept(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, role uptane.Role, doc []byte) error {
	if err := acceptance.Form(uptane.Uptane, uptane.DirectorRepository, role, doc); err != nil {
		return ErrRefusedDocument.Wrap(err)
	}
	if size := acceptance.SizeOf(uptane.Uptane, uptane.DirectorRepository, role, doc); size.High() {
		d.log.WarnContext(ctx, "metadata of a device come near what it reads; split the update, or assign fewer images at once",
			"namespace", ns, "device", device, "role", role, "bytes", size.Bytes, "limit", size.Limit)
	}
	return nil
}

// Root returns the Director's root of that version, the latest for 0, as
// devices get it.
func (d *Director) Root(ctx context.Context, ns uptane.Namespace, version int) ([]byte, error) {
	return d.roots.Root(ctx, ns, uptane.DirectorRepository, version)
}
