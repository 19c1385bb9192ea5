package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// idleLife is how long an uploaded image is kept that no target names.
const idleLife = 7 * 24 * time.Hour

// sweepBatch bounds what one sweep deletes of a kind in a namespace.
const sweepBatch = 100

// Sweep deletes what nobody will need: uploads not completed within a day,
// images that no target has named for a week, TUF documents whose twin never
// came. It returns how many uploads and images went. Call it now and then; any
// number of replicas may.
func (r *Repo) Sweep(ctx context.Context) (int, error) {
	list, err := r.store.namespaces(ctx)
	if err != nil {
		return 0, fmt.Errorf("listing namespaces: %w", err)
	}
	total := 0
	for _, ns := range list {
		gone, err := r.sweep(ctx, ns)
		total += gone
		if err != nil {
			return total, fmt.Errorf("sweeping %s: %w", ns, err)
		}
	}
	return total, nil
}

func (r *Repo) sweep(ctx context.Context, ns uptane.Namespace) (int, error) {
	now, gone := r.now(), 0
	uploads, err := r.store.oldUploads(ctx, ns, now.Add(-uploadLife).UnixMilli(), sweepBatch)
	if err != nil {
		return gone, fmt.Errorf("looking for old uploads: %w", err)
	}
	for _, u := range uploads {
		if err := r.dropUpload(ctx, u); err != nil {
			return gone, fmt.Errorf("deleting upload %s: %w", u.ID, err)
		}
		gone++
	}
	images, err := r.store.oldImages(ctx, ns, now.Add(-idleLife).UnixMilli(), sweepBatch)
	if err != nil {
		return gone, fmt.Errorf("looking for images without a target: %w", err)
	}
	for _, i := range images {
		err := r.store.dropImage(ctx, i)
		if errors.Is(err, db.ErrNoRows) {
			continue // named again meanwhile
		}
		if err != nil {
			return gone, fmt.Errorf("deleting image %s: %w", i.ID, err)
		}
		r.discard(ctx, i.Blob)
		gone++
	}
	if err := r.store.dropTwins(ctx, ns, now.Add(-twinLife).UnixMilli()); err != nil {
		return gone, fmt.Errorf("deleting staged TUF documents: %w", err)
	}
	return gone, nil
}

func (r *Repo) dropUpload(ctx context.Context, u uploadRow) error {
	var blobs []string
	err := r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) (err error) {
		blobs, err = r.store.dropUpload(ctx, tx, u.Namespace, u.ID)
		return err
	})
	if errors.Is(err, db.ErrNoRows) {
		return nil
	}
	r.discard(ctx, blobs...)
	return err
}
