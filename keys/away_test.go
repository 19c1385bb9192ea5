package keys_test

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sealift/fixtures/keyservice"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/kms"
	"sealift/keys"
	"sealift/uptane"
)

const place = "awskms:///alias/ours"

// away is a rig whose online keys are in a key service from now on.
type away struct {
	*rig
	service  *keyservice.Service
	patience time.Duration
}

func newAway(t *testing.T, d *db.DB) *away {
	s := keyservice.New()
	t.Cleanup(s.Close)
	for name, value := range s.Environment() {
		t.Setenv(name, value)
	}
	a := &away{rig: newRig(t, d), service: s}
	a.Vault = a.open(place)
	return a
}

func (a *away) open(place string) *keys.Vault {
	a.t.Helper()
	v, err := keys.New(a.t.Context(), keys.Config{DB: a.db, KEK: a.kek, Token: place, Service: kms.New(kms.Config{Patience: a.patience}),
		Now: a.clock.now, Log: slog.New(slog.NewTextHandler(a.log, nil))})
	if err != nil {
		a.t.Fatal(err)
	}
	return v
}

// name makes a key in the service and gives it the name of a role of the Director.
func (a *away) name(role uptane.Role, spec string) (arn string) {
	a.t.Helper()
	arn, err := a.service.Make("alias/ours-default-director-"+string(role), spec)
	if err != nil {
		a.t.Fatal(err)
	}
	return arn
}

func (a *away) generate(role uptane.Role, keytype string) (uptane.Key, error) {
	return a.GenerateOnline(a.t.Context(), ns, uptane.DirectorRepository, role, keytype)
}

// publish makes keys for all roles of the Director and a root that names them.
func (a *away) publish() {
	a.t.Helper()
	root := newOffline(a.t)
	c := newCeremony(a.t, a.clock.now().AddDate(1, 0, 0)).add(uptane.RoleRoot, root.key)
	for _, role := range []uptane.Role{uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp} {
		a.name(role, "RSA_2048")
		c.add(role, must(a.generate(role, "rsa2048"))(a.t))
	}
	a.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
}

func (a *away) signs(v *keys.Vault) error {
	_, err := v.Sign(a.t.Context(), job(uptane.RoleTargets, 1), []byte("x"))
	return err
}

// Online keys that people made in a key service sign, after a restart and at a replica
// too; what the names mean later changes nothing.
func TestOnlineKeysInAKeyService(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a := newAway(t, d)
		ctx := t.Context()
		a.publish()
		for _, v := range []*keys.Vault{a.Vault, a.open(place), a.open("")} {
			if err := a.signs(v); err != nil {
				t.Fatal(err)
			}
		}
		if n := a.service.Signed(); n != 3 {
			t.Errorf("%d signatures", n)
		}
		held := must(a.Custody(ctx, ns))(t)
		for _, h := range held {
			if h.Role != uptane.RoleRoot && !strings.HasPrefix(h.Place, "awskms:///arn:aws:kms:eu-test-1:111122223333:key/") {
				t.Errorf("%s is at %s", h.Role, h.Place)
			}
		}
		if err := a.Export(ctx, ns, held[1].Key.ID(), nil); !errors.Is(err, keys.ErrInToken) {
			t.Errorf("exporting: %v", err)
		}

		_, err := a.generate(uptane.RoleTargets, "rsa2048")
		wantCode(t, err, "no_new_key") // it is in use
		a.name(uptane.RoleTargets, "RSA_3072")
		if err := a.signs(a.open(place)); err != nil {
			t.Errorf("after the name was given to another key: %v", err)
		}
		next, err := a.generate(uptane.RoleTargets, "rsa3072")
		if err != nil || next.Algorithm() != "rsa3072" {
			t.Errorf("%s, %v", next.Algorithm(), err)
		}

		for spec, why := range map[string]string{"ECC_NIST_P256": "ECDSA", "ECC_NIST_EDWARDS25519": "4096 bytes", "RSA_4096": "not RSA of 2048 bits"} {
			a.name(uptane.RoleTargets, spec)
			_, err := a.generate(uptane.RoleTargets, "rsa2048")
			wantCode(t, err, "no_new_key")
			if err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %v", spec, err)
			}
		}
		a.name(uptane.RoleTargets, "RSA_2048")
		_, err = a.generate(uptane.RoleTargets, "")
		if wantCode(t, err, "no_new_key"); err == nil || !strings.Contains(err.Error(), "--key-type") {
			t.Errorf("of the default type: %v", err)
		}
		_, err = a.GenerateOnline(ctx, ns, uptane.ImageRepository, uptane.RoleSnapshot, "rsa2048")
		if wantCode(t, err, "no_new_key"); err == nil || !strings.Contains(err.Error(), "image-snapshot is not found") {
			t.Errorf("where nobody made one: %v", err)
		}
	})
}

