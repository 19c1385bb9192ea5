package keys_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/keys"
	"sealift/uptane"
)

func job(role uptane.Role, root int) uptane.Job {
	return uptane.Job{Namespace: ns, Repository: uptane.DirectorRepository, Role: role, RootVersion: root}
}

func TestEverySignatureIsOnRecord(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		_, err := r.Sign(ctx, job(uptane.RoleTargets, 0), []byte("early"))
		wantCode(t, err, "root_role_not_found")
		c, root := r.director()
		r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))

		// A document sealed by the vault opens under the root.
		expires := r.clock.now().AddDate(0, 0, 31)
		targets := metadata.Targets(expires).Signed
		doc, err := uptane.Seal(ctx, uptane.Uptane, r, job(uptane.RoleTargets, 1), &targets)
		if err != nil {
			t.Fatal(err)
		}
		ring, err := uptane.RingOf(uptane.TUF, c.root, uptane.RoleTargets) // the model has the ids of TUF
		if err != nil {
			t.Fatal(err)
		}
		opened, err := uptane.Open[metadata.TargetsType](uptane.Uptane, doc, uptane.RoleTargets, ring, r.clock.now())
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			KeyID   string `db:"key_id"`
			Role    string `db:"role"`
			Root    int    `db:"root_version"`
			Message string `db:"message_sha256"`
			Signed  int64  `db:"signed"`
		}
		if err := d.GetContext(ctx, &got, `SELECT key_id, role, root_version, message_sha256, signed FROM signature_record`); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(opened.Signed)
		if got.KeyID != string(opened.Signers[0].ID()) || got.Role != "targets" || got.Root != 1 ||
			got.Message != hex.EncodeToString(sum[:]) || got.Signed != r.clock.now().UnixMilli() {
			t.Errorf("record %+v", got)
		}

		for role, code := range map[uptane.Role]string{uptane.RoleRoot: "role_key_not_found", "mine": "role_key_not_found"} {
			_, err := r.Sign(ctx, job(role, 1), []byte("x"))
			wantCode(t, err, code)
		}
		if _, err := r.Sign(ctx, job(uptane.RoleTargets, 7), []byte("x")); !errors.Is(err, uptane.ErrRootChanged) {
			t.Errorf("signing under a root to come: %v", err)
		}
		if n := r.count(`SELECT COUNT(*) FROM signature_record`); n != 1 {
			t.Errorf("%d records, want 1", n)
		}
		// What cannot be recorded is not signed.
		if _, err := d.ExecContext(ctx, `DROP TABLE signature_record`); err != nil {
			t.Fatal(err)
		}
		if sigs, err := r.Sign(ctx, job(uptane.RoleTargets, 1), []byte("x")); err == nil || sigs != nil {
			t.Errorf("signed without a record: %v, %v", sigs, err)
		}
	})
}

// After a rotation no replica signs for the old root, not even one that has
// not heard of it.
func TestRotationReachesEveryReplica(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		c, root := r.director()
		r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
		other := r.replica()
		if _, err := other.Sign(ctx, job(uptane.RoleTargets, 1), []byte("x")); err != nil {
			t.Fatal(err)
		}
		r.clock.move(time.Millisecond)
		newer := r.online(uptane.DirectorRepository, uptane.RoleTargets)
		old := c.root.Roles["targets"].KeyIDs[0]
		delete(c.root.Keys, old)
		c.root.Roles["targets"].KeyIDs = nil
		r.put(uptane.DirectorRepository, c.next().add(uptane.RoleTargets, newer).sign(uptane.Uptane, root))

		if n, _ := other.RootVersion(ctx, ns, uptane.DirectorRepository); n != 1 {
			t.Fatalf("the other replica knows version %d without asking", n)
		}
		if _, err := other.Sign(ctx, job(uptane.RoleTargets, 1), []byte("x")); !errors.Is(err, uptane.ErrRootChanged) {
			t.Errorf("signing under the old root: %v", err)
		}
		other = r.replica() // fresh, then stale again
		sigs, err := other.Sign(ctx, job(uptane.RoleTargets, 0), []byte("x"))
		if err != nil || len(sigs) != 1 || sigs[0].Key != newer {
			t.Errorf("signing under any root: %+v, %v", sigs, err)
		}
		held, err := r.OnlineKeys(ctx, ns, uptane.DirectorRepository, uptane.RoleTargets)
		if err != nil || len(held) != 1 || held[0] != newer { // what no root names any more is gone
			t.Errorf("held: %v, %v", held, err)
		}
	})
}

func TestThresholdAndRSA(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		c, root := r.director()
		k, err := r.GenerateOnline(ctx, ns, uptane.DirectorRepository, uptane.RoleTargets, "RSA2048")
		if err != nil || k.Algorithm() != "rsa2048" {
			t.Fatalf("%s key, %v", k.Algorithm(), err)
		}
		c.add(uptane.RoleTargets, k)
		c.root.Roles["targets"].Threshold = 2
		r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
		sigs, err := r.Sign(ctx, job(uptane.RoleTargets, 1), []byte("x"))
		if err != nil || len(sigs) != 2 || sigs[0].Key == sigs[1].Key {
			t.Fatalf("%d signatures, %v", len(sigs), err)
		}
		if n := r.count(`SELECT COUNT(*) FROM signature_record`); n != 2 {
			t.Errorf("%d records, want 2", n)
		}
		// One of the two private keys is lost: fewer than the threshold is none.
		if _, err := d.ExecContext(ctx, `DELETE FROM online_key WHERE key_id = $1`, k.ID()); err != nil {
			t.Fatal(err)
		}
		_, err = r.replica().Sign(ctx, job(uptane.RoleTargets, 1), []byte("x"))
		wantCode(t, err, "role_key_not_found")
	})
}

