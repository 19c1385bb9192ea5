package director

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// versionEpoch: versions of online roles are minutes since then at least, so
// that a restored backup does not go backwards.
var versionEpoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// deviceRoles are signed for each device on its own.
var deviceRoles = []uptane.Role{uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp}

// rootFacts is what the current root means for a new document.
type rootFacts struct {
	version int
	expires time.Time
	since   map[uptane.Role]int // root version in which the role's keys last changed
}

func (d *Director) rootFacts(ctx context.Context, ns uptane.Namespace, version int) (rootFacts, error) {
	f := rootFacts{version: version, since: map[uptane.Role]int{}}
	raw, err := d.roots.Root(ctx, ns, uptane.DirectorRepository, version)
	if err != nil {
		return f, err
	}
	root, err := uptane.OpenRoot(uptane.Uptane, raw, nil, time.Time{})
	if err != nil {
		return f, err
	}
	f.expires = root.Payload.Expires
	for _, role := range deviceRoles {
		if f.since[role], err = d.keys.RoleKeysSince(ctx, ns, uptane.DirectorRepository, role); err != nil {
			return f, err
		}
	}
	return f, nil
}

// life returns when a document made now ends, and whether that is because the
// root ends.
func (d *Director) lifeEnd(root rootFacts) (expires time.Time, capped bool, err error) {
	now := d.now().UTC().Truncate(time.Second)
	expires = now.Add(d.life)
	if !root.expires.After(expires) {
		expires, capped = root.expires, true
	}
	if !expires.After(now) {
		return expires, capped, ErrRootExpired.Withf("it ended %s", root.expires.Format(time.RFC3339))
	}
	return expires, capped, nil
}

// renew writes the next targets and snapshot of a device and returns errMoved:
// they, or those another replica wrote first, are there now.
func (d *Director) renew(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, version int) error {
	root, err := d.rootFacts(ctx, ns, version)
	if err != nil {
		return fmt.Errorf("reading root %d: %w", version, err)
	}
	err = d.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error { return d.writeAhead(ctx, tx, ns, device, root) })
	if err != nil {
		return err
	}
	return errMoved
}

func (d *Director) writeAhead(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, root rootFacts) error {
	row, err := d.locked(ctx, tx, ns, device)
	if err != nil {
		return err
	}
	if row.Primary == "" {
		return ErrNotRegistered
	}
	newest, err := d.store.document(ctx, tx, ns, device, uptane.RoleTargets, row.Document)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return err
	}
	if d.current(newest, row, root.version) {
		return nil
	}
	if err := d.store.void(ctx, tx, ns, device, row.Document); err != nil {
		return err
	}
	doc := documentRow{Device: device, RootVersion: int64(root.version), Epoch: row.Epoch, CreatedAt: d.now().UnixMilli()}
	expires, capped, err := d.lifeEnd(root)
	if err != nil {
		return err
	}
	doc.Expires, doc.Capped = expires.UnixMilli(), capped
	if doc.Version, err = d.nextVersion(ctx, tx, ns, row, root); err != nil {
		return err
	}
	list, err := d.offer(ctx, tx, ns, device, row)
	if err != nil {
		return err
	}
	if err := d.writeSet(ctx, tx, ns, row, doc, newest, list); err != nil {
		return err
	}
	return nil
}

// current is usable for a row read under the lock.
func (d *Director) current(doc documentRow, row deviceRow, root int) bool {
	return doc.Version != 0 && !doc.Void && doc.RootVersion == int64(root) && doc.Epoch == row.Epoch &&
		fresh(d.now(), doc.CreatedAt, doc.Expires, doc.Capped)
}

// nextVersion is above every version signed with the keys a role has now, and
// at least the minutes since 2020 and the device's floor. The roles of a device
// share it.
func (d *Director) nextVersion(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, row deviceRow, root rootFacts) (int64, error) {
	next := max(int64(d.now().Sub(versionEpoch)/time.Minute), row.Floor)
	for _, role := range deviceRoles {
		last, err := d.store.lastVersion(ctx, tx, ns, row.Device, role, root.since[role])
		if err != nil {
			return 0, err
		}
		next = max(next, last+1)
	}
	return max(next, 1), nil
}

