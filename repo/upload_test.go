package repo_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/repo"
)

// address asks for the address of a part.
func (w *world) address(s *server, filename, id string, number int, part []byte) (repo.Part, error) {
	w.t.Helper()
	sum := md5.Sum(part)
	query, err := s.PartURL(w.t.Context(), filename, repo.Part{Namespace: ns, Upload: id, Number: number, MD5: sum[:], Length: int64(len(part))})
	if err != nil {
		return repo.Part{}, err
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return repo.Part{}, err
	}
	return repo.ParsePart(values)
}

// send uploads all parts and returns what completes the upload, last part first
// as old tools list them.
func (w *world) send(s *server, filename string, content []byte) (id string, tags []repo.PartTag) {
	w.t.Helper()
	u, err := s.Initiate(w.t.Context(), ns, filename, int64(len(content)), "token:1")
	if err != nil {
		w.t.Fatal(err)
	}
	for number := 1; len(content) > 0; number++ {
		part := content[:min(len(content), int(u.PartSize))]
		content = content[len(part):]
		p, err := w.address(s, filename, u.ID, number, part)
		if err != nil {
			w.t.Fatal(err)
		}
		etag, err := s.PutPart(w.t.Context(), p, int64(len(part)), "", bytes.NewReader(part))
		if err != nil {
			w.t.Fatal(err)
		}
		tags = append([]repo.PartTag{{Part: number, ETag: etag}}, tags...)
	}
	return u.ID, tags
}

func (w *world) upload(s *server, filename string, content []byte) {
	w.t.Helper()
	id, tags := w.send(s, filename, content)
	if err := s.Complete(w.t.Context(), ns, filename, id, tags); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) blobs() (keys []string) {
	w.t.Helper()
	for list := w.bucket.List(nil); ; {
		o, err := list.Next(w.t.Context())
		if errors.Is(err, io.EOF) {
			return keys
		}
		if err != nil {
			w.t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
}

func firmware(n int) []byte { return bytes.Repeat([]byte("firmware!"), n/9+1)[:n] }

// An image is uploaded in three parts through two replicas, signed, and only
// then to be had.
func TestUploadedImage(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).mustPush(s)
		content := firmware(2500)
		id, tags := w.send(s, "fw/main-1", content)
		other := w.server()
		for range 2 { // the answer may get lost
			if err := other.Complete(t.Context(), ns, "fw/main-1", id, tags); err != nil {
				t.Fatal(err)
			}
		}
		if blobs := w.blobs(); len(blobs) != 1 || !strings.HasPrefix(blobs[0], "acme/images/") {
			t.Errorf("parts are left over: %v", blobs)
		}
		_, err := s.Image(t.Context(), ns, "fw/main-1")
		wantFault(t, err, repo.ErrTargetMissing)

		image := w.binaryTarget("main", "1", content)
		image.Filename = "fw/main-1"
		wrong := w.binaryTarget("main", "1", content[:2000])
		wrong.Filename = image.Filename
		wantFault(t, w.pull(s).add(wrong).push(s), repo.ErrInvalidTargets, "uploaded bytes", "length 2500")
		if list, total, err := s.Unnamed(t.Context(), ns, 10, 0); err != nil || total != 1 || list[0].Filename != "fw/main-1" || list[0].Length != 2500 {
			t.Errorf("uploads without target: %v, %v", list, err)
		}
		w.pull(s).add(image).mustPush(s)

		got, err := other.Image(t.Context(), ns, "fw/main-1")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := got.Bucket.ReadAll(t.Context(), got.Key); err != nil || !bytes.Equal(b, content) || got.SHA256 != image.SHA256() {
			t.Errorf("got %d bytes, %v", len(b), err)
		}
		if _, total, err := s.Unnamed(t.Context(), ns, 10, 0); err != nil || total != 0 {
			t.Errorf("%d uploads without target, %v", total, err)
		}
		_, err = s.Initiate(t.Context(), ns, "fw/main-1", 2500, "token:1")
		wantFault(t, err, repo.ErrExists)
		_, err = s.Image(t.Context(), "other", "fw/main-1")
		wantFault(t, err, repo.ErrTargetMissing)

		// Taken out, it is kept for a week, and its name keeps its meaning.
		r := w.pull(s)
		r.payload.Targets = map[string]*metadata.TargetFiles{}
		r.mustPush(s)
		_, err = s.Image(t.Context(), ns, "fw/main-1")
		wantFault(t, err, repo.ErrTargetMissing)
		_, err = s.Initiate(t.Context(), ns, "fw/main-1", 2000, "token:1")
		wantFault(t, err, repo.ErrExists, "for ever")
		w.clock.advance(7 * day)
		if n, err := s.Sweep(t.Context()); n != 0 || err != nil {
			t.Errorf("%d swept too early, %v", n, err)
		}
		w.clock.advance(time.Minute)
		if n, err := s.Sweep(t.Context()); n != 1 || err != nil || len(w.blobs()) != 0 {
			t.Errorf("%d swept, %v, left: %v", n, err, w.blobs())
		}
		wantFault(t, w.pull(s).add(image).push(s), repo.ErrInvalidTargets, "never uploaded")
	})
}