func TestKeysThatAreNotMade(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t))
	tests := []struct {
		repo    uptane.Repository
		role    uptane.Role
		keytype string
		code    string
	}{
		{uptane.ImageRepository, uptane.RoleTargets, "", "role_not_online"},
		{uptane.ImageRepository, uptane.RoleRoot, "", "role_not_online"},
		{uptane.DirectorRepository, uptane.RoleRoot, "", "role_not_online"},
		{uptane.DirectorRepository, "mine", "", "role_not_online"},
		{"attic", uptane.RoleTimestamp, "", "role_not_online"},
		{uptane.DirectorRepository, uptane.RoleTargets, "ECPRIME256V1", "invalid_key_type"},
		{uptane.DirectorRepository, uptane.RoleTargets, "rsa1024", "invalid_key_type"},
	}
	for _, tt := range tests {
		_, err := r.GenerateOnline(t.Context(), ns, tt.repo, tt.role, tt.keytype)
		wantCode(t, err, tt.code)
	}
	_, err := r.GenerateOnline(t.Context(), "a|b", uptane.DirectorRepository, uptane.RoleTargets, "")
	wantCode(t, err, "invalid_namespace")
	if n := r.count(`SELECT COUNT(*) FROM online_key`); n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

func TestClockThatWentBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		c, root := r.director()
		r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
		sign := func(v *keys.Vault) error {
			_, err := v.Sign(ctx, job(uptane.RoleTargets, 1), []byte("x"))
			return err
		}
		if err := sign(r.Vault); err != nil {
			t.Fatal(err)
		}
		r.clock.move(-4 * time.Minute)
		if err := sign(r.Vault); err != nil {
			t.Errorf("four minutes back: %v", err)
		}
		r.clock.move(-2 * time.Minute)
		wantCode(t, sign(r.Vault), "clock_behind")
		wantCode(t, sign(r.replica()), "clock_behind") // also after a restart
		r.seal()
		wantCode(t, sign(r.replica()), "clock_behind") // and once the record has the signature
		if _, err := r.Root(ctx, ns, uptane.DirectorRepository, 1); err != nil {
			t.Errorf("stored documents must be served: %v", err)
		}
		if !strings.Contains(r.log.String(), "clock accept") {
			t.Errorf("the log does not tell what to do: %s", r.log)
		}
		if err := r.AcceptClock(ctx); err != nil {
			t.Fatal(err)
		}
		if err := sign(r.Vault); err != nil {
			t.Errorf("after accepting: %v", err)
		}
		if err := sign(r.replica()); err != nil {
			t.Errorf("after accepting, restarted: %v", err)
		}
		r.seal()
		if err := sign(r.replica()); err != nil {
			t.Errorf("after accepting, sealed: %v", err)
		}
		r.seal() // two batches, of one clock
		r.clock.move(-6 * time.Minute)
		wantCode(t, sign(r.Vault), "clock_behind") // accepted once, not for ever
		acts, err := r.Acts(ctx, "", "", 10)
		if err != nil || len(acts) != 1 || acts[0].Action != "clock.accept" {
			t.Errorf("acts %+v, %v", acts, err)
		}
	})
}

func TestReplicasStartAndSignAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		c, root := r.director()
		r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				v, err := keys.New(t.Context(), keys.Config{DB: d, KEK: r.kek, Now: r.clock.now})
				if err != nil {
					t.Error(err)
					return
				}
				for range 5 {
					if _, err := v.Sign(t.Context(), job(uptane.RoleSnapshot, 1), []byte("x")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if n := r.count(`SELECT COUNT(*) FROM signature_record`); n != 40 {
			t.Errorf("%d records, want 40", n)
		}
	})
}

func TestActsArePagedAndKeptApart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		enter := func(ns uptane.Namespace, detail string) {
			err := d.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
				return r.AuditIn(ctx, tx, ns, "token:bob", "test.act", detail)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, detail := range []string{"one", "100% two", "three"} {
			enter(ns, detail)
		}
		enter("second", "elsewhere")
		page, err := r.Acts(ctx, ns, "", 2)
		if err != nil || len(page) != 2 || page[0].Detail != "three" || page[1].Detail != "100% two" {
			t.Fatalf("first page %+v, %v", page, err)
		}
		page, err = r.Acts(ctx, ns, page[1].ID, 2)
		if err != nil || len(page) != 1 || page[0].Detail != "one" || page[0].Actor != "token:bob" || !page[0].At.Equal(r.clock.now()) {
			t.Errorf("second page %+v, %v", page, err)
		}
	})
}
