package main

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func uploader(t *testing.T) (*repository, *shell, []byte) {
	r := newRepository(t, false)
	s := newShell(t)
	s.credentials(r, nil)
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("targets pull -r a -h $D")
	var image []byte // 250 bytes, no two parts alike
	for i := range 25 {
		image = fmt.Appendf(image, "%010d", i)
	}
	s.write("image", string(image))
	return r, s, image
}

const uploadLine = "targets upload -r a -h $D -i $D/image --name brakes/front --version 1.0"

func TestUploadInParts(t *testing.T) {
	r, s, image := uploader(t)
	s.must(uploadLine)
	if got := r.files["brakes/front-1.0"]; !bytes.Equal(got, image) || len(r.parts) != 3 {
		t.Errorf("%d parts, %d bytes", len(r.parts), len(got))
	}
	s.fails(3, "conflicting_entity", uploadLine)
	s.must(uploadLine + " --force")
	s.must("targets add-uploaded -r a -h $D -i $D/image --name brakes/front --version 1.0 --hardwareids ecu-a")
	s.must("targets sign -r a -h $D --key-name targets")
	s.must("targets push -r a -h $D")
	target := r.published().Signed.Targets["brakes/front-1.0"]
	if target.Length != 250 || target.Custom["cliUploaded"] != true || target.Custom["targetFormat"] != "BINARY" || len(target.Hashes["sha256"]) != 64 {
		t.Errorf("target %+v", target)
	}
	s.write("image", "")
	s.must("targets upload -r a -h $D -i $D/image --name empty --version 1 --timeout 5")
	if got, ok := r.files["empty-1"]; !ok || len(got) != 0 {
		t.Errorf("an empty file became %q", got)
	}
}

func TestUploadWithoutParts(t *testing.T) {
	r, s, image := uploader(t)
	r.whole = true
	s.must(uploadLine)
	if got := r.files["brakes/front-1.0"]; !bytes.Equal(got, image) {
		t.Errorf("%d bytes arrived", len(got))
	}
}

func TestUploadRetries(t *testing.T) {
	for _, status := range []int{429, 500, 502, 503, 504} {
		r, s, image := uploader(t)
		left := 2
		r.before = func(w httpWriter) bool {
			left--
			if left >= 0 {
				w.WriteHeader(status)
			}
			return left >= 0
		}
		s.must(uploadLine)
		if got := r.files["brakes/front-1.0"]; !bytes.Equal(got, image) || !slices.Equal(s.waited, []time.Duration{time.Second, 2 * time.Second}) {
			t.Errorf("%d: %d bytes, waited %v", status, len(got), s.waited)
		}
		s.waited = nil
		r.before = func(w httpWriter) bool { w.WriteHeader(status); return true }
		s.fails(3, fmt.Sprint(status), uploadLine+" --force")
		if len(s.waited) != 6 || s.waited[5] != 32*time.Second {
			t.Errorf("%d: waited %v", status, s.waited)
		}
	}
	r, s, _ := uploader(t)
	r.before = func(w httpWriter) bool { w.WriteHeader(http.StatusForbidden); return true }
	s.fails(3, "403", uploadLine)
	if len(s.waited) != 0 {
		t.Error("what is forbidden was tried again")
	}
	s.fails(3, "no such file", strings.Replace(uploadLine, "$D/image", "$D/none", 1))
	s.fails(1, "no regular file", strings.Replace(uploadLine, "$D/image", "$D", 1))
	s.fails(255, "seconds", uploadLine+" --timeout 1h")
}
