//go:build pkcs11

package keys_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/hsm"
	"sealift/keys"
	"sealift/uptane"
)

// softToken makes a token in software that is called server.
func softToken(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("softhsm2-util"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("softhsm2 is not installed; make deps installs it")
		}
		t.Skip("softhsm2 is not installed")
	}
	dir := t.TempDir()
	t.Setenv("SOFTHSM2_CONF", filepath.Join(dir, "softhsm2.conf"))
	t.Setenv("PKCS11_MODULE_PATH", "/usr/lib/softhsm/libsofthsm2.so")
	t.Setenv("PKCS11_PIN", "1234")
	if err := os.WriteFile(filepath.Join(dir, "softhsm2.conf"), []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "server", "--pin", "1234", "--so-pin", "4321").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// Online keys of both kinds sign out of a token, after a restart too; the
// database has neither them nor their place in the clear.
func TestOnlineKeysInAToken(t *testing.T) {
	softToken(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newRig(t, d)
		open := func(token string) (*keys.Vault, error) {
			return keys.New(t.Context(), keys.Config{DB: d, KEK: r.kek, Token: token, Now: r.clock.now, Log: slog.New(slog.DiscardHandler)})
		}
		for _, wrong := range []string{"server", "pkcs11:token=server;object=mine", "pkcs11:token=server?pin-value=1234"} {
			if _, err := open(wrong); err == nil {
				t.Errorf("opened with token %q", wrong)
			}
		}
		var err error
		if r.Vault, err = open("pkcs11:token=server"); err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		_, err = r.GenerateOnline(ctx, ns, uptane.DirectorRepository, uptane.RoleTargets, "ecdsa")
		wantCode(t, err, "invalid_key_type")
		c, root := r.director()
		second, err := r.GenerateOnline(ctx, ns, uptane.DirectorRepository, uptane.RoleTargets, "rsa2048")
		if err != nil || second.Algorithm() != "rsa2048" {
			t.Fatal(second, err)
		}
		c.add(uptane.RoleTargets, second)
		c.root.Roles["targets"].Threshold = 2
		r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
		for _, v := range []*keys.Vault{r.Vault, r.replica()} { // the other one makes its keys in the database
			sigs, err := v.Sign(ctx, job(uptane.RoleTargets, 1), []byte("x"))
			if err != nil || len(sigs) != 2 {
				t.Fatalf("%d signatures, %v", len(sigs), err)
			}
		}
		held, err := r.Custody(ctx, ns)
		if err != nil {
			t.Fatal(err)
		}
		inToken := 0
		for _, k := range held {
			if strings.HasPrefix(k.Place, "pkcs11:token=server;object=sealift-default-director-") {
				inToken++
			}
		}
		if inToken != 4 {
			t.Errorf("%d keys in the token: %+v", inToken, held)
		}
		var stored [][]byte
		if err := d.SelectContext(ctx, &stored, `SELECT sealed FROM online_key`); err != nil {
			t.Fatal(err)
		}
		for _, box := range stored {
			if bytes.Contains(box, []byte("pkcs11")) {
				t.Error("the place of a key lies in the clear")
			}
		}
		if err := r.Export(ctx, ns, second.ID(), nil); !errors.Is(err, keys.ErrInToken) {
			t.Errorf("exporting out of a token: %v", err)
		}
	})
	t.Run("nothing", keysForNothing)
	t.Run("changed", tokensThatChanged) // the library reads its configuration once in a process
}

