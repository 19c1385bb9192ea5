package diskblob_test

import (
	"context"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocloud.dev/blob/driver"
	"gocloud.dev/blob/drivertest"

	"sealift/internal/diskblob"
)

// notOffered are the groups of gocloud's suite that look for what the package
// documentation says is not kept.
var notOffered = []string{
	"TestAttributes$",            // wants cache control, content encoding ... back; ours: TestAttributes below
	"TestMetadata$",              // key-value pairs
	"TestWrite$/.*ContentType.*", // wants the content type back
	"TestSignedURL$",
}

func TestMain(m *testing.M) {
	flag.Parse()
	skip := "^TestConformance$/" + strings.Join(notOffered, "|^TestConformance$/")
	if given := flag.Lookup("test.skip").Value.String(); given != "" {
		skip += "|" + given
	}
	if err := flag.Set("test.skip", skip); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

type harness struct{ dir string }

func (h *harness) MakeDriver(context.Context) (driver.Bucket, error) {
	return diskblob.OpenDriver(h.dir)
}

// MakeDriverForNonexistentBucket returns one whose folder has vanished.
func (h *harness) MakeDriverForNonexistentBucket(context.Context) (driver.Bucket, error) {
	dir := filepath.Join(h.dir, "vanished")
	b, err := diskblob.OpenDriver(dir)
	if err != nil {
		return nil, err
	}
	return b, os.RemoveAll(dir)
}

func (h *harness) HTTPClient() *http.Client         { return nil }
func (h *harness) SupportsCopy() bool               { return true }
func (h *harness) SupportsNonSlashDelimiters() bool { return true }
func (h *harness) Close()                           {}

func TestConformance(t *testing.T) {
	drivertest.RunConformanceTests(t, func(_ context.Context, t *testing.T) (drivertest.Harness, error) {
		return &harness{t.TempDir()}, nil
	}, nil)
}
