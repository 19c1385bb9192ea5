package repo_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/keys"
)

// Secrets of remote addresses go under another master key, or all stay.
func TestRewrapSecrets(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		brakes, there := w.supplier("brakes"), newElsewhere(t)
		w.pull(s).delegate(brakes, false, "brakes/*").mustPush(s)
		brakes.add(w.named("brakes/1"))
		brakes.payload.Version = 1
		there.doc = brakes.signed()
		if err := s.SetRemote(t.Context(), ns, "brakes", there.URL+"/brakes.json", map[string]string{"X-Api-Key": "hunter2"}, "", "x"); err != nil {
			t.Fatal(err)
		}
		to, err := keys.CreateFileKEK(filepath.Join(t.TempDir(), "master.key"), nil)
		if err != nil {
			t.Fatal(err)
		}
		opens := func(kek keys.KEK) bool {
			var stored []byte
			if err := d.QueryRowContext(t.Context(), "SELECT headers FROM repo_remote").Scan(&stored); err != nil {
				t.Fatal(err)
			}
			plain, err := kek.Unwrap(stored)
			return err == nil && strings.Contains(string(plain), "hunter2")
		}
		crash := errors.New("the power is gone")
		err = d.Tx(t.Context(), func(ctx context.Context, tx *sqlx.Tx) error { return errors.Join(s.Rewrap(ctx, tx, to), crash) })
		if !errors.Is(err, crash) || !opens(w.kek) || opens(to) {
			t.Errorf("after a crash: %v, old opens %v, new opens %v", err, opens(w.kek), opens(to))
		}
		err = d.Tx(t.Context(), func(ctx context.Context, tx *sqlx.Tx) error { return s.Rewrap(ctx, tx, to) })
		if err != nil || opens(w.kek) || !opens(to) {
			t.Errorf("%v, old opens %v, new opens %v", err, opens(w.kek), opens(to))
		}
	})
}
