package keys_test

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/uptane"
)

func leaf(c *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{c} }

// foreign is a customer's own CA.
func (r *rig) foreign(name string) pki.Authority {
	r.t.Helper()
	ca := must(pki.NewDeviceRoot(r.clock.now(), name))(r.t)
	if err := r.AddIssuer(r.t.Context(), ns, ca.Cert); err != nil {
		r.t.Fatal(err)
	}
	return ca
}

func (r *rig) client(ca pki.Authority, name string) *x509.Certificate {
	r.t.Helper()
	key := must(pki.NewKey())(r.t)
	return must(ca.NewClient(r.clock.now(), name, 365*24*time.Hour, key.Public()))(r.t)
}

func TestWhoIsADevice(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		_, deviceRoot := r.authorities()
		_, err := r.Identify(ctx, nil)
		wantCode(t, err, "certificate_required")

		b := r.bootstrap(keys.BootstrapRequest{Name: "line 1"})
		cert, err := r.provision("board-7", b.Fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		id, err := r.Identify(ctx, leaf(cert))
		want := keys.Identity{Namespace: ns, Kind: keys.KindDevice, Device: "id-of-board-7", OEMID: "board-7",
			Fingerprint: id.Fingerprint, NotAfter: cert.NotAfter}
		if err != nil || id != want || len(id.Fingerprint) != 64 {
			t.Errorf("device: %+v, %v", id, err)
		}
		if cert.Subject.CommonName != "board-7" || !cert.NotBefore.Equal(r.clock.now().Add(-48*time.Hour)) {
			t.Errorf("certificate of %q from %v", cert.Subject.CommonName, cert.NotBefore)
		}

		// Someone has a root of another installation, or ours.
		stranger := must(pki.NewDeviceRoot(r.clock.now(), "Device root"))(t)
		_, err = r.Identify(ctx, leaf(r.client(stranger, "board-7")))
		wantCode(t, err, "unknown_certificate")
		_, err = r.Identify(ctx, leaf(r.client(deviceRoot, "board-7")))
		wantCode(t, err, "unknown_certificate")
		if n := r.Counters(); n.Unknown != 2 || n.Forged != 0 {
			t.Errorf("counters %+v", n)
		}

		r.clock.move(-72 * time.Hour)
		_, err = r.Identify(ctx, leaf(cert))
		wantCode(t, err, "certificate_not_yet_valid")
		r.clock.move(72*time.Hour + 20*366*24*time.Hour)
		_, err = r.Identify(ctx, leaf(cert))
		wantCode(t, err, "certificate_expired")
	})
}

// A certificate of our own CA that is in no table was made by a thief.
func TestForgedCertificateIsRefusedAndCounted(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t))
	ctx := t.Context()
	_, root := r.authorities()
	stolen := must(pki.NewDeviceIntermediate(r.clock.now(), "Device CA 2", root))(t)
	if err := r.ImportDeviceTree(ctx, ns, root.Cert, stolen); err != nil {
		t.Fatal(err)
	}
	cert := r.client(stolen, "board-1")
	for range 3 {
		_, err := r.Identify(ctx, leaf(cert))
		wantCode(t, err, "unknown_certificate")
	}
	if n := r.Counters(); n.Forged != 3 || n.Unknown != 0 {
		t.Errorf("counters %+v", n)
	}
	if n := strings.Count(r.log.String(), "never issued here"); n != 1 {
		t.Errorf("%d warnings within a second", n)
	}
}

