package api_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"testing"

	"sealift/api"
	"sealift/fixtures"
)

// FuzzInflate: a compressed body gives at most what is allowed, and costs no
// more memory than that.
func FuzzInflate(f *testing.F) {
	encodings := []string{"", "gzip", "deflate", "br"}
	var zipped, deflated bytes.Buffer
	for _, w := range []io.WriteCloser{gzip.NewWriter(&zipped), zlib.NewWriter(&deflated)} {
		_, _ = w.Write(make([]byte, 64<<10+1))
		_ = w.Close()
	}
	f.Add(uint8(0), []byte(`{"a":1}`))
	f.Add(uint8(1), zipped.Bytes())
	f.Add(uint8(2), deflated.Bytes())
	const limit = 64 << 10
	f.Fuzz(func(t *testing.T, encoding uint8, body []byte) {
		var got []byte
		var err error
		cost := fixtures.Allocated(func() { got, err = api.Inflate(encodings[int(encoding)%len(encodings)], body, limit) })
		if err == nil && len(got) > limit || cost > 2<<20 {
			t.Errorf("%d bytes became %d and cost %d", len(body), len(got), cost)
		}
	})
}
