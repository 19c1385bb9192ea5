package web_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"

	"sealift/internal/diskblob"
	"sealift/internal/fault"
	"sealift/internal/web"
)

// TestServeObject serves from a folder, whose files the kernel may send, and
// from a store that only has readers.
func TestServeObject(t *testing.T) {
	folder, err := diskblob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, bucket := range map[string]*blob.Bucket{"folder": folder, "memory": memblob.OpenBucket(nil)} {
		t.Run(name, func(t *testing.T) { serveObject(t, bucket) })
	}
}

func serveObject(t *testing.T, bucket *blob.Bucket) {
	defer bucket.Close()
	if err := bucket.WriteAll(t.Context(), "a", []byte("0123456789"), nil); err != nil {
		t.Fatal(err)
	}
	missing := fault.New(fault.NotFound, "object_missing", "no such object")
	h, err := web.New(web.Config{Log: slog.New(slog.DiscardHandler), Routes: []web.Route{{Method: "GET", Pattern: "/objects/:key", Permission: web.Public,
		Raw: func(w http.ResponseWriter, r *http.Request) {
			err := web.ServeObject(w, r, bucket, r.PathValue("key"), web.Object{ETag: `"a"`, CacheControl: "immutable"})
			if gcerrors.Code(err) == gcerrors.NotFound {
				err = missing.Wrap(err)
			}
			if err != nil {
				web.Error(w, r, err)
			}
		}}}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	defer server.Close()
	tests := []struct {
		key, header, value string
		status             int
		body               string
	}{
		{"a", "", "", 200, "0123456789"},
		{"a", "Range", "bytes=4-", 206, "456789"},
		{"a", "Range", "bytes=2-3", 206, "23"},
		{"a", "Range", "bytes=10-", 416, ""},
		{"a", "Range", "bytes=0-0,2-3", 200, "0123456789"},
		{"a", "If-None-Match", `"a"`, 304, ""},
		{"b", "", "", 404, "object_missing"},
	}
	for _, tt := range tests {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/objects/"+tt.key, nil)
		if tt.header != "" {
			req.Header.Set(tt.header, tt.value)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(body), tt.body) || tt.body == "" && len(body) > 0 {
			t.Errorf("%s %s: %d %q %v, want %d %q", tt.key, tt.value, resp.StatusCode, body, err, tt.status, tt.body)
		}
		if resp.StatusCode == 200 && (resp.Header.Get("Content-Length") != "10" || resp.Header.Get("Cache-Control") != "immutable") {
			t.Errorf("headers %v", resp.Header)
		}
	}
}