// What a poll costs: nothing, until something is revoked.
func TestIdentifyReadsTheDatabaseOnceASecond(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		r.authorities()
		cert, err := r.provision("board-7", r.bootstrap(keys.BootstrapRequest{}).Fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		other := r.replica()
		for _, v := range []*keys.Vault{r.Vault, other} {
			if _, err := v.Identify(ctx, leaf(cert)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.RevokeDevice(ctx, ns, "id-of-board-7"); err != nil {
			t.Fatal(err)
		}
		_, err = r.Identify(ctx, leaf(cert)) // here at once
		wantCode(t, err, "certificate_revoked")
		if _, err = other.Identify(ctx, leaf(cert)); err != nil {
			t.Errorf("the other replica asked the database: %v", err)
		}
		r.clock.move(time.Second)
		_, err = other.Identify(ctx, leaf(cert))
		wantCode(t, err, "certificate_revoked")

		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = other.Identify(ctx, leaf(cert))
		wantCode(t, err, "certificate_revoked")
	})
}

func TestProvisioningAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		r.authorities()
		b := r.bootstrap(keys.BootstrapRequest{})
		first, err := r.provision("board-7", b.Fingerprint)
		if err != nil {
			t.Fatal(err)
		}

		// The answer got lost: the same archive may ask again, within the hour.
		r.clock.move(59 * time.Minute)
		second, err := r.provision("board-7", b.Fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Identify(ctx, leaf(first))
		wantCode(t, err, "certificate_revoked")
		if _, err := r.Identify(ctx, leaf(second)); err != nil {
			t.Error(err)
		}
		if acts, err := r.Acts(ctx, ns, "", 1); err != nil || acts[0].Action != "device.reissue" {
			t.Errorf("acts %+v, %v", acts, err)
		}

		// Another archive may not; nor may one whose device has registered ECUs.
		_, err = r.provision("board-7", r.bootstrap(keys.BootstrapRequest{}).Fingerprint)
		wantCode(t, err, "device_already_registered")
		_, err = r.IssueDevice(ctx, keys.IssueRequest{Namespace: ns, OEMID: "board-7", Device: "id-of-board-7", TTL: 1, Bootstrap: b.Fingerprint,
			Check: func(ctx context.Context, tx *sqlx.Tx) error {
				var n int
				if err := tx.GetContext(ctx, &n, `SELECT COUNT(*) FROM certificate`); err != nil || n < 2 {
					t.Errorf("the transaction sees %d certificates, %v", n, err)
				}
				return keys.ErrDeviceRegistered.With("it has ECUs")
			}})
		wantCode(t, err, "device_already_registered")
		if _, err := r.Identify(ctx, leaf(second)); err != nil {
			t.Errorf("a refused request revoked a certificate: %v", err)
		}
		r.clock.move(2 * time.Minute)
		_, err = r.provision("board-7", b.Fingerprint)
		wantCode(t, err, "device_already_registered")

		// A reset opens the name once.
		if err := r.ResetDevice(ctx, ns, "id-of-board-7"); err != nil {
			t.Fatal(err)
		}
		_, err = r.Identify(ctx, leaf(second))
		wantCode(t, err, "certificate_revoked")
		r.clock.move(48 * time.Hour)
		if _, err = r.provision("board-7", b.Fingerprint); err != nil {
			t.Errorf("after a reset: %v", err)
		}
		r.clock.move(2 * time.Hour)
		_, err = r.provision("board-7", b.Fingerprint)
		wantCode(t, err, "device_already_registered")

		// A revoked device stays out, whatever it asks with.
		if err := r.RevokeDevice(ctx, ns, "id-of-board-7"); err != nil {
			t.Fatal(err)
		}
		_, err = r.provision("board-7", b.Fingerprint)
		wantCode(t, err, "device_revoked")
		list, err := r.Certificates(ctx, ns, "id-of-board-7", "", 10)
		if err != nil || len(list) != 3 {
			t.Fatalf("%d certificates, %v", len(list), err)
		}
		for _, c := range list {
			if c.Revoked.IsZero() || c.OEMID != "board-7" || c.Serial == "" {
				t.Errorf("certificate %+v", c)
			}
		}
	})
}

func TestOneNameOneDeviceUnderRace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		r.authorities()
		b := r.bootstrap(keys.BootstrapRequest{})
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				if _, err := r.provision("board-7", b.Fingerprint); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := r.count(`SELECT COUNT(*) FROM certificate WHERE device = 'id-of-board-7' AND revoked IS NULL`); n != 1 {
			t.Errorf("%d certificates in force, want 1", n)
		}
	})
}

