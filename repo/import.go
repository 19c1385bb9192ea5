package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/uptane"
)

// RaiseVersions makes the snapshots and timestamps of a namespace go on at a
// version at least, because clients have seen lower ones on another server. It
// never lowers what was asked for before.
func (r *Repo) RaiseVersions(ctx context.Context, ns uptane.Namespace, floor int) error {
	return r.changeFloors(ctx, ns, func(_ context.Context, _ *sqlx.Tx, f *floors) error {
		f.Floor = max(f.Floor, floor)
		return nil
	})
}

// Published tells whether these targets were published here; others of the same
// version are not these.
func (r *Repo) Published(ctx context.Context, ns uptane.Namespace, targets uptane.Document[metadata.TargetsType]) (bool, error) {
	_, err := r.store.publishedPush(ctx, ns, int(targets.Payload.Version))
	if errors.Is(err, db.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading targets of %s: %w", ns, err)
	}
	err = r.sameTargets(ctx, ns, targets)
	if errors.Is(err, ErrExists) {
		return false, nil
	}
	return err == nil, err
}

// HasBytes tells whether bytes of that content were uploaded under a filename,
// whether a target names them or not.
func (r *Repo) HasBytes(ctx context.Context, ns uptane.Namespace, filename, sha256 string, length int64) (bool, error) {
	images, err := r.store.imagesOf(ctx, ns, []string{filename})
	for _, i := range images[filename] {
		if i.SHA256 == sha256 && i.Length == length {
			return true, err
		}
	}
	return false, err
}
