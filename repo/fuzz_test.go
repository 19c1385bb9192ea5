package repo_test

import (
	"net/url"
	"testing"

	"github.com/google/uuid"

	"sealift/repo"
)

// FuzzParsePart: an address that is taken names a namespace, an upload and a
// part, and cannot panic; whether it is genuine is judged afterwards.
func FuzzParsePart(f *testing.F) {
	f.Add("namespace=default&uploadId=0198c6a0-0000-7000-8000-000000000000&part=1&md5=d41d8cd98f00b204e9800998ecf8427e&length=3&expires=1&token=00")
	f.Add("namespace=..%2f&uploadId=a&part=-1&length=1e3")
	f.Fuzz(func(t *testing.T, raw string) {
		query, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		p, err := repo.ParsePart(query)
		if err != nil {
			return
		}
		if _, err := uuid.Parse(p.Upload); err != nil || !p.Namespace.Valid() {
			t.Errorf("%q was taken as %+v", raw, p)
		}
	})
}