func TestBootstrapLimits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		r.authorities()
		names := []uptane.OEMID{"a", "b", "c", "d", "e", "f", "g", "h"}
		next := func(b keys.Bootstrap) error {
			name := names[0]
			names = names[1:]
			_, err := r.provision(name, b.Fingerprint)
			return err
		}
		few := r.bootstrap(keys.BootstrapRequest{Name: "sample boards", MaxUses: 2})
		wantCode(t, next(few), "")
		wantCode(t, next(few), "")
		wantCode(t, next(few), "bootstrap_used_up")

		r.clock.move(time.Millisecond) // the list is by time
		slow := r.bootstrap(keys.BootstrapRequest{Name: "factory", PerHour: 1, Life: 24 * time.Hour})
		wantCode(t, next(slow), "")
		wantCode(t, next(slow), "bootstrap_rate_exceeded")
		r.clock.move(time.Hour)
		wantCode(t, next(slow), "")
		r.clock.move(24 * time.Hour)
		wantCode(t, next(slow), "certificate_expired")

		if err := r.RevokeCertificate(ctx, ns, few.Fingerprint); err != nil {
			t.Fatal(err)
		}
		wantCode(t, next(few), "certificate_revoked")
		wantCode(t, r.RevokeCertificate(ctx, ns, few.Fingerprint), "no_such_certificate")
		_, err := r.provision("z", strings.Repeat("0", 64))
		wantCode(t, err, "unknown_certificate")

		list, err := r.Bootstraps(ctx, ns)
		if err != nil || len(list) != 2 || list[0].Uses != 2 || list[0].Revoked.IsZero() || list[1].Name != "factory" || list[1].Uses != 2 || !list[1].Revoked.IsZero() {
			t.Errorf("bootstraps %+v, %v", list, err)
		}
		if n := r.count(`SELECT COUNT(*) FROM enrolment`); n != 4 {
			t.Errorf("%d devices were let in, want 4", n)
		}
		// Limits are looked at before a key is made: that this cannot be done any more
		// is not noticed.
		last := r.bootstrap(keys.BootstrapRequest{Name: "one board", MaxUses: 1})
		names = []uptane.OEMID{"y", "z"}
		wantCode(t, next(last), "")
		if _, err := d.ExecContext(ctx, `UPDATE authority SET sealed = $1 WHERE kind = 'device'`, []byte("broken")); err != nil {
			t.Fatal(err)
		}
		r.Vault = r.replica()
		wantCode(t, next(last), "bootstrap_used_up")
	})
}

func TestRequestsThatAreRefused(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t))
	ctx := t.Context()
	good := keys.IssueRequest{Namespace: ns, OEMID: "board", Device: "d", TTL: 1}
	_, err := r.IssueDevice(ctx, good)
	wantCode(t, err, "no_ca")
	r.authorities()
	for code, change := range map[string]func(*keys.IssueRequest){
		"invalid_ttl":       func(q *keys.IssueRequest) { q.TTL = 0 },
		"invalid_device_id": func(q *keys.IssueRequest) { q.OEMID = "a/b" },
		"invalid_namespace": func(q *keys.IssueRequest) { q.Namespace = "" },
		"no_ca":             func(q *keys.IssueRequest) { q.Namespace = "second" },
	} {
		q := good
		change(&q)
		_, err := r.IssueDevice(ctx, q)
		wantCode(t, err, code)
	}
	if _, err := r.IssueDevice(ctx, good); err != nil {
		t.Error(err)
	}
}