// Signed first, uploaded later: the bytes must be those that were signed.
func TestUploadAfterSigning(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	content := firmware(1500)
	image := w.binaryTarget("fw", "1", content)
	image.Custom.CLIUploaded = nil
	elsewhere := w.binaryTarget("web", "1", content)
	elsewhere.Custom.CLIUploaded, elsewhere.Custom.URI = nil, "https://cdn.example.com/web"
	w.pull(s).add(image).add(elsewhere).mustPush(s)
	_, err := s.Image(t.Context(), ns, "fw-1")
	wantFault(t, err, repo.ErrTargetMissing)
	if got, err := s.Image(t.Context(), ns, "web-1"); err != nil || got.Key != "" || got.URI != "https://cdn.example.com/web" {
		t.Errorf("an image elsewhere: %+v, %v", got, err)
	}

	bad := append(firmware(1499), 'x')
	id, tags := w.send(s, "fw-1", bad)
	wantFault(t, s.Complete(t.Context(), ns, "fw-1", id, tags), repo.ErrUpload, "was signed with sha256")
	w.upload(s, "fw-1", content)
	if got, err := s.Image(t.Context(), ns, "fw-1"); err != nil || got.Length != 1500 {
		t.Errorf("after the upload: %+v, %v", got, err)
	}
	w.clock.advance(30 * day)
	if _, err := s.Sweep(t.Context()); err != nil || len(w.blobs()) != 1 {
		t.Errorf("left after sweeping: %v, %v", w.blobs(), err)
	}
}

func TestRefusedUploads(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).add(w.ostreeTarget("os", "1")).mustPush(s)
	for name, tt := range map[string]struct {
		filename string
		size     int64
		want     *fault.Fault
	}{
		"a path that climbs": {"../x", 1, repo.ErrInvalid},
		"no name":            {"", 1, repo.ErrInvalid},
		"nothing":            {"x", 0, repo.ErrInvalid},
		"too much":           {"x", 10_001, repo.ErrTooLarge},
		"a commit's name":    {"os-1", 1, repo.ErrExists},
	} {
		_, err := s.Initiate(t.Context(), ns, tt.filename, tt.size, "a")
		t.Run(name, func(t *testing.T) { wantFault(t, err, tt.want) })
	}
	_, err := s.Initiate(t.Context(), "other", "x", 1, "a")
	wantFault(t, err, repo.ErrNoRepository)
}

