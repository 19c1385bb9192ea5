package repo

import (
	"context"

	"github.com/jmoiron/sqlx"

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