func TestCustomersOwnCA(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		ctx := t.Context()
		r.authorities()
		fleet, other := r.foreign("Fleet CA"), r.foreign("Other CA")
		wantCode(t, r.AddIssuer(ctx, "second", fleet.Cert), "issuer_exists")
		wantCode(t, r.AddIssuer(ctx, ns, r.client(fleet, "board-9")), "invalid_issuer")

		first := r.client(fleet, "board-9")
		for range 2 { // two replicas meet it, and again from memory
			id, err := r.replica().Identify(ctx, leaf(first))
			if err != nil || id.Device != "id-of-board-9" || id.OEMID != "board-9" || id.Kind != keys.KindDevice || id.Namespace != ns {
				t.Fatalf("first contact: %+v, %v", id, err)
			}
		}
		renewed := r.client(fleet, "board-9")
		if id, err := r.Identify(ctx, leaf(renewed)); err != nil || id.Device != "id-of-board-9" {
			t.Errorf("renewed: %+v, %v", id, err)
		}
		if list, err := r.Certificates(ctx, ns, "id-of-board-9", "", 10); err != nil || len(list) != 2 {
			t.Errorf("%d certificates, %v", len(list), err)
		}
		_, err := r.Identify(ctx, leaf(r.client(other, "board-9")))
		wantCode(t, err, "device_held_by_other_issuer")
		_, err = r.provision("board-9", r.bootstrap(keys.BootstrapRequest{}).Fingerprint)
		wantCode(t, err, "device_already_registered")
		_, err = r.Identify(ctx, leaf(r.client(fleet, "board nine")))
		wantCode(t, err, "invalid_device_id")

		// A reset lets the other CA take the name; the old certificates stay the device's.
		if err := r.ResetDevice(ctx, ns, "id-of-board-9"); err != nil {
			t.Fatal(err)
		}
		if _, err = r.Identify(ctx, leaf(first)); err != nil {
			t.Errorf("after a reset: %v", err)
		}
		if _, err = r.Identify(ctx, leaf(r.client(other, "board-9"))); err != nil {
			t.Errorf("after a reset: %v", err)
		}

		list, err := r.Issuers(ctx, ns)
		if err != nil || len(list) != 2 || !list[0].Certificate.Equal(fleet.Cert) && !list[1].Certificate.Equal(fleet.Cert) {
			t.Fatalf("issuers %+v, %v", list, err)
		}
		for _, i := range list {
			if err := r.RevokeIssuer(ctx, ns, i.Fingerprint); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []*x509.Certificate{first, r.client(fleet, "board-10")} {
			_, err = r.Identify(ctx, leaf(c))
			wantCode(t, err, "certificate_issuer_revoked")
		}
	})
}

func TestFirstContactCanBeRefused(t *testing.T) {
	d := dbtest.SQLite(t)
	r := newRig(t, d)
	ctx := t.Context()
	fleet := r.foreign("Fleet CA")
	r.enrol = func(context.Context, uptane.Namespace, uptane.OEMID) (uptane.DeviceID, error) {
		return "", errors.New("disk on fire")
	}
	cert := r.client(fleet, "board-9")
	_, err := r.replica().Identify(ctx, leaf(cert))
	wantCode(t, err, "no fault")
	r.enrol = nil
	_, err = r.replica().Identify(ctx, leaf(cert))
	wantCode(t, err, "first_contact_refused")
	if _, err := r.Identify(ctx, leaf(cert)); err != nil {
		t.Error(err)
	}
}

func TestTreesThatAreRefused(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t))
	ctx, now := t.Context(), r.clock.now()
	server, device := r.authorities()
	a := must(pki.NewServerIntermediate(now, "A", server))(t)
	b := must(pki.NewServerIntermediate(now, "B", server))(t)
	next := must(pki.NewServerRoot(now, "Next"))(t)
	for what, tree := range map[string]keys.ServerTree{
		"no issuer":        {Root: server.Cert, Next: next.Cert},
		"no next root":     {Root: server.Cert, Issuer: a},
		"one root twice":   {Root: server.Cert, Next: server.Cert, Issuer: a},
		"key of another":   {Root: server.Cert, Next: next.Cert, Issuer: pki.Authority{Cert: a.Cert, Key: b.Key}},
		"of another root":  {Root: device.Cert, Next: next.Cert, Issuer: a},
		"a leaf as a root": {Root: r.client(device, "x"), Next: next.Cert, Issuer: a},
	} {
		if err := r.ImportServerTree(ctx, tree); err == nil {
			t.Errorf("%s: accepted", what)
		} else {
			wantCode(t, err, "invalid_issuer")
		}
	}
	// The device CA of one namespace is not another's.
	err := r.ImportDeviceTree(ctx, "second", device.Cert, must(pki.NewDeviceIntermediate(now, "D", device))(t))
	wantCode(t, err, "issuer_exists")

	// A new intermediate under new roots takes over.
	third := must(pki.NewServerRoot(now, "Third"))(t)
	if err := r.ImportServerTree(ctx, keys.ServerTree{Root: next.Cert, Next: third.Cert, Issuer: must(pki.NewServerIntermediate(now, "N", next))(t)}); err != nil {
		t.Fatal(err)
	}
	roots, err := r.ServerRoots(ctx)
	if err != nil || len(roots) != 2 || !roots[0].Equal(next.Cert) || !roots[1].Equal(third.Cert) {
		t.Errorf("roots %v, %v", roots, err)
	}
}
