package keys_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/keys"
	"sealift/uptane"
)

// A device is revoked at one replica while it gets another certificate at the
// other: none of them is in force afterwards.
func TestRevocationMeetsAnotherCertificate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx, other := t.Context(), r.replica()
		r.authorities()
		b := r.bootstrap(keys.BootstrapRequest{})
		for i, name := range []uptane.OEMID{"a", "b", "c", "d", "e", "f", "g", "h"} {
			device := "id-of-" + uptane.DeviceID(name)
			if _, err := r.provision(name, b.Fingerprint); err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			if i%2 == 1 { // it has none, and may come again
				if err := r.ResetDevice(ctx, ns, device); err != nil {
					t.Fatal(err)
				}
			}
			_, err := r.IssueDevice(ctx, keys.IssueRequest{Namespace: ns, OEMID: name, TTL: 10, Bootstrap: b.Fingerprint,
				Enrol: func(context.Context, *sqlx.Tx) (uptane.DeviceID, error) {
					all.Go(func() {
						if err := other.RevokeDevice(ctx, ns, device); err != nil {
							t.Error(err)
						}
					})
					for range i / 2 { // sooner and later
						_ = r.count(`SELECT COUNT(*) FROM certificate`)
					}
					return device, nil
				}})
			all.Wait()
			if err != nil && fault.Of(err) == nil {
				t.Fatal(err)
			}
			if n := r.count(`SELECT COUNT(*) FROM certificate WHERE device = $1 AND revoked IS NULL`, device); n != 0 {
				t.Errorf("device %s is revoked and has %d certificates in force", name, n)
			}
		}
	})
}

// A person ends the recovery at one replica; for a second another one does not know
// it. What a device shows it in that second does not hold back the fleet.
func TestShowingARootAfterTheEndOfRecovery(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, r := t.Context(), newRig(t, d)
		c, root := r.director()
		r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
		if err := r.BeginRecovery(ctx, ns, r.clock.now()); err != nil {
			t.Fatal(err)
		}
		other := r.replica()
		if err := errors.Join(other.RequireRoot(ctx, ns, uptane.DirectorRepository), r.EndRecovery(ctx, ns, false),
			other.ShowRoot(ctx, ns, uptane.DirectorRepository, 3, "device car-1"), r.replica().RequireRoot(ctx, ns, uptane.DirectorRepository)); err != nil {
			t.Error(err)
		}
		if n := r.count(`SELECT COUNT(*) FROM audit WHERE action = 'recovery.root'`); n != 0 {
			t.Errorf("%d acts say that a root was shown", n)
		}
	})
}

// Two people bring the TUF flavour of one root to two replicas at once, now the
// same bytes, now each with a signature of their own: one document is published, and
// the record says so once.
func TestTwoTwinsOfARoot(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, r := t.Context(), newRig(t, d)
		c, root, _ := r.image()
		second := newOffline(t)
		c.add(uptane.RoleRoot, second.key)
		c.root.Roles["root"].Threshold = 1
		r.put(uptane.ImageRepository, c.sign(uptane.Uptane, root))
		for round := range 6 {
			before := r.count(`SELECT COUNT(*) FROM audit WHERE action = 'root.twin'`)
			var errs [2]error
			var all sync.WaitGroup
			for i, v := range []*keys.Vault{r.replica(), r.replica()} {
				twin := c.sign(uptane.TUF, []offline{root, second}[i*(round%2)])
				all.Go(func() { errs[i] = v.PutRootTwin(ctx, ns, twin) })
			}
			all.Wait()
			if same := round%2 == 0; (errs[0] == nil) == (errs[1] == nil) != same || same && errs[0] != nil {
				t.Errorf("round %d: %v, %v", round, errs[0], errs[1])
			}
			if n := r.count(`SELECT COUNT(*) FROM audit WHERE action = 'root.twin'`) - before; n != 1 {
				t.Errorf("%d acts for one document", n)
			}
			r.put(uptane.ImageRepository, c.next().sign(uptane.Uptane, root))
		}
	})
}

// One person begins a draft with new keys while another publishes a root of the
// same version: no private key is left that no root and no draft names.
func TestDraftMeetsARoot(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, r := t.Context(), newRig(t, d)
		c, root := r.director()
		r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
		other := r.replica()
		for range 6 {
			next := c.next().sign(uptane.Uptane, root)
			var drafting error
			var all sync.WaitGroup
			all.Go(func() { r.put(uptane.DirectorRepository, next) })
			all.Go(func() {
				_, drafting = other.DraftRoot(ctx, ns, keys.DraftRequest{Repository: uptane.DirectorRepository, Rotate: []uptane.Role{uptane.RoleTimestamp}})
			})
			all.Wait()
			if drafting != nil && fault.Of(drafting) == nil {
				t.Fatal(drafting)
			}
			held, err := r.OnlineKeys(ctx, ns, uptane.DirectorRepository, uptane.RoleTimestamp)
			if err != nil {
				t.Fatal(err)
			}
			waiting := must(r.replica().Drafts(ctx, ns))(t)
			for _, d := range waiting {
				held = slices.DeleteFunc(held, func(k uptane.Key) bool { return slices.Contains(d.Made, k.ID()) })
				if err := other.WithdrawDraft(ctx, ns, d.ID); err != nil {
					t.Fatal(err)
				}
			}
			if len(held) != 1 {
				t.Fatalf("%d keys are held that no draft names, one is in force; drafting: %v", len(held), drafting)
			}
		}
	})
}
