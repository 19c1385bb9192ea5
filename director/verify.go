package director

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/fsck"
	"sealift/uptane"
)

// verifyPage is how many devices are looked at between two looks at the tables.
const verifyPage = 200

// Known tells whether a device is known to whoever keeps the list of devices.
type Known func(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) (bool, error)

// Verify checks everything that is stored, of all namespaces, and writes what
// it finds into a: every signed document is opened under its root again and
// held against what was written ahead and against its neighbours; ECU keys,
// assignments and reports can be read and belong together; every device is
// known. It changes nothing and may run while devices poll. Errors are
// accidents.
func (d *Director) Verify(ctx context.Context, a *fsck.Account, known Known) error {
	list, err := d.store.namespaces(ctx)
	if err != nil {
		return fmt.Errorf("listing namespaces of the Director: %w", err)
	}
	for _, ns := range list {
		v := &verification{Director: d, ns: ns, account: a, known: known, rings: map[ringKey]uptane.Keyring{}, updates: map[string]bool{}}
		if err := v.run(ctx); err != nil {
			return fmt.Errorf("verifying Director of %s: %w", ns, err)
		}
	}
	return nil
}

// verification is the check of one namespace.
type verification struct {
	*Director
	ns      uptane.Namespace
	account *fsck.Account
	known   Known
	rings   map[ringKey]uptane.Keyring
	updates map[string]bool
}

type ringKey struct {
	root int64
	role uptane.Role
}

func (v *verification) damaged(device uptane.DeviceID, what, format string, args ...any) {
	v.account.Damaged(v.ns, fmt.Sprintf("device %s: %s", device, what), format, args...)
}

