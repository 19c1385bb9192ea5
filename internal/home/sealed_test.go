package home_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"sealift/internal/home"
	"sealift/uptane"
)

func TestSealedKey(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	write(t, file, "correct horse\r\nsecond line")
	env := map[string]string{"SEALIFT_PASSPHRASE_FILE": file}
	ring := home.OpenKeyring(filepath.Join(dir, "keys"), options(env, nil))
	key, err := ring.Generate("targets", home.Ed25519, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(o home.Options) error {
		sigs, err := home.OpenKeyring(filepath.Join(dir, "keys"), o).Signer("targets").Sign(t.Context(), uptane.Job{}, []byte("msg"))
		if err == nil && (len(sigs) != 1 || sigs[0].Key != key || key.Verify("ed25519", []byte("msg"), sigs[0].Sig) != nil) {
			t.Error("wrong signature")
		}
		return err
	}
	if err := sign(options(map[string]string{"SEALIFT_PASSPHRASE": "correct horse", "GARAGE_SIGN_PASSPHRASE": "of another key"}, nil)); err != nil {
		t.Error(err)
	}
	err = sign(options(map[string]string{"GARAGE_SIGN_PASSPHRASE": "wrong"}, nil))
	if !errors.Is(err, home.ErrPassphrase) || !strings.Contains(err.Error(), "targets.sec") || !strings.Contains(err.Error(), "GARAGE_SIGN_PASSPHRASE") {
		t.Errorf("wrong passphrase: %v", err)
	}
	err = sign(options(nil, nil))
	if !errors.Is(err, home.ErrNoPassphrase) || !strings.Contains(err.Error(), "set GARAGE_SIGN_PASSPHRASE or GARAGE_SIGN_PASSPHRASE_FILE") {
		t.Errorf("no passphrase: %v", err)
	}
	asked := 0
	o := home.Options{Passphrases: &home.Passphrases{Prompt: func(q string) ([]byte, error) { asked++; return []byte("correct horse"), nil }}}
	if err := sign(o); err != nil || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}

	// Handed on under another passphrase, the first no longer opens it.
	other, err := ring.ExportSealed("targets", []byte("build"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := home.Unseal(other, []byte("correct horse")); !errors.Is(err, home.ErrPassphrase) {
		t.Error(err)
	}
	plain, err := home.Unseal(other, []byte("build"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := home.ParsePrivate(plain); err != nil {
		t.Error(err)
	}
	if _, err := home.Seal([]byte("x"), nil); !errors.Is(err, home.ErrNoPassphrase) {
		t.Errorf("an empty passphrase: %v", err)
	}
}
