package repo

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"sealift/uptane"
)

// cleaning bounds how long deleting left-overs may hold back an answer.
const cleaning = 10 * time.Second

// Image is where the bytes of a target are: in Bucket under Key, or at URI where
// Key is empty.
type Image struct {
	Bucket *blob.Bucket
	Key    string
	SHA256 string
	Length int64
	URI    string
}

// Image returns where the bytes of a visible target are. It answers
// ErrTargetMissing, also for targets whose bytes nobody brought: OSTree commits
// are in TreeHub.
func (r *Repo) Image(ctx context.Context, ns uptane.Namespace, filename string) (Image, error) {
	t, _, err := r.target(ctx, ns, filename)
	if err != nil {
		return Image{}, err
	}
	found := Image{Bucket: r.bucket, SHA256: t.SHA256, Length: t.Length, URI: t.URI}
	if t.Image == "" {
		if t.URI == "" || t.Format == uptane.FormatOSTree {
			return Image{}, ErrTargetMissing.Withf("the bytes of %q are not here", filename)
		}
		return found, nil
	}
	i, err := r.store.image(ctx, ns, t.Image)
	if err != nil {
		return Image{}, fmt.Errorf("reading image of target %q of %s: %w", filename, ns, err)
	}
	found.Key, found.URI = i.Blob, ""
	return found, nil
}

// Uploaded returns where the bytes are that came last under a name, signed or not:
// for who brought them. It answers what [Repo.Image] answers.
func (r *Repo) Uploaded(ctx context.Context, ns uptane.Namespace, filename string) (Image, error) {
	if uptane.CheckFilename(filename) != nil {
		return Image{}, ErrTargetMissing
	}
	found, err := r.store.imagesOf(ctx, ns, []string{filename})
	if err != nil {
		return Image{}, fmt.Errorf("reading uploads of %q of %s: %w", filename, ns, err)
	}
	uploads := found[filename]
	if len(uploads) == 0 {
		return Image{}, ErrTargetMissing.Withf("nothing was uploaded as %q", filename)
	}
	last := uploads[len(uploads)-1]
	return Image{Bucket: r.bucket, Key: last.Blob, SHA256: last.SHA256, Length: last.Length}, nil
}

// Idle is an uploaded image that no visible target names.
type Idle struct {
	Filename  string
	SHA256    string
	Length    int64
	CreatedAt time.Time
	CreatedBy string
	DeletedAt time.Time // when Sweep deletes it unless a target names it
}

// Unnamed returns a page of the uploaded images that no target names, those
// that go first first, and how many there are.
func (r *Repo) Unnamed(ctx context.Context, ns uptane.Namespace, limit, offset int) ([]Idle, int, error) {
	total, err := r.store.countIdleImages(ctx, ns)
	if err != nil {
		return nil, 0, fmt.Errorf("counting uploads of %s: %w", ns, err)
	}
	rows, err := r.store.idleImages(ctx, ns, limit, offset)
	if err != nil {
		return nil, 0, fmt.Errorf("reading uploads of %s: %w", ns, err)
	}
	list := make([]Idle, len(rows))
	for n, i := range rows {
		list[n] = Idle{i.Filename, i.SHA256, i.Length, time.UnixMilli(i.CreatedAt), i.CreatedBy, time.UnixMilli(i.IdleSince).Add(idleLife)}
	}
	return list, int(total), nil
}

// assemble writes the parts of an upload into one blob.
func (r *Repo) assemble(ctx context.Context, u uploadRow, parts []partRow) (imageRow, error) {
	now := r.now().UnixMilli()
	image := imageRow{Namespace: u.Namespace, ID: u.ID, Filename: u.Filename, Length: u.Size, CreatedAt: now, CreatedBy: u.CreatedBy,
		IdleSince: now, Blob: fmt.Sprintf("%s/images/%s-%s", u.Namespace, u.ID, rand.Text())}
	sum := sha256.New()
	err := r.write(ctx, image.Blob, func(w io.Writer) error {
		for _, p := range parts {
			if err := r.copyPart(ctx, io.MultiWriter(w, sum), p); err != nil {
				return fmt.Errorf("reading part %d: %w", p.Part, err)
			}
		}
		return nil
	})
	image.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return image, err
}

func (r *Repo) copyPart(ctx context.Context, w io.Writer, p partRow) error {
	rd, err := r.bucket.NewReader(ctx, p.Blob, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return ErrUpload.Withf("part %d was replaced meanwhile", p.Part)
	}
	if err != nil {
		return err
	}
	defer func() { _ = rd.Close() }()
	n, err := io.Copy(w, rd)
	if err == nil && n != p.Size {
		err = fmt.Errorf("it has %d bytes instead of %d", n, p.Size)
	}
	return err
}

// write fills a new blob; if fill fails there is none.
func (r *Repo) write(ctx context.Context, key string, fill func(io.Writer) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := r.bucket.NewWriter(ctx, key, &blob.WriterOptions{ContentType: "application/octet-stream"})
	if err != nil {
		return err
	}
	if err := fill(w); err != nil {
		cancel() // before Close: nothing is left behind
		_ = w.Close()
		return err
	}
	return w.Close()
}

// discard deletes blobs that no row names any more. What it fails to delete is
// garbage, not damage.
func (r *Repo) discard(ctx context.Context, keys ...string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaning)
	defer cancel()
	for _, key := range keys {
		if key == "" {
			continue
		}
		if err := r.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
			r.log.WarnContext(ctx, "deleting left-over blob failed", "key", key, "error", err)
		}
	}
}
