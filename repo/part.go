package repo

import (
	"context"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // the protocol's transport check; content is checked by SHA-256
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// partLife is how long the address of a part is good.
const partLife = 3 * time.Hour

// Part is one part that somebody may upload. Its address carries all of it and
// a token over it, so that whoever has the address may send exactly this part
// and nothing else, without further proof.
type Part struct {
	Namespace uptane.Namespace
	Upload    string
	Number    int    // from 1
	MD5       []byte // of its bytes
	Length    int64
	expires   int64 // Unix seconds
	token     string
}

// PartURL returns the query of the address to which a part is to be sent; the
// path in front of it is the edge's. It answers ErrUploadMissing, ErrInvalid or
// ErrTooLarge.
func (r *Repo) PartURL(ctx context.Context, filename string, p Part) (string, error) {
	u, err := r.upload(ctx, p.Namespace, filename, p.Upload)
	if err != nil {
		return "", err
	}
	if err := u.fits(p); err != nil {
		return "", err
	}
	p.expires = r.now().Add(partLife).Unix()
	return url.Values{
		"namespace": {string(p.Namespace)}, "uploadId": {p.Upload}, "part": {strconv.Itoa(p.Number)},
		"md5": {hex.EncodeToString(p.MD5)}, "length": {strconv.FormatInt(p.Length, 10)},
		"expires": {strconv.FormatInt(p.expires, 10)}, "token": {p.mac(u.Secret)},
	}.Encode(), nil
}

// fits reports whether a part may belong to the upload.
func (u uploadRow) fits(p Part) error {
	last := (u.Size + u.PartSize - 1) / u.PartSize
	switch {
	case len(p.MD5) != md5.Size:
		return ErrInvalid.With("md5 must be the base64 of 16 bytes")
	case p.Number < 1 || p.Length < 1:
		return ErrInvalid.With("part and contentLength must be above 0")
	case p.Length > u.PartSize:
		return ErrTooLarge.Withf("a part has at most %d bytes", u.PartSize)
	case int64(p.Number) > last || int64(p.Number-1)*u.PartSize+p.Length > u.Size:
		return ErrTooLarge.Withf("part %d of %d bytes exceeds the announced %d bytes", p.Number, p.Length, u.Size)
	}
	return nil
}

func (p Part) mac(secret []byte) string {
	m := hmac.New(sha256.New, secret)
	_, _ = fmt.Fprintf(m, "part\n%s\n%s\n%d\n%x\n%d\n%d", p.Namespace, p.Upload, p.Number, p.MD5, p.Length, p.expires)
	return hex.EncodeToString(m.Sum(nil))
}

// ParsePart reads the query that PartURL wrote. What it returns is not trusted
// before PutPart. It answers ErrPartURL.
func ParsePart(query url.Values) (Part, error) {
	p := Part{Namespace: uptane.Namespace(query.Get("namespace")), Upload: query.Get("uploadId"), token: query.Get("token")}
	number, errNumber := strconv.ParseInt(query.Get("part"), 10, 32)
	length, errLength := strconv.ParseInt(query.Get("length"), 10, 64)
	expires, errExpires := strconv.ParseInt(query.Get("expires"), 10, 64)
	sum, errSum := hex.DecodeString(query.Get("md5"))
	_, errUpload := uuid.Parse(p.Upload)
	if errors.Join(errNumber, errLength, errExpires, errSum, errUpload) != nil || !p.Namespace.Valid() {
		return Part{}, ErrPartURL
	}
	p.Number, p.Length, p.expires, p.MD5 = int(number), length, expires, sum
	return p, nil
}

// PutPart stores a part that came to its address and returns its ETag, the MD5
// in quotes. size is the announced length of body, md5Header the Content-MD5 if
// there was one. A part that was sent before is replaced. It answers ErrPartURL,
// ErrUploadMissing, or ErrUpload when the bytes are not the announced ones;
// nothing of them stays.
func (r *Repo) PutPart(ctx context.Context, p Part, size int64, md5Header string, body io.Reader) (string, error) {
	u, err := r.store.upload(ctx, p.Namespace, p.Upload)
	if errors.Is(err, db.ErrNoRows) {
		return "", ErrUploadMissing
	}
	if err != nil {
		return "", fmt.Errorf("reading upload %s: %w", p.Upload, err)
	}
	if !hmac.Equal([]byte(p.token), []byte(p.mac(u.Secret))) || r.now().Unix() >= p.expires {
		return "", ErrPartURL
	}
	if size >= 0 && size != p.Length {
		return "", ErrUpload.Withf("Content-Length is %d, %d was announced", size, p.Length)
	}
	if md5Header != "" && md5Header != base64.StdEncoding.EncodeToString(p.MD5) {
		return "", ErrUpload.With("Content-MD5 is not the announced one")
	}
	row := partRow{Part: p.Number, MD5: hex.EncodeToString(p.MD5), Size: p.Length,
		Blob: fmt.Sprintf("%s/parts/%s/%d-%s", p.Namespace, p.Upload, p.Number, rand.Text())}
	if err := r.receive(ctx, row, body); err != nil {
		return "", fmt.Errorf("storing part %d of upload %s: %w", p.Number, p.Upload, err)
	}
	var before string
	err = r.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		before, err = r.store.savePart(ctx, tx, p.Namespace, p.Upload, row)
		return err
	})
	if errors.Is(err, db.ErrNoRows) {
		r.discard(ctx, row.Blob)
		return "", ErrUploadMissing
	}
	if err != nil { // the row may be there all the same: the blob stays
		return "", fmt.Errorf("entering part %d of upload %s: %w", p.Number, p.Upload, err)
	}
	r.discard(ctx, before)
	return `"` + row.MD5 + `"`, nil
}

// receive stores a part if it has the announced length and MD5.
func (r *Repo) receive(ctx context.Context, p partRow, body io.Reader) error {
	sum := md5.New() //nolint:gosec // see above
	return r.write(ctx, p.Blob, func(w io.Writer) error {
		n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(&uploadReader{body}, p.Size+1))
		if err != nil {
			return err
		}
		if n != p.Size {
			return ErrUpload.Withf("the part has not the announced %d bytes", p.Size)
		}
		if hex.EncodeToString(sum.Sum(nil)) != p.MD5 {
			return ErrUpload.With("the part has another MD5 than announced")
		}
		return nil
	})
}

// uploadReader tells a broken connection from trouble of our own.
type uploadReader struct{ r io.Reader }

func (u *uploadReader) Read(b []byte) (int, error) {
	n, err := u.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = ErrUpload.With("the upload ended early").Wrap(err)
	}
	return n, err
}

func unquote(etag string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(etag), "W/"), `"`)
}
