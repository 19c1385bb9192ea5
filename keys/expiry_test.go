package keys_test

import (
	"slices"
	"testing"
	"time"

	"sealift/internal/db/dbtest"
	"sealift/keys"
	"sealift/uptane"
)

// Everything that ends is told: roots and CAs of a namespace, those of the server
// and what its listeners show. Of shared certificates those that still matter.
func TestEndings(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t))
	r.authorities()
	c, root := r.director()
	r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
	before, err := r.Endings(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.TLSConfig(t.Context(), localhost()); err != nil {
		t.Fatal(err)
	}
	things := func(of uptane.Namespace) map[string]keys.Ending {
		t.Helper()
		list, err := r.Endings(t.Context(), of)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]keys.Ending{}
		for _, e := range list {
			if found[e.Thing].Thing != "" || e.Name == "" || !e.Ends.After(r.clock.now().Add(-10*365*24*time.Hour)) {
				t.Errorf("twice or empty: %+v", e)
			}
			found[e.Thing] = e
		}
		return found
	}
	server := things("")
	for _, want := range []string{"ca/server", "ca/server-root", "ca/server-next", "certificate/server"} {
		if server[want].Thing == "" {
			t.Errorf("%s is missing in %v", want, server)
		}
	}
	if len(server) != len(before)+1 || !server["certificate/server"].Online || server["ca/server"].Online {
		t.Errorf("of the server: %+v", server)
	}
	if e := things(ns)["director/root"]; !e.Ends.Equal(c.root.Expires) || e.Version != 1 {
		t.Errorf("the Director's root: %+v, want %s", e, c.root.Expires)
	}

	shared := func() (names []string) {
		for thing, e := range things(ns) {
			if len(thing) > 22 && thing[:22] == "certificate/bootstrap/" {
				names = append(names, e.Name)
			}
		}
		slices.Sort(names)
		return names
	}
	r.bootstrap(keys.BootstrapRequest{Name: "old", Life: 24 * time.Hour})
	r.clock.move(48 * time.Hour)
	if got := shared(); !slices.Equal(got, []string{"shared certificate of new devices old"}) {
		t.Errorf("the only one has ended: %q", got)
	}
	r.bootstrap(keys.BootstrapRequest{Name: "new"})
	if got := shared(); !slices.Equal(got, []string{"shared certificate of new devices new"}) {
		t.Errorf("there is a new one: %q", got)
	}
}