func (v *verification) run(ctx context.Context) error {
	for after := uptane.DeviceID(""); ; {
		page, err := v.store.devicesAfter(ctx, v.ns, after, verifyPage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, row := range page {
			after = row.Device
			if err := v.device(ctx, row); err != nil {
				return fmt.Errorf("device %s: %w", row.Device, err)
			}
		}
	}
	strays, err := v.store.strayDocuments(ctx, v.ns)
	for _, s := range strays {
		v.damaged(s.Device, "documents", "there are %d, but no such device", s.N)
	}
	return err
}

func (v *verification) device(ctx context.Context, row deviceRow) error {
	v.account.Looked("devices of the Director", 1)
	ok, err := v.known(ctx, v.ns, row.Device)
	if err != nil {
		return err
	}
	if !ok {
		v.damaged(row.Device, "registry", "the list of devices lacks it")
	}
	return errors.Join(v.documents(ctx, row), v.ecus(ctx, row), v.assignments(ctx, row), v.reports(ctx, row))
}

// documents opens all that was ever signed for a device.
func (v *verification) documents(ctx context.Context, row deviceRow) error {
	list, err := v.store.documentsOf(ctx, v.ns, row.Device)
	if err != nil {
		return err
	}
	snapshots := map[int64]documentRow{}
	newest := row.Document == 0
	for _, doc := range list {
		if doc.Role == uptane.RoleSnapshot {
			snapshots[doc.Version] = doc
		}
		newest = newest || doc.Role == uptane.RoleTargets && doc.Version == row.Document
	}
	if !newest {
		v.damaged(row.Device, "documents", "its newest version is said to be %d, which is not there", row.Document)
	}
	for _, doc := range list {
		what := fmt.Sprintf("%s %d", doc.Role, doc.Version)
		if doc.Document == nil {
			v.account.Looked("documents not signed", 1)
			continue
		}
		v.account.Looked("Director documents", 1)
		problem, err := v.document(ctx, row, doc, snapshots)
		if err != nil {
			return err
		}
		if problem != "" {
			v.damaged(row.Device, what, "%s", problem)
		}
	}
	return nil
}

func (v *verification) document(ctx context.Context, device deviceRow, row documentRow, snapshots map[int64]documentRow) (string, error) {
	if row.Void {
		return "it was given up and signed all the same", nil
	}
	ring, err := v.ring(ctx, row.RootVersion, row.Role)
	if err != nil {
		return err.Error(), ctx.Err()
	}
	switch row.Role {
	case uptane.RoleTargets:
		d, err := uptane.Open[metadata.TargetsType](uptane.Uptane, row.Document, row.Role, ring, time.Time{})
		if err != nil {
			return err.Error(), nil
		}
		return v.targets(device, row, d), nil
	case uptane.RoleSnapshot:
		d, err := uptane.Open[metadata.SnapshotType](uptane.Uptane, row.Document, row.Role, ring, time.Time{})
		if err != nil {
			return err.Error(), nil
		}
		if named := d.Payload.Meta[uptane.RoleTargets.Filename(0)]; named == nil || named.Version != row.Version {
			return "it does not name the targets of its version", nil
		}
		return sameRow(row, d.Signed, d.Payload.Version, d.Payload.Expires), nil
	case uptane.RoleTimestamp:
		d, err := uptane.Open[metadata.TimestampType](uptane.Uptane, row.Document, row.Role, ring, time.Time{})
		if err != nil {
			return err.Error(), nil
		}
		next := metadata.SnapshotType{Version: row.Version}
		if err := uptane.CheckSnapshot(&d.Payload, snapshots[row.Version].Document, nil, &next); err != nil {
			return err.Error(), nil
		}
		return sameRow(row, d.Signed, d.Payload.Version, d.Payload.Expires), nil
	}
	return "the Director signs no such role", nil
}

func (v *verification) targets(device deviceRow, row documentRow, d uptane.Document[metadata.TargetsType]) string {
	custom, err := uptane.DirectorCustomOf(&d.Payload)
	var ids []string
	switch {
	case err != nil:
		return err.Error()
	case row.Version == device.Document && custom.VehicleID != device.OEMID:
		return fmt.Sprintf("it is for %q, the device is %q", custom.VehicleID, device.OEMID)
	case custom.CorrelationID != row.Correlation:
		return fmt.Sprintf("its correlation id is %q, in its row %q", custom.CorrelationID, row.Correlation)
	case json.Unmarshal([]byte(row.Assignments), &ids) != nil:
		return "the list of its assignments cannot be read"
	}
	return sameRow(row, d.Signed, d.Payload.Version, d.Payload.Expires)
}

// sameRow holds what a document says against its row: what was signed must be
// what was written ahead.
func sameRow(row documentRow, signed []byte, version int64, expires time.Time) string {
	switch {
	case !bytes.Equal(signed, row.Payload):
		return "something else was signed than was written ahead"
	case version != row.Version || expires.UnixMilli() != row.Expires:
		return fmt.Sprintf("it says version %d until %s, its row another", version, expires.Format(time.RFC3339))
	}
	return ""
}

// ring is the trust of a root in a role; an error says why there is none.
func (v *verification) ring(ctx context.Context, version int64, role uptane.Role) (uptane.Keyring, error) {
	key := ringKey{version, role}
	if ring, ok := v.rings[key]; ok {
		return ring, nil
	}
	raw, err := v.roots.Root(ctx, v.ns, uptane.DirectorRepository, int(version))
	if err != nil {
		return uptane.Keyring{}, fmt.Errorf("root version %d: %w", version, err)
	}
	root, err := uptane.OpenRoot(uptane.Uptane, raw, nil, time.Time{})
	if err != nil {
		return uptane.Keyring{}, fmt.Errorf("root version %d: %w", version, err)
	}
	ring, err := uptane.RingOf(uptane.Uptane, &root.Payload, role)
	if err == nil {
		v.rings[key] = ring
	}
	return ring, err
}

func (v *verification) ecus(ctx context.Context, row deviceRow) error {
	list, err := v.store.ecus(ctx, v.store.db, v.ns, row.Device, true)
	if err != nil {
		return err
	}
	owners, err := v.store.keyOwners(ctx, v.ns, row.Device)
	if err != nil {
		return err
	}
	primary := row.Primary == ""
	for _, e := range list {
		v.account.Looked("ECUs", 1)
		primary = primary || e.Serial == row.Primary && e.Active
		if e.KeyID == "" {
			continue
		}
		key, err := uptane.ParseKey([]byte(e.Key))
		if err != nil || key.ID() != e.KeyID {
			v.damaged(row.Device, fmt.Sprintf("ECU %s", e.Serial), "its public key is not the one of its key id")
		} else if owners[e.KeyID] != row.Device {
			v.damaged(row.Device, fmt.Sprintf("ECU %s", e.Serial), "its key %s belongs to device %q", e.KeyID, owners[e.KeyID])
		}
	}
	if !primary {
		v.damaged(row.Device, "ECUs", "its Primary %s is not among them", row.Primary)
	}
	return nil
}

func (v *verification) assignments(ctx context.Context, row deviceRow) error {
	list, err := v.store.allAssignments(ctx, v.ns, row.Device)
	if err != nil {
		return err
	}
	for _, a := range list {
		v.account.Looked("assignments", 1)
		what := "assignment " + a.ID
		if _, err := decodeTarget(a.Filename, a.Target); err != nil {
			v.damaged(row.Device, what, "%v", err)
		}
		isOpen := a.Status == Assigned || a.Status == Offered || a.Status == NeedsCompletion
		if isOpen != a.Open || a.Open != (a.EndedAt == 0) {
			v.damaged(row.Device, what, "it is %s, but open is %t and it ended at %d", a.Status, a.Open, a.EndedAt)
		}
		there, err := v.update(ctx, a.Update)
		if err != nil {
			return err
		}
		if !there {
			v.damaged(row.Device, what, "there is no update %s", a.Update)
		}
	}
	return nil
}

// update tells whether there is an update of that id.
func (v *verification) update(ctx context.Context, id string) (bool, error) {
	there, asked := v.updates[id]
	if asked {
		return there, nil
	}
	_, err := v.store.update(ctx, v.ns, id)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return false, err
	}
	v.updates[id] = err == nil
	return err == nil, nil
}

func (v *verification) reports(ctx context.Context, row deviceRow) error {
	list, err := v.store.reportsOf(ctx, v.ns, row.Device)
	for _, r := range list {
		v.account.Looked("installation reports", 1)
		if !json.Valid([]byte(r.Report)) {
			v.damaged(row.Device, "report "+r.Digest, "it cannot be read")
		}
	}
	return err
}
