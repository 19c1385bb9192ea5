package repo_test

import (
	"context"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/fault"
	"sealift/uptane"
)

// device is a client that verifies everything and forgets nothing.
type device struct {
	w         *world
	root      *metadata.RootType
	timestamp *metadata.TimestampType
	snapshot  *metadata.SnapshotType
	targets   *metadata.TargetsType
}

// update walks through all metadata as the standard says.
func (d *device) update(s *server) error {
	ctx, now := d.w.t.Context(), d.w.clock.now()
	for next := 1; ; next++ {
		if d.root != nil {
			next = int(d.root.Version) + 1
		}
		doc, err := s.Metadata(ctx, ns, fmt.Sprintf("%d.root.json", next))
		if fault.Status(err) == 404 && d.root != nil {
			break
		}
		if err != nil {
			return err
		}
		root, err := uptane.OpenRoot(uptane.Uptane, doc.Bytes, d.root, time.Time{})
		if err != nil {
			return err
		}
		d.root, d.timestamp, d.snapshot, d.targets = &root.Payload, nil, nil, nil
	}
	timestamp, err := fetch[metadata.TimestampType](ctx, s, d.root, uptane.RoleTimestamp, now)
	if err != nil {
		return err
	}
	if err := uptane.CheckTimestamp(d.timestamp, &timestamp.Payload); err != nil {
		return err
	}
	snapshot, err := fetch[metadata.SnapshotType](ctx, s, d.root, uptane.RoleSnapshot, now)
	if err != nil {
		return err
	}
	if err := uptane.CheckSnapshot(&timestamp.Payload, snapshot.Raw, d.snapshot, &snapshot.Payload); err != nil {
		return err
	}
	targets, err := fetch[metadata.TargetsType](ctx, s, d.root, uptane.RoleTargets, now)
	if err != nil {
		return err
	}
	if err := uptane.CheckTargets(&snapshot.Payload, uptane.RoleTargets, targets.Raw, d.targets, &targets.Payload); err != nil {
		return err
	}
	d.timestamp, d.snapshot, d.targets = &timestamp.Payload, &snapshot.Payload, &targets.Payload
	return nil
}

func (d *device) mustUpdate(s *server) {
	d.w.t.Helper()
	if err := d.update(s); err != nil {
		d.w.t.Fatal(err)
	}
}

func fetch[T metadata.Roles](ctx context.Context, s *server, root *metadata.RootType, role uptane.Role, now time.Time) (uptane.Document[T], error) {
	doc, err := s.Metadata(ctx, ns, role.Filename(0))
	if err != nil {
		return uptane.Document[T]{}, err
	}
	ring, err := uptane.RingOf(uptane.Uptane, root, role)
	if err != nil {
		return uptane.Document[T]{}, err
	}
	d, err := uptane.Open[T](uptane.Uptane, doc.Bytes, role, ring, now)
	if err == nil && string(d.Raw) != string(doc.Bytes) {
		err = fmt.Errorf("%s is not served in canonical form", role)
	}
	return d, err
}
