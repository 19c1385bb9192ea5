package repo

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

// An image that fits into one request needs no parts: PutImage takes it, and
// DirectURL gives an address at which it is taken without further proof.

// Stored is an image that was taken.
type Stored struct {
	SHA256 string
	Length int64
}

// PutImage stores the bytes of a target that is still to be signed, or was signed
// before they came. size is their announced number, -1 none. It answers what
// [Repo.Initiate] and [Repo.Complete] answer.
func (r *Repo) PutImage(ctx context.Context, ns uptane.Namespace, filename string, size int64, body io.Reader, by string) (Stored, error) {
	if err := r.mayPut(ctx, ns, filename, size); err != nil {
		return Stored{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Stored{}, fmt.Errorf("naming image: %w", err)
	}
	return r.takeImage(ctx, imageRow{Namespace: ns, ID: id.String(), Filename: filename, Length: size, CreatedBy: by}, body, nil)
}

func (r *Repo) mayPut(ctx context.Context, ns uptane.Namespace, filename string, size int64) error {
	if err := uptane.CheckFilename(filename); err != nil {
		return ErrInvalid.With(err.Error())
	}
	if size > r.cfg.MaxImage {
		return ErrTooLarge.Withf("%d bytes, of at most %d", size, r.cfg.MaxImage)
	}
	return r.mayUpload(ctx, ns, filename, size)
}

// takeImage writes body into a blob and enters it; also runs in that transaction.
func (r *Repo) takeImage(ctx context.Context, i imageRow, body io.Reader, also func(context.Context, *sqlx.Tx) error) (Stored, error) {
	i.CreatedAt = r.now().UnixMilli()
	i.IdleSince, i.Blob = i.CreatedAt, fmt.Sprintf("%s/images/%s-%s", i.Namespace, i.ID, rand.Text())
	sum, announced := sha256.New(), i.Length
	err := r.write(ctx, i.Blob, func(w io.Writer) error {
		n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(&uploadReader{body}, r.cfg.MaxImage+1))
		switch {
		case err != nil:
			return err
		case n > r.cfg.MaxImage:
			return ErrTooLarge.Withf("more than %d bytes", r.cfg.MaxImage)
		case n == 0 || announced >= 0 && n != announced:
			return ErrUpload.Withf("%d bytes came, %d were announced", n, announced)
		}
		i.Length = n
		return nil
	})
	if err != nil {
		return Stored{}, fmt.Errorf("storing %q of %s: %w", i.Filename, i.Namespace, err)
	}
	i.SHA256 = hex.EncodeToString(sum.Sum(nil))
	err = r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := r.store.lock(ctx, tx, i.Namespace); err != nil {
			return err
		}
		if also != nil {
			if err := also(ctx, tx); err != nil {
				return err
			}
		}
		return r.adopt(ctx, tx, i)
	})
	if err != nil {
		if fault.Of(err) != nil { // else the row may be there all the same
			r.discard(ctx, i.Blob)
		}
		return Stored{}, fmt.Errorf("entering %q of %s: %w", i.Filename, i.Namespace, err)
	}
	r.forget(i.Namespace)
	return Stored{i.SHA256, i.Length}, nil
}

// adopt makes an image known, for targets that were signed before it came, too.
func (r *Repo) adopt(ctx context.Context, tx *sqlx.Tx, image imageRow) error {
	t, err := r.store.target(ctx, tx, image.Namespace, image.Filename)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return err
	}
	if err == nil && t.Image == "" {
		if t.SHA256 != image.SHA256 || t.Length != image.Length {
			return ErrUpload.Withf("the target was signed with sha256 %s and length %d, the bytes have %s and %d",
				t.SHA256, t.Length, image.SHA256, image.Length)
		}
		t.Image, image.IdleSince = image.ID, 0
		if err := r.store.saveTarget(ctx, tx, image.Namespace, t); err != nil {
			return err
		}
	}
	given, err := r.store.giveImage(ctx, tx, image)
	if err != nil {
		return err
	}
	if given {
		image.IdleSince = 0
	}
	return r.store.addImage(ctx, tx, image)
}

// DirectURL begins an upload in one request and returns the query of its address;
// the path in front of it is the edge's. The address is good for three hours.
func (r *Repo) DirectURL(ctx context.Context, ns uptane.Namespace, filename string, size int64, by string) (string, error) {
	u, err := r.begin(ctx, ns, filename, size, size, by)
	if err != nil {
		return "", err
	}
	expires := r.now().Add(partLife).Unix()
	return url.Values{"namespace": {string(ns)}, "uploadId": {u.ID}, "expires": {strconv.FormatInt(expires, 10)},
		"token": {directMAC(u, expires)}}.Encode(), nil
}

func directMAC(u uploadRow, expires int64) string {
	m := hmac.New(sha256.New, u.Secret)
	_, _ = fmt.Fprintf(m, "direct\n%s\n%s\n%d", u.Namespace, u.ID, expires)
	return hex.EncodeToString(m.Sum(nil))
}

// PutDirect takes the bytes that came to an address of DirectURL. size is their
// announced number, -1 none. It answers ErrPartURL, ErrUploadMissing, which the
// address also is when it was used, or ErrUpload.
func (r *Repo) PutDirect(ctx context.Context, query url.Values, size int64, body io.Reader) (Stored, error) {
	ns, id := uptane.Namespace(query.Get("namespace")), query.Get("uploadId")
	expires, err := strconv.ParseInt(query.Get("expires"), 10, 64)
	if _, errID := uuid.Parse(id); err != nil || errID != nil || !ns.Valid() {
		return Stored{}, ErrPartURL
	}
	u, err := r.store.upload(ctx, ns, id)
	if errors.Is(err, db.ErrNoRows) {
		return Stored{}, ErrUploadMissing
	}
	if err != nil {
		return Stored{}, fmt.Errorf("reading upload %s: %w", id, err)
	}
	if !hmac.Equal([]byte(query.Get("token")), []byte(directMAC(u, expires))) || r.now().Unix() >= expires {
		return Stored{}, ErrPartURL
	}
	if size >= 0 && size != u.Size {
		return Stored{}, ErrUpload.Withf("Content-Length is %d, %d was announced", size, u.Size)
	}
	image := imageRow{Namespace: ns, ID: u.ID, Filename: u.Filename, Length: u.Size, CreatedBy: u.CreatedBy}
	done, err := r.takeImage(ctx, image, body, func(ctx context.Context, tx *sqlx.Tx) error {
		_, err := r.store.dropUpload(ctx, tx, ns, id)
		if errors.Is(err, db.ErrNoRows) {
			return ErrUploadMissing
		}
		return err
	})
	return done, err
}

// begin enters a new upload.
func (r *Repo) begin(ctx context.Context, ns uptane.Namespace, filename string, size, partSize int64, by string) (uploadRow, error) {
	if size < 1 {
		return uploadRow{}, ErrInvalid.With("the number of bytes must be above 0")
	}
	if err := r.mayPut(ctx, ns, filename, size); err != nil {
		return uploadRow{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return uploadRow{}, fmt.Errorf("naming upload: %w", err)
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	u := uploadRow{Namespace: ns, ID: id.String(), Filename: filename, Size: size, PartSize: partSize,
		Secret: secret, CreatedAt: r.now().UnixMilli(), CreatedBy: by}
	if err := r.store.addUpload(ctx, u); err != nil {
		return uploadRow{}, fmt.Errorf("beginning upload of %q to %s: %w", filename, ns, err)
	}
	return u, nil
}
