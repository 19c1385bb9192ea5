package repo

import (
	"context"
	"fmt"

	"sealift/internal/db"
)

// Blobs calls each with the key of every blob that the tables of d name: images
// and parts of uploads. It needs no Repo: d may be a copy of its database.
func Blobs(ctx context.Context, d *db.DB, each func(key string) error) error {
	keys, err := store{d}.blobs(ctx)
	if err != nil {
		return fmt.Errorf("listing images: %w", err)
	}
	for _, key := range keys {
		if err := each(key); err != nil {
			return err
		}
	}
	return nil
}
