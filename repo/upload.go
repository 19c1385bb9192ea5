package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

// An image is uploaded so: begin with Initiate, ask for an address for each part
// (PartURL), send the parts there (PutPart), in any order and as often as need
// be, and finish with Complete. All steps may go to different replicas.

// uploadLife is how long an upload may take in all.
const uploadLife = 24 * time.Hour

// Upload is what an uploader needs to know to go on.
type Upload struct {
	ID       string
	PartSize int64
}

// Initiate begins the upload of an image of size bytes that will be the target
// filename. by names the uploader. It answers ErrInvalid, ErrTooLarge, or
// ErrExists when the target is there, bytes and all.
func (r *Repo) Initiate(ctx context.Context, ns uptane.Namespace, filename string, size int64, by string) (Upload, error) {
	u, err := r.begin(ctx, ns, filename, size, r.cfg.PartSize, by)
	if err != nil {
		return Upload{}, err
	}
	return Upload{u.ID, u.PartSize}, nil
}

// mayUpload refuses what could never become the target filename.
func (r *Repo) mayUpload(ctx context.Context, ns uptane.Namespace, filename string, size int64) error {
	if _, err := r.repository(ctx, ns); err != nil {
		return err
	}
	t, _, err := r.target(ctx, ns, filename)
	switch {
	case err == nil && (t.Image != "" || t.URI != "" || t.Format == uptane.FormatOSTree):
		return ErrExists.Withf("target %q is published", filename)
	case err != nil && !errors.Is(err, ErrTargetMissing):
		return err
	}
	before, err := r.store.contents(ctx, ns, []string{filename})
	if err != nil {
		return fmt.Errorf("reading content of %q of %s: %w", filename, ns, err)
	}
	if c, ok := before[filename]; ok && size >= 0 && c.Length != size {
		return ErrExists.Withf("%q stands for other content of %d bytes for ever; use a new name or version", filename, c.Length)
	}
	return nil
}

// PartTag is a part as the uploader saw it stored.
type PartTag struct {
	Part int
	ETag string // as PutPart returned it, with or without quotes
}

// Complete puts the parts of an upload together; tags may be in any order. The
// image is then ready for targets metadata to name it. Completing once more
// changes nothing. It answers ErrUploadMissing, or ErrUpload when a part is
// missing or another one, or when the target was signed with other content.
func (r *Repo) Complete(ctx context.Context, ns uptane.Namespace, filename, id string, tags []PartTag) error {
	err := r.complete(ctx, ns, filename, id, tags)
	if errors.Is(err, ErrUploadMissing) || errors.Is(err, ErrUpload) {
		if i, lookup := r.store.image(ctx, ns, id); lookup == nil && i.Filename == filename {
			return nil // completed before, or by another request meanwhile
		}
	}
	return err
}

func (r *Repo) complete(ctx context.Context, ns uptane.Namespace, filename, id string, tags []PartTag) error {
	u, err := r.upload(ctx, ns, filename, id)
	if err != nil {
		return err
	}
	parts, err := r.store.parts(ctx, ns, id)
	if err != nil {
		return fmt.Errorf("reading parts of upload %s: %w", id, err)
	}
	if err := checkParts(u, parts, tags); err != nil {
		return err
	}
	image, err := r.assemble(ctx, u, parts)
	if err != nil {
		return fmt.Errorf("assembling %q of %s: %w", filename, ns, err)
	}
	blobs, err := r.enter(ctx, u, image)
	if errors.Is(err, db.ErrNoRows) {
		r.discard(ctx, image.Blob)
		return ErrUploadMissing // completed meanwhile, or swept away
	}
	if err != nil {
		if fault.Of(err) != nil { // else the row may be there all the same
			r.discard(ctx, image.Blob)
		}
		return fmt.Errorf("entering %q of %s: %w", filename, ns, err)
	}
	r.discard(ctx, blobs...)
	r.forget(ns)
	return nil
}

// upload returns an upload that is under way.
func (r *Repo) upload(ctx context.Context, ns uptane.Namespace, filename, id string) (uploadRow, error) {
	if _, err := uuid.Parse(id); err != nil {
		return uploadRow{}, ErrUploadMissing
	}
	u, err := r.store.upload(ctx, ns, id)
	if errors.Is(err, db.ErrNoRows) || err == nil && (u.Filename != filename || r.now().Sub(time.UnixMilli(u.CreatedAt)) > uploadLife) {
		return u, ErrUploadMissing
	}
	if err != nil {
		return u, fmt.Errorf("reading upload %s of %s: %w", id, ns, err)
	}
	return u, nil
}

// checkParts holds what is stored against what the uploader believes.
func checkParts(u uploadRow, parts []partRow, tags []PartTag) error {
	tags = slices.SortedFunc(slices.Values(tags), func(a, b PartTag) int { return a.Part - b.Part })
	if len(tags) != len(parts) {
		return ErrUpload.Withf("%d parts are listed, %d are stored", len(tags), len(parts))
	}
	var sum int64
	for i, p := range parts {
		if p.Part != i+1 || tags[i].Part != p.Part {
			return ErrUpload.Withf("part %d is missing", i+1)
		}
		if unquote(tags[i].ETag) != p.MD5 {
			return ErrUpload.Withf("part %d was stored with ETag %q", p.Part, p.MD5)
		}
		sum += p.Size
	}
	if sum != u.Size {
		return ErrUpload.Withf("the parts have %d bytes, fileSize was %d", sum, u.Size)
	}
	return nil
}

// enter ends an upload and makes its image known, for a target that was signed
// before too. It returns the blobs that are needed no longer.
func (r *Repo) enter(ctx context.Context, u uploadRow, image imageRow) (blobs []string, err error) {
	err = r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := r.store.lock(ctx, tx, u.Namespace); err != nil {
			return err
		}
		var err error
		if blobs, err = r.store.dropUpload(ctx, tx, u.Namespace, u.ID); err != nil {
			return err
		}
		return r.adopt(ctx, tx, image)
	})
	return blobs, err
}