func TestRefusedParts(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	content := firmware(1800)
	u, err := s.Initiate(t.Context(), ns, "fw-1", int64(len(content)), "a")
	if err != nil {
		t.Fatal(err)
	}
	for number, part := range map[int][]byte{0: content[:10], 3: content[:10], 2: content[:801], 1: content[:1001]} {
		if _, err := w.address(s, "fw-1", u.ID, number, part); fault.Of(err) == nil {
			t.Errorf("an address for part %d of %d bytes: %v", number, len(part), err)
		}
	}
	_, err = w.address(s, "fw-2", u.ID, 1, content[:10])
	wantFault(t, err, repo.ErrUploadMissing)
	_, err = w.address(s, "fw-1", "0' OR true", 1, content[:10])
	wantFault(t, err, repo.ErrUploadMissing)

	first, err := w.address(s, "fw-1", u.ID, 1, content[:1000])
	if err != nil {
		t.Fatal(err)
	}
	put := func(p repo.Part, size int64, md5 string, body io.Reader) error {
		_, err := s.PutPart(t.Context(), p, size, md5, body)
		return err
	}
	forged := first
	forged.Number = 2
	wantFault(t, put(forged, 1000, "", bytes.NewReader(content)), repo.ErrPartURL)
	forged = first
	forged.Namespace = "other"
	wantFault(t, put(forged, 1000, "", bytes.NewReader(content)), repo.ErrUploadMissing)
	wantFault(t, put(first, 999, "", bytes.NewReader(content)), repo.ErrUpload, "Content-Length")
	wantFault(t, put(first, 1000, base64.StdEncoding.EncodeToString(make([]byte, 16)), bytes.NewReader(content)), repo.ErrUpload, "Content-MD5")
	wantFault(t, put(first, -1, "", bytes.NewReader(content[:999])), repo.ErrUpload, "1000 bytes")
	wantFault(t, put(first, -1, "", bytes.NewReader(content[:1001])), repo.ErrUpload, "1000 bytes")
	wantFault(t, put(first, 1000, "", bytes.NewReader(content[1:1001])), repo.ErrUpload, "another MD5")
	wantFault(t, put(first, 1000, "", io.MultiReader(bytes.NewReader(content[:500]), broken{})), repo.ErrUpload, "ended early")
	if blobs := w.blobs(); len(blobs) != 0 {
		t.Errorf("refused parts left %v", blobs)
	}

	if err := put(first, 1000, "", bytes.NewReader(content[:1000])); err != nil {
		t.Fatal(err)
	}
	one := repo.PartTag{Part: 1, ETag: `"` + hex.EncodeToString(first.MD5) + `"`}
	complete := func(tags ...repo.PartTag) error { return s.Complete(t.Context(), ns, "fw-1", u.ID, tags) }
	wantFault(t, complete(one), repo.ErrUpload, "1000 bytes, fileSize was 1800")
	wantFault(t, complete(), repo.ErrUpload)
	wantFault(t, complete(repo.PartTag{Part: 1, ETag: `"0"`}), repo.ErrUpload, "ETag")
	wantFault(t, complete(repo.PartTag{Part: 2, ETag: one.ETag}), repo.ErrUpload, "missing")
	if err := put(first, 1000, "", bytes.NewReader(content[:1000])); err != nil || len(w.blobs()) != 1 {
		t.Errorf("a part sent again: %v, %v", err, w.blobs())
	}

	w.clock.advance(3 * time.Hour)
	wantFault(t, put(first, 1000, "", bytes.NewReader(content[:1000])), repo.ErrPartURL)
	w.clock.advance(day)
	wantFault(t, complete(one), repo.ErrUploadMissing)
	if n, err := s.Sweep(t.Context()); n != 1 || err != nil || len(w.blobs()) != 0 {
		t.Errorf("%d swept, %v, left: %v", n, err, w.blobs())
	}
}

func TestPartAddressesAreStrict(t *testing.T) {
	good := url.Values{"namespace": {"acme"}, "uploadId": {"0190b2a0-0000-7000-8000-000000000000"}, "part": {"1"}, "md5": {"00"}, "length": {"1"}, "expires": {"1"}, "token": {""}}
	if _, err := repo.ParsePart(good); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"namespace": "../x", "part": "1e3", "md5": "zz", "length": "", "expires": "x", "uploadId": "x\x00"} {
		bad := url.Values{}
		for k, v := range good {
			bad[k] = v
		}
		bad.Set(name, value)
		_, err := repo.ParsePart(bad)
		t.Run(name, func(t *testing.T) { wantFault(t, err, repo.ErrPartURL) })
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
