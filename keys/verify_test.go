package keys_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fsck"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/uptane"
)

// verify returns what a check finds damaged, one line each, and its account.
// The list of devices has those whose id begins with "id-of-".
func (r *rig) verify() ([]string, fsck.Result) {
	r.t.Helper()
	var damages []string
	a := fsck.New(func(d fsck.Damage) { damages = append(damages, d.String()) })
	err := r.Verify(r.t.Context(), a, func(_ context.Context, n uptane.Namespace, id uptane.DeviceID) (bool, error) {
		return n == ns && strings.HasPrefix(string(id), "id-of-"), nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return damages, a.Result()
}

// established is a vault with roots of both repositories, one of them replaced,
// CAs, a server certificate and devices, one of them revoked.
func established(t *testing.T, d *db.DB) *rig {
	t.Helper()
	r := newRig(t, d)
	r.authorities()
	c, root := r.director()
	r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
	image, root, _ := r.image()
	for range 2 {
		must(0, r.PutRoots(t.Context(), ns, uptane.ImageRepository, image.sign(uptane.Uptane, root), image.sign(uptane.TUF, root)))(t)
		image.next()
	}
	must(r.TLSConfig(t.Context(), pki.Names{DNS: []string{"localhost"}}))(t)
	b := r.bootstrap(keys.BootstrapRequest{Name: "line"})
	for _, oemid := range []uptane.OEMID{"car-1", "car-2"} {
		must(r.provision(oemid, b.Fingerprint))(t)
	}
	must(0, r.RevokeDevice(t.Context(), ns, "id-of-car-2"))(t)
	return r
}

func TestVerifyFindsNothingWrong(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		damages, r := established(t, d).verify()
		if len(damages) > 0 {
			t.Errorf("%q", damages)
		}
		for kind, n := range map[string]int64{"roots": 3, "online keys": 5, "CAs": 5, "server certificates": 1, "client certificates": 3} {
			if !slices.Contains(r.Looked, fsck.Count{Kind: kind, N: n}) {
				t.Errorf("%d %s were not looked at: %+v", n, kind, r.Looked)
			}
		}
	})
}

func TestVerifyNamesDamage(t *testing.T) {
	for _, c := range []struct{ what, statement, want string }{
		{"a root that is gone", `DELETE FROM root WHERE repository = 'image' AND version = 1`, "root 2 of the image repository: it comes after version 0"},
		{"bytes nobody signed", `UPDATE root SET document = replace(CAST(document AS TEXT), '2027', '2028') WHERE version = 2`, "counting 0 of 1 signatures"},
		{"no document at all", `UPDATE root SET document = 'x' WHERE repository = 'director'`, "root 1 of the director repository"},
		{"the end of a root", `UPDATE root SET expires = expires + 1`, "its row says otherwise"},
		{"since when keys are there", `UPDATE root SET keys_since = '{"root":7}' WHERE version = 2`, `keys are said to have changed in {"root":7}`},
		{"a TUF root", `UPDATE root SET twin = document WHERE repository = 'image' AND version = 2`, "TUF document: "},
		{"a TUF root too few", `UPDATE root SET twin = NULL WHERE version = 1`, "the version before has none"},
		{"a key of another role", `UPDATE public_key_use SET role = 'snapshot' WHERE role = 'root'`, "of root is not entered for it"},
		{"a sealed key", `UPDATE online_key SET sealed = (SELECT o.sealed FROM online_key o WHERE o.role = 'targets') WHERE role = 'snapshot'`, "it was changed, or belongs elsewhere"},
		{"a public key", `UPDATE online_key SET spki = (SELECT o.spki FROM online_key o WHERE o.role = 'targets') WHERE role = 'snapshot'`, "its public key is another one"},
		{"a CA", `UPDATE authority SET certificate = (SELECT a.certificate FROM authority a WHERE a.kind = 'server') WHERE kind = 'device'`, "it has another fingerprint"},
		{"a CA's key", `UPDATE authority SET sealed = x'00' WHERE kind = 'device'`, "(device): unsealing private key"},
		{"a server certificate", `UPDATE server_certificate SET sealed = x'00'`, "server certificate "},
		{"a server certificate's issuer", `UPDATE server_certificate SET issuer = (SELECT fingerprint FROM authority WHERE kind = 'device')`, "server certificate "},
		{"an issuer of another kind", `UPDATE certificate SET issuer = (SELECT fingerprint FROM authority WHERE kind = 'server')`, "is no CA of devices of this namespace"},
		{"an enrolment", `DELETE FROM enrolment WHERE oemid = 'car-1'`, "nobody is enrolled under that name"},
		{"a name held by another", `UPDATE enrolment SET device = 'id-of-car-2' WHERE oemid = 'car-1'`, "belongs to device id-of-car-2"},
		{"a device nobody lists", `UPDATE certificate SET device = 'x' WHERE oemid = 'car-2'`, "the list of devices lacks its device x"},
		{"limits", `DELETE FROM bootstrap`, "it is a bootstrap certificate without limits"},
		{"a serial", `UPDATE certificate SET serial = ''`, "its fingerprint, serial or time is none"},
	} {
		t.Run(c.what, func(t *testing.T) {
			d := dbtest.SQLite(t)
			r := established(t, d)
			if _, err := d.ExecContext(t.Context(), c.statement); err != nil {
				t.Fatal(err)
			}
			damages, result := r.verify()
			if result.Damaged == 0 || !slices.ContainsFunc(damages, func(d string) bool { return strings.Contains(d, c.want) }) {
				t.Errorf("damages %q, want %q among them", damages, c.want)
			}
		})
	}
}
