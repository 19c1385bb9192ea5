package keys_test

import (
	"context"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"software.sslmate.com/src/go-pkcs12"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/keys"
	"sealift/uptane"
)

// enrolName gives every name the device that provision gives it.
func enrolName(_ context.Context, _ *sqlx.Tx, oemid uptane.OEMID) (uptane.DeviceID, error) {
	return uptane.DeviceID("id-of-" + oemid), nil
}

// TestRootsThatDevicesKnow: in recovery a device that asks for the root after
// next shows that the next one exists. The repository is behind until that is
// here, on every replica; what is nonsense, or comes at other times, is not
// believed.
func TestRootsThatDevicesKnow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, r := t.Context(), newRig(t, d)
		c, root := r.director()
		first := c.sign(uptane.Uptane, root)
		r.put(uptane.DirectorRepository, first)
		show := func(version int) {
			t.Helper()
			if err := r.ShowRoot(ctx, ns, uptane.DirectorRepository, version, "device car-1"); err != nil {
				t.Fatal(err)
			}
		}
		require := func(v *keys.Vault, code string) {
			t.Helper()
			wantCode(t, v.RequireRoot(ctx, ns, uptane.DirectorRepository), code)
		}
		show(3)
		require(r.Vault, "") // no backup was restored
		if err := r.BeginRecovery(ctx, ns, r.clock.now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		replica := r.replica()
		require(replica, "")
		for _, version := range []int{0, 1, 5000} {
			show(version)
			require(r.Vault, "")
		}
		show(3)
		require(r.Vault, "repository_behind")
		r.clock.move(time.Second)
		require(replica, "repository_behind")
		if err := r.RequireRoot(ctx, ns, uptane.ImageRepository); fault.Of(err) != nil {
			t.Errorf("the other repository: %v", err)
		}
		recovery, err := r.Recovery(ctx, ns)
		if err != nil || !recovery.Lasts() || len(recovery.Behind) != 1 || recovery.Behind[0].Version != 3 || recovery.Behind[0].ShownBy != "device car-1" {
			t.Errorf("%+v, %v", recovery, err)
		}
		wantCode(t, r.EndRecovery(ctx, ns, false), "recovery_not_over")

		for range 2 { // the roots come back from where they were signed
			require(r.Vault, "repository_behind")
			r.put(uptane.DirectorRepository, c.next().sign(uptane.Uptane, root))
		}
		require(r.Vault, "")
		show(5)
		require(r.Vault, "repository_behind") // another one that nobody has any more
		if err := r.EndRecovery(ctx, ns, true); err != nil {
			t.Fatal(err)
		}
		require(r.Vault, "")
		show(6)
		require(r.Vault, "")
		acts, err := r.Acts(ctx, ns, "", 100)
		var names []string
		for _, a := range acts {
			if a.Action[:4] == "reco" {
				names = append(names, a.Action)
			}
		}
		if err != nil || len(names) != 4 {
			t.Errorf("audit: %q, %v", names, err)
		}
	})
}

