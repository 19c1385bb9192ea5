package keys_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	_ "gocloud.dev/secrets/localsecrets"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/keys"
	"sealift/uptane"
)

// The base64url of 32 bytes, each for one test.
const (
	keeperURL  = "base64key://c21HVGppeHQyYlE1alFoVnVsMDhpUWVVZVNvbUVheTg="
	anotherURL = "base64key://bWFzdGVyLWtleS1vZi1hbm90aGVyLXNlcnZlci0xMjM="
)

func TestMasterKeyInAKeyService(t *testing.T) {
	kek, err := keys.OpenKeeperKEK(t.Context(), keeperURL)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := kek.Wrap([]byte("data key"))
	if err != nil || bytes.Contains(wrapped, []byte("data key")) {
		t.Fatalf("wrapped %q, %v", wrapped, err)
	}
	again := must(keys.OpenKeeperKEK(t.Context(), keeperURL))(t)
	if plain, err := again.Unwrap(wrapped); err != nil || string(plain) != "data key" {
		t.Errorf("unwrapped %q, %v", plain, err)
	}
	if _, err := must(keys.OpenKeeperKEK(t.Context(), anotherURL))(t).Unwrap(wrapped); err == nil {
		t.Error("another key unwrapped it")
	}
	for _, text := range []string{"", "base64key://", "nosuch://key", "base64key://c2hvcnQ="} {
		if _, err := keys.OpenKeeperKEK(t.Context(), text); err == nil || strings.Contains(err.Error(), "c2hvcnQ") {
			t.Errorf("opening %q: %v", text, err)
		}
	}
}

// The master key is replaced by one of another kind; what fails on the way
// leaves everything under the old one.
func TestRewrap(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		c, root := r.director()
		r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
		sealed := must(onlineRows(ctx, d))(t)
		to := must(keys.OpenKeeperKEK(ctx, keeperURL))(t)
		opens := func(kek keys.KEK) error {
			v, err := keys.New(ctx, keys.Config{DB: d, KEK: kek, Now: r.clock.now})
			if err == nil {
				_, err = v.Sign(ctx, job(uptane.RoleTargets, 1), []byte("x"))
			}
			return err
		}

		crash := errors.New("the power is gone")
		if _, err := r.Rewrap(ctx, to, "test", func(context.Context, *sqlx.Tx) error { return crash }); !errors.Is(err, crash) {
			t.Fatal(err)
		}
		if err := opens(r.kek); err != nil {
			t.Errorf("after a crash the old master key does not open: %v", err)
		}
		if _, err := r.Rewrap(ctx, broken{to}, "test"); err == nil {
			t.Error("a master key that does not open what it wraps was taken")
		}

		if n, err := r.Rewrap(ctx, to, "to a key service"); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		if err := opens(to); err != nil {
			t.Errorf("the new master key does not open: %v", err)
		}
		if err := opens(r.kek); err == nil {
			t.Error("the old master key opens still")
		}
		if now := must(onlineRows(ctx, d))(t); !bytes.Equal(now, sealed) {
			t.Error("sealed keys were changed")
		}
		acts := must(r.Acts(ctx, "", "", 1))(t)
		if len(acts) != 1 || acts[0].Action != "key.rewrap" || !strings.Contains(acts[0].Detail, "to a key service") {
			t.Errorf("audit: %+v", acts)
		}
		if _, err := r.Rewrap(ctx, to, "again, by whoever still holds the old one"); err == nil {
			t.Error("rewrapped with the old master key")
		}
	})
}

// onlineRows is all that is sealed of online keys.
func onlineRows(ctx context.Context, d *db.DB) ([]byte, error) {
	var rows [][]byte
	err := d.SelectContext(ctx, &rows, `SELECT sealed FROM online_key ORDER BY key_id`)
	return bytes.Join(rows, nil), err
}

// broken forgets what it wrapped.
type broken struct{ keys.KEK }

func (broken) Unwrap([]byte) ([]byte, error) { return []byte("something else"), nil }

func TestCustodyAndExport(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		c, root := r.director()
		r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
		spare := r.online(uptane.DirectorRepository, uptane.RoleTargets)
		list := must(r.Custody(ctx, ns))(t)
		places := map[string]int{}
		for _, h := range list {
			places[h.Place]++
			if h.InRoot != (h.Key != spare) {
				t.Errorf("%s is in the root: %v", h.Key.ID(), h.InRoot)
			}
		}
		if len(list) != 5 || places[keys.PlaceOffline] != 1 || places[keys.PlaceDatabase] != 4 {
			t.Errorf("custody %+v", list)
		}

		none := func(keys.Held, crypto.Signer) error { t.Error("a key was handed out"); return nil }
		for _, id := range []uptane.KeyID{root.key.ID(), "", uptane.KeyID(strings.Repeat("0", 64))} {
			if err := r.Export(ctx, ns, id, none); !errors.Is(err, keys.ErrNotHeld) {
				t.Errorf("exporting %q: %v", id, err)
			}
		}
		if err := r.Export(ctx, "another", spare.ID(), none); !errors.Is(err, keys.ErrNotHeld) {
			t.Errorf("exporting from another namespace: %v", err)
		}
		full := errors.New("the disk is full")
		err := r.Export(ctx, ns, spare.ID(), func(h keys.Held, private crypto.Signer) error {
			if key := must(uptane.NewKey(private.Public()))(t); key != spare || h.Role != uptane.RoleTargets {
				t.Errorf("exported %+v", h)
			}
			if acts := must(r.Acts(ctx, ns, "", 1))(t); len(acts) != 1 || acts[0].Action != "key.export" || !strings.Contains(acts[0].Detail, string(spare.ID())) {
				t.Errorf("audit before the key leaves: %+v", acts)
			}
			return full
		})
		if !errors.Is(err, full) {
			t.Error(err)
		}
		if _, err := d.ExecContext(ctx, `DROP TABLE audit`); err != nil {
			t.Fatal(err)
		}
		if err := r.Export(ctx, ns, spare.ID(), none); err == nil {
			t.Error("exported without a word in the audit")
		}
	})
}

// What a route can reach must not name the function that gives a key away.
func TestNoRouteExports(t *testing.T) {
	looked := 0
	for _, folder := range []string{"../api", "../gateway", "../internal/web"} {
		err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") {
				return err
			}
			looked++
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte("ault.Export")) {
				t.Errorf("%s calls Export of the vault", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if looked < 20 {
		t.Errorf("looked at %d files", looked)
	}
}
