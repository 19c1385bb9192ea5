package repo_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fsck"
	"sealift/uptane"
)

// verify returns what a check finds damaged, one line each, and its account.
func (s *server) verify(t *testing.T) ([]string, fsck.Result) {
	t.Helper()
	var damages []string
	a := fsck.New(func(d fsck.Damage) { damages = append(damages, d.String()) })
	if err := s.Verify(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return damages, a.Result()
}

// worked is a repository that has seen releases with and without images, an
// upload under way, a new root with new keys and a renewal.
func worked(t *testing.T, d *db.DB) (*world, *server) {
	t.Helper()
	w, s := newWorld(t, d)
	w.pull(s).mustPush(s)
	w.upload(s, "boot-1", firmware(2500))
	w.pull(s).add(w.binaryTarget("boot", "1", firmware(2500))).add(w.ostreeTarget("os", "1")).mustPush(s)
	w.newOnlineKey(s, uptane.RoleTimestamp)
	w.putRoot(s)
	w.device.mustUpdate(s)
	w.clock.advance(6 * 24 * time.Hour)
	w.device.mustUpdate(s)
	w.send(s, "boot-2", firmware(1500))
	return w, s
}

func TestVerifyFindsNothingWrong(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := worked(t, d)
		if err := w.bucket.WriteAll(t.Context(), "acme/images/left-over", []byte("12345"), nil); err != nil {
			t.Fatal(err)
		}
		damages, r := s.verify(t)
		if len(damages) > 0 || r.LeftOver != 1 || r.Bytes != 4000 {
			t.Errorf("%q, %+v", damages, r)
		}
		for kind, want := range map[string]int64{"image targets": 2, "image snapshots and timestamps": 7, "targets": 2, "images": 1, "parts of uploads": 2} {
			if !slices.Contains(r.Looked, fsck.Count{Kind: kind, N: want}) {
				t.Errorf("%d %s were not looked at: %+v", want, kind, r.Looked)
			}
		}
	})
}

func TestVerifyNamesDamage(t *testing.T) {
	for _, c := range []struct{ what, statement, want string }{
		{"targets of another version", `UPDATE repo_push SET version = 7 WHERE version = 2`, "targets 7"},
		{"a checksum", `UPDATE repo_push SET checksum = 'x' WHERE version = 1`, "has another checksum than its row"},
		{"the end of targets", `UPDATE repo_push SET expires = expires + 1`, "its row another"},
		{"targets that are gone", `DELETE FROM repo_push WHERE version = 1`, "that it replaces is not there"},
		{"the visible targets", `DELETE FROM repo_push WHERE version = 2`, "it is the visible one"},
		{"bytes nobody signed", `UPDATE repo_push SET document = replace(CAST(document AS TEXT), '2500', '2501') WHERE version = 2`, "counting 0 of 1 signatures"},
		{"a timestamp's version", `UPDATE repo_document SET version = version + 50 WHERE role = 'timestamp'`, "timestamp"},
		{"a timestamp's root", `UPDATE repo_document SET root_version = 1 WHERE role = 'timestamp'`, "counting 0 of 1 signatures"},
		{"a root that is not there", `UPDATE repo_document SET root_version = 9 WHERE role = 'snapshot'`, "there is no readable root version 9"},
		{"a given-up document", `UPDATE repo_document SET void = TRUE WHERE role = 'timestamp'`, "it was given up and signed"},
		{"what was written ahead", `UPDATE repo_document SET payload = document`, "something else was signed"},
		{"a snapshot that is gone", `DELETE FROM repo_document WHERE role = 'snapshot'`, "that it names is not there"},
		{"a target too few", `DELETE FROM repo_target WHERE filename = 'os-1'`, "the visible targets have it, the table does not"},
		{"a target's entry", `UPDATE repo_target SET entry = '{}' WHERE filename = 'os-1'`, "say otherwise than the table"},
		{"a name's content", `DELETE FROM repo_content WHERE filename = 'os-1'`, "what the name stands for"},
		{"an image's row", `DELETE FROM repo_image`, "target boot-1"},
		{"an image to be deleted", `UPDATE repo_image SET idle_since = 1`, "is about to be deleted"},
		{"an image's checksum", `UPDATE repo_image SET sha256 = 'x'`, "with checksum"},
		{"an image's blob", `UPDATE repo_image SET blob = 'acme/images/none'`, "its blob acme/images/none is gone"},
		{"a part", `UPDATE repo_part SET md5 = 'x' WHERE part = 2`, "part 2 of upload"},
	} {
		t.Run(c.what, func(t *testing.T) {
			d := dbtest.SQLite(t)
			w, _ := worked(t, d)
			if _, err := d.ExecContext(t.Context(), c.statement); err != nil {
				t.Fatal(err)
			}
			wantDamage(t, w.server(), c.want)
		})
	}
	t.Run("a commit that is gone", func(t *testing.T) {
		w, s := worked(t, dbtest.SQLite(t))
		w.commits.Clear()
		wantDamage(t, s, "target os-1 of the image repository: ")
	})
	t.Run("bytes that turned", func(t *testing.T) {
		w, s := worked(t, dbtest.SQLite(t))
		for _, key := range w.blobs() {
			if strings.Contains(key, "/images/") {
				if err := w.bucket.WriteAll(t.Context(), key, firmware(2499), nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		wantDamage(t, s, fmt.Sprintf("has %d bytes with checksum", 2499))
	})
}

func wantDamage(t *testing.T, s *server, want string) {
	t.Helper()
	damages, r := s.verify(t)
	if r.Damaged == 0 || !slices.ContainsFunc(damages, func(d string) bool {
		return strings.Contains(d, want) && strings.HasPrefix(d, "namespace acme, ")
	}) {
		t.Errorf("damages %q, want %q among them", damages, want)
	}
}
