package acceptance_test

import (
	"testing"

	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// Whatever is sent is accepted or refused, by a judge who is named.
func FuzzForm(f *testing.F) {
	by := all()
	set := publish(f, uptane.Uptane, by, targetsOf(f, 1, "a"), 5, nil)
	for i, doc := range [][]byte{sign(f, uptane.Uptane, uptane.RoleRoot, by.root(f, 1), "root"), set.Targets, set.Snapshot, set.Timestamp, []byte("{}"), []byte(`{"signed":{}}`)} {
		f.Add(uint8(i), doc)
	}
	roles := []uptane.Role{uptane.RoleRoot, uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp, "sup"}
	f.Fuzz(func(t *testing.T, n uint8, doc []byte) {
		role, repo, flavour := roles[int(n)%len(roles)], image, uptane.Uptane
		if n&64 != 0 {
			repo = uptane.DirectorRepository
		}
		if n&128 != 0 {
			flavour = uptane.TUF
		}
		if err := acceptance.Form(flavour, repo, role, doc); err != nil && acceptance.RefusalOf(err) == nil {
			t.Errorf("nobody refused: %v", err)
		}
		if c, err := acceptance.Begin(flavour, repo, doc); err == nil && c.Version() < 1 {
			t.Errorf("a chain of version %d", c.Version())
		}
	})
}
