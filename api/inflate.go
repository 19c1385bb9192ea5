package api

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"

	"github.com/gin-gonic/gin"

	"sealift/internal/fault"
	"sealift/internal/web"
)

var errEncoding = fault.New(fault.UnsupportedMedia, "unsupported_encoding", "the body may be plain, gzip or deflate")

// inflated reads a body of at most limit bytes, counted before and after
// decompression, so that a small body cannot grow without bound.
func inflated(c *gin.Context, limit int64) ([]byte, error) {
	c.Header("Accept-Encoding", "gzip, deflate") // what our tool waits for before it compresses
	body, err := web.Body(c, limit)
	if err != nil {
		return nil, err
	}
	var r io.Reader
	switch c.GetHeader("Content-Encoding") {
	case "", "identity":
		return body, nil
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(body))
	case "deflate":
		r, err = zlib.NewReader(bytes.NewReader(body))
	default:
		return nil, errEncoding
	}
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(r, limit+1))
	}
	if err != nil {
		return nil, web.ErrInvalid.With("body: " + err.Error())
	}
	if int64(len(body)) > limit {
		return nil, web.ErrTooLarge.Withf("the limit is %d bytes", limit)
	}
	return body, nil
}
