package api_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/access"
	"sealift/api"
	"sealift/internal/home"
	"sealift/keys"
	"sealift/uptane"
)

// checks are what the doctor says, the level of each code.
func (s *server) checks() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	for _, f := range at(s.ask(access.Read, http.StatusOK, http.MethodGet, "/api/v1/doctor", ""), "checks").([]any) {
		if at(f, "level") != "ok" && (at(f, "text") == "" || at(f, "advice") == nil) {
			s.t.Errorf("nothing says what to do about %v", f)
		}
		found[at(f, "code").(string)] = at(f, "level").(string)
	}
	return found
}

// A server that has just been made is green; what goes wrong turns red.
func TestDoctor(t *testing.T) {
	s := newServer(t)
	s.signUntil(s.now().Add(200 * day))
	for code, level := range s.checks() {
		if level != "ok" && code != "trust_on_first_use" {
			t.Errorf("%s of a new server is %s", code, level)
		}
	}
	s.free = 1 << 37
	if got := s.checks()["disk"]; got != "warning" {
		t.Errorf("an eighth of the disk is free: %s", got)
	}
	s.free = 1 << 35
	s.wait(195 * day)
	got := s.checks()
	if got["disk"] != "error" || got["ends:image/targets"] != "error" || got["offline_keys"] != "ok" {
		t.Errorf("a full disk, targets that end in five days: %v", got)
	}
	s.wait(10 * day)
	if got := s.checks(); got["ends:image/targets"] != "error" {
		t.Errorf("targets have ended: %v", got)
	}
}

// A root that replaces the targets key may come first. Until targets are signed
// with the new one no device updates, and everybody who asks is told.
func TestRootBeforeItsTargetsIsRed(t *testing.T) {
	s := newServer(t)
	if got := s.checks(); got["targets_trusted"] != "ok" {
		t.Errorf("%v", got)
	}
	fresh, err := s.image.Keys().Generate("targets-2", home.Ed25519, 0, false)
	check(t, err)
	check(t, s.image.EditRoot(func(r *metadata.RootType) error {
		ring, err := uptane.RingOf(uptane.Uptane, r, uptane.RoleTargets)
		if err != nil {
			return err
		}
		uptane.RemoveKey(r, uptane.RoleTargets, ring.Keys[0])
		return uptane.AddKey(r, uptane.RoleTargets, fresh)
	}))
	signed, err := s.image.SignRoot(t.Context(), home.Signing{Keys: []string{"root"}})
	check(t, err)
	check(t, s.repo.PutRoot(t.Context(), ns, signed.Uptane))
	check(t, s.image.Pushed(uptane.RoleRoot, signed, ""))
	if got := s.checks(); got["targets_untrusted"] != "error" {
		t.Errorf("the doctor says %v", got)
	}
	s.expect("", "error targets_untrusted: targets version 1 are not signed by the keys that root version 2 names: no device installs anything")

	before, err := s.image.Checksum()
	check(t, err)
	again, err := s.image.SignTargets(t.Context(), home.Signing{Keys: []string{"targets-2"}})
	check(t, err)
	_, err = s.repo.PutTargets(t.Context(), ns, again.Uptane, before, "test")
	check(t, err)
	if got := s.checks(); got["targets_trusted"] != "ok" {
		t.Errorf("with new signatures: %v", got)
	}
}

// Private keys that should not be here are red, and so are those that came from
// elsewhere.
func TestCustodyFindings(t *testing.T) {
	key := func(repo uptane.Repository, role uptane.Role, place string, imported time.Time) keys.Held {
		return keys.Held{Repository: repo, Role: role, Place: place, InRoot: true, Imported: imported}
	}
	online := key(uptane.DirectorRepository, uptane.RoleTargets, keys.PlaceDatabase, time.Time{})
	for name, c := range map[string]struct {
		held keys.Held
		want []string
	}{
		"offline targets":  {key(uptane.ImageRepository, uptane.RoleTargets, keys.PlaceOffline, time.Time{}), []string{"ok offline_keys"}},
		"online targets":   {key(uptane.ImageRepository, uptane.RoleTargets, keys.PlaceDatabase, time.Time{}), []string{"error offline_key_online"}},
		"root in a token":  {key(uptane.DirectorRepository, uptane.RoleRoot, "pkcs11:token=a", time.Time{}), []string{"error offline_key_online"}},
		"imported, online": {key(uptane.ImageRepository, uptane.RoleTimestamp, keys.PlaceDatabase, time.Unix(1e9, 0)), []string{"ok offline_keys", "error imported_key"}},
	} {
		if got := api.CustodyFindings([]keys.Held{online, c.held}); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	both := []keys.Held{key(uptane.ImageRepository, uptane.RoleRoot, keys.PlaceOffline, time.Time{}), key(uptane.ImageRepository, uptane.RoleTargets, keys.PlaceOffline, time.Time{})}
	if got := api.CustodyFindings(both); !slices.Equal(got, []string{"ok offline_keys", "error shared_key"}) {
		t.Errorf("one key of root and targets: %q", got)
	}
}
