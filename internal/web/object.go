package web

import (
	"io"
	"net/http"
	"os"
	"strings"

	"gocloud.dev/blob"
)

// Object says how a stored file is presented.
type Object struct {
	ContentType  string // empty: application/octet-stream
	ETag         string // quoted, or empty for none
	CacheControl string // empty: no-store
}

// ServeObject answers with the content of key, honouring Range and
// conditional headers. From a local folder over a plain connection the kernel
// sends it; use it in [Route.Raw]. Errors of opening, gcerrors.NotFound above
// all, are returned and nothing is sent. A failed range has an empty body.
func ServeObject(w http.ResponseWriter, r *http.Request, b *blob.Bucket, key string, o Object) error {
	rd, err := b.NewReader(r.Context(), key, nil)
	if err != nil {
		return err
	}
	defer func() { _ = rd.Close() }()
	head := w.Header()
	if o.ContentType == "" {
		o.ContentType = "application/octet-stream"
	}
	head.Set("Content-Type", o.ContentType)
	if o.ETag != "" {
		head.Set("ETag", o.ETag)
	}
	if o.CacheControl != "" {
		head.Set("Cache-Control", o.CacheControl)
	}
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range") // the whole is a valid answer too
	}
	var content io.ReadSeeker = rd
	var file *os.File
	if rd.As(&file) {
		content = file
	}
	http.ServeContent(&bodiless{ResponseWriter: w}, r, "", rd.ModTime(), content)
	return nil
}

// bodiless drops the text net/http sends with an error: a device would
// append it to its file.
type bodiless struct {
	http.ResponseWriter
	failed bool
}

func (b *bodiless) WriteHeader(status int) {
	if status >= 400 {
		b.failed = true
		for _, name := range []string{"Content-Type", "Etag", "Last-Modified"} {
			b.Header().Del(name)
		}
		b.Header().Set("Content-Length", "0")
		b.Header().Set("Cache-Control", "no-store")
	}
	b.ResponseWriter.WriteHeader(status)
}

func (b *bodiless) Write(p []byte) (int, error) {
	if b.failed {
		return len(p), nil
	}
	return b.ResponseWriter.Write(p)
}

func (b *bodiless) ReadFrom(src io.Reader) (int64, error) {
	if b.failed {
		return io.Copy(io.Discard, src)
	}
	return io.Copy(b.ResponseWriter, src)
}