// TestAdoption: certificates that were issued after the backup are refused,
// noted in recovery, and let in when a person adopts them.
func TestAdoption(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, r := t.Context(), newRig(t, d)
		r.authorities()
		b := r.bootstrap(keys.BootstrapRequest{})
		old := must(r.provision("car-1", b.Fingerprint))(t)
		kept := must(r.provision("car-2", b.Fingerprint))(t)
		r.clock.move(time.Minute)
		again := must(r.provision("car-1", b.Fingerprint))(t) // revokes old
		fresh := must(r.provision("car-3", b.Fingerprint))(t)
		p12, lostBootstrap, err := r.IssueBootstrap(ctx, keys.BootstrapRequest{Namespace: ns})
		if err != nil {
			t.Fatal(err)
		}
		_, shared, _, err := pkcs12.DecodeChain(p12, "")
		if err != nil {
			t.Fatal(err)
		}
		revoked := must(r.provision("car-4", b.Fingerprint))(t)
		// The backup was made before the last minute.
		for _, statement := range []string{
			`DELETE FROM certificate WHERE not_before = (SELECT MAX(not_before) FROM certificate WHERE kind = 'device') AND kind = 'device'`,
			`DELETE FROM bootstrap WHERE fingerprint = '` + lostBootstrap.Fingerprint + `'`,
			`DELETE FROM certificate WHERE fingerprint = '` + lostBootstrap.Fingerprint + `'`,
			`UPDATE certificate SET revoked = NULL`,
			`DELETE FROM enrolment WHERE oemid = 'car-3'`,
			`UPDATE enrolment SET state = 'revoked' WHERE oemid = 'car-4'`,
		} {
			if _, err := d.ExecContext(ctx, statement); err != nil {
				t.Fatal(err)
			}
		}
		v := r.replica()
		identify := func(cert *x509.Certificate, code string) {
			t.Helper()
			r.clock.move(2 * time.Second) // refusals are remembered for a second
			_, err := v.Identify(ctx, []*x509.Certificate{cert})
			wantCode(t, err, code)
		}
		lost := func() []keys.Lost {
			t.Helper()
			list, err := v.Lost(ctx, ns, "", 10)
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		identify(fresh, "unknown_certificate")
		if list := lost(); len(list) != 0 {
			t.Errorf("noted without recovery: %+v", list)
		}
		if err := v.BeginRecovery(ctx, ns, r.clock.now()); err != nil {
			t.Fatal(err)
		}
		// One that is in many hands cannot be adopted as a device's.
		for _, cert := range []*x509.Certificate{again, fresh, fresh, revoked, shared} {
			identify(cert, "unknown_certificate")
		}
		for _, cert := range []*x509.Certificate{old, kept} {
			identify(cert, "")
		}
		byName := map[uptane.OEMID]keys.Lost{}
		for _, l := range lost() {
			byName[l.OEMID] = l
		}
		if len(byName) != 3 || byName["car-3"].NotAfter.Unix() != fresh.NotAfter.Unix() || v.Counters().Forged == 0 {
			t.Fatalf("lost: %+v", byName)
		}

		for oemid, cert := range map[uptane.OEMID]*x509.Certificate{"car-1": again, "car-3": fresh} {
			id, err := v.Adopt(ctx, ns, byName[oemid].Fingerprint, enrolName)
			if err != nil || id.OEMID != oemid || id.Device != "id-of-"+uptane.DeviceID(oemid) {
				t.Errorf("adopting %s: %+v, %v", oemid, id, err)
			}
			identify(cert, "")
		}
		identify(old, "certificate_revoked") // the device has the new one in its place
		identify(kept, "")
		_, err = v.Adopt(ctx, ns, byName["car-4"].Fingerprint, enrolName)
		wantCode(t, err, "device_not_adoptable")
		_, err = v.Adopt(ctx, ns, byName["car-3"].Fingerprint, enrolName)
		wantCode(t, err, "no_such_certificate")
		_, err = v.Adopt(ctx, "other", byName["car-4"].Fingerprint, enrolName)
		wantCode(t, err, "no_such_certificate")
		broken := errors.New("broken")
		if _, err = v.Adopt(ctx, ns, byName["car-4"].Fingerprint, func(context.Context, *sqlx.Tx, uptane.OEMID) (uptane.DeviceID, error) {
			return "", broken
		}); !errors.Is(err, broken) {
			t.Errorf("a registry that fails: %v", err)
		}
		if r, err := v.Recovery(ctx, ns); err != nil || r.Lost != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		if err := v.EndRecovery(ctx, ns, false); err != nil {
			t.Fatal(err)
		}
		identify(revoked, "unknown_certificate")
		if list := lost(); len(list) != 0 {
			t.Errorf("left after the end: %+v", list)
		}
	})
}