// Keys that were made for a draft which does not come about leave the token again; if
// that is not possible, the log says which ones stay.
func keysForNothing(t *testing.T) {
	d := dbtest.SQLite(t)
	r := newRig(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	accident := func() {}
	var log bytes.Buffer
	var err error
	r.Vault, err = keys.New(ctx, keys.Config{DB: d, KEK: r.kek, Token: "pkcs11:token=server", Now: r.clock.now, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Actor: func(context.Context) string { accident(); return "token:alice" }})
	if err != nil {
		t.Fatal(err)
	}
	c, root := r.director()
	r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
	ask := keys.DraftRequest{Repository: uptane.DirectorRepository, Rotate: []uptane.Role{uptane.RoleTargets, uptane.RoleSnapshot}}
	before := keysInToken(t)
	waits, err := r.DraftRoot(ctx, ns, ask)
	if n := keysInToken(t); err != nil || n != before+2 {
		t.Fatalf("a draft made %d keys, %v", n-before, err)
	}
	nobody := func(what string, ask keys.DraftRequest) {
		t.Helper()
		_, err := r.DraftRoot(ctx, ns, ask)
		if n := keysInToken(t); err == nil || n != before+2 || log.Len() > 0 {
			t.Errorf("%s: %v leaves %d keys: %s", what, err, n-before-2, log.String())
		}
	}
	nobody("another draft waits", ask)
	strange := ask
	strange.Replaces, strange.Rotate = waits.ID, []uptane.Role{uptane.RoleTargets, uptane.RoleRoot}
	nobody("a role that is not online", strange)
	strange.Rotate, strange.KeyType = ask.Rotate, "ecdsa"
	nobody("a type of key that is refused", strange)
	accident = cancel
	nobody("who asks goes away", ask)
	ctx = t.Context()
	accident = func() { _ = d.Close() }
	if _, err := r.DraftRoot(ctx, ns, ask); err == nil || keysInToken(t) != before+4 || !strings.Contains(log.String(), "pkcs11:token=server;object=sealift-default-director-targets-") {
		t.Errorf("without a database: %v, %d keys stay, %s", err, keysInToken(t)-before-2, log.String())
	}
}

// keysInToken counts private keys.
func keysInToken(t *testing.T) int {
	t.Helper()
	module := pkcs11.New(os.Getenv("PKCS11_MODULE_PATH"))
	slots, err := module.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	session, err := module.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = module.CloseSession(session) }()
	if err := module.FindObjectsInit(session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}); err != nil {
		t.Fatal(err)
	}
	objects, _, err := module.FindObjects(session, 1000)
	if err := errors.Join(err, module.FindObjectsFinal(session)); err != nil {
		t.Fatal(err)
	}
	return len(objects)
}

// A token that was given another key of the same name is found out before anything
// is signed; and a wrong PIN is tried once, not with each poll until the token
// locks.
func tokensThatChanged(t *testing.T) {
	d := dbtest.SQLite(t)
	r := newRig(t, d)
	open := func() *keys.Vault {
		t.Helper()
		v, err := keys.New(t.Context(), keys.Config{DB: d, KEK: r.kek, Token: "pkcs11:token=server", Now: r.clock.now, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	r.Vault = open()
	ctx := t.Context()
	c, root := r.director()
	r.put(uptane.DirectorRepository, c.sign(uptane.Uptane, root))
	held, err := r.Custody(ctx, ns)
	if err != nil {
		t.Fatal(err)
	}
	uri := held[slices.IndexFunc(held, func(h keys.Held) bool { return h.Role == uptane.RoleTargets && h.Place != keys.PlaceOffline })].Place
	if _, err := open().Sign(ctx, job(uptane.RoleTargets, 1), []byte("x")); err != nil {
		t.Fatal(err)
	}

	module := pkcs11.New(os.Getenv("PKCS11_MODULE_PATH"))
	slots, err := module.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	session, err := module.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	_, label, _ := strings.Cut(uri, "object=")
	if err := module.FindObjectsInit(session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}); err != nil {
		t.Fatal(err)
	}
	objects, _, err := module.FindObjects(session, 10)
	if err := errors.Join(err, module.FindObjectsFinal(session)); err != nil || len(objects) != 2 {
		t.Fatal(len(objects), err)
	}
	for _, o := range objects {
		if err := module.DestroyObject(session, o); err != nil {
			t.Fatal(err)
		}
	}
	made, err := hsm.Generate(uri, 0, hsm.Surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open().Sign(ctx, job(uptane.RoleTargets, 1), []byte("x")); err == nil || !strings.Contains(err.Error(), "is in its place") {
		t.Errorf("signing with another key of the same name: %v", err)
	}
	if err := errors.Join(made.Close(), module.CloseAllSessions(slots[0])); err != nil { // logged out
		t.Log(err)
	}

	t.Setenv("PKCS11_PIN", "9999")
	v := open()
	if _, err := v.Sign(ctx, job(uptane.RoleSnapshot, 1), []byte("x")); !errors.Is(err, hsm.ErrPIN) {
		t.Fatalf("with a wrong PIN: %v", err)
	}
	t.Setenv("PKCS11_PIN", "1234") // would be right: whether it is asked is seen
	if _, err := v.Sign(ctx, job(uptane.RoleSnapshot, 1), []byte("x")); !errors.Is(err, hsm.ErrPIN) || !strings.Contains(err.Error(), "not asked again") {
		t.Errorf("after a wrong PIN: %v", err)
	}
	if _, err := open().Sign(ctx, job(uptane.RoleSnapshot, 1), []byte("x")); err != nil {
		t.Errorf("started anew with the right PIN: %v", err)
	}
}