// A service that does not sign is told, costs a fleet one try a second and a bounded
// time each, publishes nothing, and is forgotten when it is well again.
func TestKeyServiceInTrouble(t *testing.T) {
	a := newAway(t, dbtest.SQLite(t))
	ctx := t.Context()
	a.publish()
	unusable := func(ask bool) []keys.Unusable {
		t.Helper()
		return a.Unusable(must(a.Custody(ctx, ns))(t), ask)
	}
	if list := unusable(true); len(list) > 0 {
		t.Errorf("when all is well: %+v", list)
	}
	a.patience = 2 * time.Second
	a.Vault = a.open(place) // started while the service is away: keys need not be asked for
	a.service.Be(keyservice.Slow)
	uses := func() int { return a.count(`SELECT COUNT(*) FROM signature_record`) }
	before, begun := uses(), time.Now()
	wantCode(t, a.signs(a.Vault), "signing_key_unavailable")
	first := time.Since(begun)
	var fleet sync.WaitGroup
	for range 200 {
		fleet.Go(func() { wantCode(t, a.signs(a.Vault), "signing_key_unavailable") })
	}
	fleet.Wait()
	if took := time.Since(begun); took > 5*time.Second || uses() != before+1 {
		t.Errorf("the first waited %s, all %s, for %d tries", first, took, uses()-before)
	}
	list := unusable(false) // who looks has the others asked
	if len(list) != 3 || list[0].Role != uptane.RoleTargets || !strings.Contains(list[0].Err.Error(), "no answer within") || !list[0].Since.Equal(a.clock.now()) {
		t.Errorf("unusable: %+v", list)
	}
	if !strings.Contains(a.log.String(), "a signing key cannot be used") {
		t.Error("the log says nothing")
	}

	a.service.Be(keyservice.Well)
	wantCode(t, a.signs(a.Vault), "signing_key_unavailable") // left alone for a second
	a.clock.move(2 * time.Second)
	if err := a.signs(a.Vault); err != nil {
		t.Errorf("when the service is back: %v", err)
	}
	if list := unusable(false); len(list) != 2 { // which nobody has asked since
		t.Errorf("%d keys are unusable still", len(list))
	}
	a.clock.move(20 * time.Second)
	if list := unusable(false); len(list) != 0 {
		t.Errorf("unusable when somebody looks again: %+v", list)
	}
	a.log.await(t, "can be used again")

	a.service.Be(keyservice.Busy) // the next one may be lucky
	wantCode(t, a.signs(a.Vault), "signing_key_unavailable")
	a.service.Be(keyservice.Well)
	if err := a.signs(a.Vault); err != nil {
		t.Errorf("after it was asked too often: %v", err)
	}
	a.service.Be(keyservice.Lying)
	if err := a.signs(a.Vault); err == nil || !strings.Contains(err.Error(), "checking own signature") {
		t.Errorf("a signature of something else: %v", err)
	}
}

// A root whose keys the service would not sign with is refused before it is published.
func TestRootWithADisabledKey(t *testing.T) {
	a := newAway(t, dbtest.SQLite(t))
	root := newOffline(t)
	c := newCeremony(t, a.clock.now().AddDate(1, 0, 0)).add(uptane.RoleRoot, root.key)
	for _, role := range []uptane.Role{uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp} {
		a.name(role, "RSA_2048")
		c.add(role, must(a.generate(role, "rsa2048"))(t))
	}
	doc := c.sign(uptane.Uptane, root)
	if err := a.service.Disable("alias/ours-default-director-timestamp", true); err != nil {
		t.Fatal(err)
	}
	err := a.PutRoot(t.Context(), ns, uptane.DirectorRepository, doc)
	if why := keys.Reasons(err); len(why) != 1 || !strings.Contains(why[0], "is disabled") {
		t.Errorf("%v", err)
	}
	if err := a.service.Disable("alias/ours-default-director-timestamp", false); err != nil {
		t.Fatal(err)
	}
	a.put(uptane.DirectorRepository, doc)
}
