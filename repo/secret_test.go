package repo_test

import (
	"strings"
	"testing"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/keys"
)

// Somebody who can write to the database, and has a token, but no master key: what
// the server seals for him serves nothing but his own remote address.
func TestSealedHeadersServeNothingElse(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		brakes, radio, there, thief := w.supplier("brakes"), w.supplier("radio"), newElsewhere(t), newElsewhere(t)
		w.pull(s).delegate(brakes, false, "brakes/*").delegate(radio, false, "radio/*").mustPush(s)
		brakes.payload.Version, radio.payload.Version = 1, 1
		there.doc, thief.doc = brakes.signed(), radio.signed()
		ctx := t.Context()
		exec := func(query string, args ...any) {
			t.Helper()
			if _, err := d.ExecContext(ctx, query, args...); err != nil {
				t.Fatal(err)
			}
		}

		// Headers of 32 bytes, as long as a data key: whoever chose them must not have
		// them taken for one, and everything that is made later sealed under it.
		if err := s.SetRemote(ctx, ns, "brakes", there.URL, map[string]string{"A": strings.Repeat("x", 24)}, "", "x"); err != nil {
			t.Fatal(err)
		}
		exec(`INSERT INTO sealing_key (number, wrapped, created) SELECT 2, headers, 0 FROM repo_remote WHERE role = 'brakes'`)
		if _, err := keys.New(ctx, keys.Config{DB: d, KEK: w.kek}); err == nil {
			t.Error("the headers of a remote address seal private keys now")
		}
		exec(`DELETE FROM sealing_key WHERE number = 2`)

		// A password is sent to the address that it was given for.
		if err := s.SetRemote(ctx, ns, "brakes", there.URL, map[string]string{"X-Api-Key": "hunter2"}, "", "x"); err != nil {
			t.Fatal(err)
		}
		if err := s.SetRemote(ctx, ns, "radio", thief.URL, map[string]string{"X-Api-Key": "mine"}, "", "x"); err != nil {
			t.Fatal(err)
		}
		exec(`UPDATE repo_remote SET headers = (SELECT o.headers FROM repo_remote o WHERE o.role = 'brakes') WHERE role = 'radio'`)
		if err := s.RefreshRemote(ctx, ns, "radio", "x"); err == nil {
			t.Error("a password was taken from another address")
		}
		exec(`UPDATE repo_remote SET uri = $1 WHERE role = 'brakes'`, thief.URL)
		if err := s.RefreshRemote(ctx, ns, "brakes", "x"); err == nil {
			t.Error("a password was sent to an address that the database was given")
		}
		for _, q := range thief.asked {
			if q.Header.Get("X-Api-Key") == "hunter2" {
				t.Fatal("the thief has the password")
			}
		}
	})
}