// offer returns what a device is to be told and marks it as told.
func (d *Director) offer(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, row deviceRow) ([]assignmentRow, error) {
	f, err := d.facts(ctx, tx, ns, device)
	if err != nil {
		return nil, err
	}
	list := listable(f.open, f.ecus)
	told := false
	for i := range list {
		if list[i].Status != Assigned {
			continue
		}
		list[i].Status, list[i].OfferedAt = Offered, d.now().UnixMilli()
		told = true
		if err := d.store.saveAssignment(ctx, tx, ns, list[i]); err != nil {
			return nil, err
		}
	}
	if !told {
		return list, nil
	}
	return list, d.record(ctx, tx, ns, device, uptane.Change{})
}

// writeSet inserts the payloads of targets and snapshot. A version that was
// used under keys since replaced is passed over.
func (d *Director) writeSet(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, row deviceRow, doc, newest documentRow, list []assignmentRow) error {
	ids := make([]string, len(list))
	for i, a := range list {
		ids[i] = a.ID
	}
	slices.Sort(ids)
	raw, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	targets := doc
	targets.Role, targets.Assignments = uptane.RoleTargets, string(raw)
	targets.Correlation = correlation(list, targets.Assignments, newest)
	expires := time.UnixMilli(doc.Expires).UTC()
	for added := false; !added; targets.Version++ {
		targets.Payload, err = targetsPayload(targets.Version, expires, row.OEMID, targets.Correlation, list)
		if err != nil {
			return err
		}
		if added, err = d.store.addDocument(ctx, tx, ns, targets); err != nil {
			return err
		}
		doc.Version = targets.Version
	}
	doc.Role = uptane.RoleSnapshot
	doc.Payload, err = uptane.Payload(uptane.Uptane, uptane.RoleSnapshot, uptane.NewSnapshot(doc.Version, expires, doc.Version, nil))
	if err != nil {
		return err
	}
	if _, err := d.store.addDocument(ctx, tx, ns, doc); err != nil {
		return err
	}
	row.Document = doc.Version
	return d.store.saveDevice(ctx, tx, ns, row)
}

// addTimestamp writes the timestamp that belongs to the newest snapshot, which
// is sealed first, and returns errMoved.
func (d *Director) addTimestamp(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) error {
	snapshot, err := d.ready(ctx, ns, device, uptane.RoleSnapshot)
	if err != nil {
		return err
	}
	expires := time.UnixMilli(snapshot.Expires).UTC()
	payload, err := uptane.NewTimestamp(uptane.Uptane, snapshot.Version, expires, snapshot.Document)
	if err != nil {
		return err
	}
	doc := documentRow{
		Device: device, Role: uptane.RoleTimestamp, Version: snapshot.Version, RootVersion: snapshot.RootVersion,
		Epoch: snapshot.WrittenFor, CreatedAt: snapshot.CreatedAt, Expires: snapshot.Expires, Capped: snapshot.Capped,
	}
	if doc.Payload, err = uptane.Payload(uptane.Uptane, uptane.RoleTimestamp, payload); err != nil {
		return err
	}
	err = d.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		row, err := d.locked(ctx, tx, ns, device)
		if err != nil || row.Epoch != doc.Epoch || row.Document != doc.Version {
			return err // the next round sees what has changed
		}
		_, err = d.store.addDocument(ctx, tx, ns, doc)
		return err
	})
	if err != nil {
		return err
	}
	return errMoved
}

// correlation is the id under which a device reports: the update's own when
// all assignments have one, else one of the set, kept while the set is the same.
func correlation(list []assignmentRow, ids string, newest documentRow) string {
	switch distinct := correlations(list); len(distinct) {
	case 0:
		return ""
	case 1:
		return distinct[0]
	}
	if newest.Assignments == ids && newest.Correlation != "" {
		return newest.Correlation
	}
	return newSet()
}

func newSet() string { return "urn:sealift:set:" + uuid.NewString() }
