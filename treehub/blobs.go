package treehub

import (
	"context"
	"fmt"

	"sealift/internal/db"
	"sealift/treehub/ostree"
)

// Blobs calls each with the key of every blob that the tables of d name. It
// needs no TreeHub: d may be a copy of its database.
func Blobs(ctx context.Context, d *db.DB, each func(key string) error) error {
	s := store{d}
	list, err := s.namespaces(ctx)
	if err != nil {
		return fmt.Errorf("listing namespaces of TreeHub: %w", err)
	}
	for _, ns := range list {
		for after := ""; ; {
			page, err := s.objectsAfter(ctx, ns, after, verifyPage)
			if err != nil {
				return fmt.Errorf("listing objects of %s: %w", ns, err)
			}
			if len(page) == 0 {
				break
			}
			for _, o := range page {
				after = o.Name
				if !o.stored() {
					continue
				}
				name, err := ostree.ParseObjectName(o.Name)
				if err != nil {
					return fmt.Errorf("listing objects of %s: %q: %w", ns, o.Name, err)
				}
				if err := each(blobKey(ns, name, o.Generation)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
