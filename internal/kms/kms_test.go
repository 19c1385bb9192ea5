package kms_test

import (
	"crypto"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"sealift/fixtures/keyservice"
	"sealift/internal/hsm"
	"sealift/internal/kms"
	"sealift/uptane"
)

// service is a key service, and the driver in an environment that leads there.
func service(t *testing.T, c kms.Config) (*keyservice.Service, hsm.Surroundings) {
	t.Helper()
	s := keyservice.New()
	t.Cleanup(s.Close)
	for name, value := range s.Environment() {
		t.Setenv(name, value)
	}
	return s, hsm.Surroundings{Service: kms.New(c)}
}

func made(t *testing.T, s *keyservice.Service, alias, spec string) string {
	t.Helper()
	arn, err := s.Make(alias, spec)
	if err != nil {
		t.Fatal(err)
	}
	return arn
}

// A key that people have made and named signs whatever it is called, and only what is
// asked for.
func TestKeys(t *testing.T) {
	s, from := service(t, kms.Config{})
	for _, spec := range []string{"RSA_2048", "RSA_3072"} {
		alias := "alias/ours-" + spec
		arn := made(t, s, alias, spec)
		_, id, _ := strings.Cut(arn, ":key/")
		for _, uri := range []string{"awskms:///" + alias, "awskms://" + alias + "?region=eu-test-1\n", "awskms:///" + arn, "awskms://" + id, "awskms:///" + strings.Replace(arn, "key/"+id, alias, 1)} {
			before := s.Signed()
			key, named, err := hsm.Use(uri, 0, from)
			if err != nil || named != "awskms:///"+arn || s.Signed() != before {
				t.Fatalf("%s: %q, %v, %d signatures", uri, named, err, s.Signed()-before)
			}
			known, err := hsm.Known(named, key.Public(), from)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range []hsm.Key{key, known} { // uptane.Sign verifies what it got
				if sig, err := uptane.Sign(k, []byte(strings.Repeat("a document ", 6000))); err != nil || !strings.HasPrefix(sig.Key.Algorithm(), "rsa") {
					t.Errorf("%s: %v", uri, err)
				}
			}
			if _, err := key.Sign(nil, make([]byte, 32), crypto.SHA256); !errors.Is(err, hsm.ErrKind) {
				t.Errorf("PKCS#1 v1.5: %v", err)
			}
		}
	}
	var all sync.WaitGroup
	key, err := hsm.Open("awskms:///alias/ours-RSA_2048", from)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		all.Go(func() {
			if _, err := uptane.Sign(key, []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// What metadata cannot be signed with is refused, with the reason.
func TestKeysOfNoUse(t *testing.T) {
	s, from := service(t, kms.Config{})
	for spec, why := range map[string]string{
		"ECC_NIST_P256": "devices refuse a whole document", "ECC_NIST_EDWARDS25519": "at most 4096 bytes", "RSA_2048 for encryption": "made for ENCRYPT_DECRYPT",
	} {
		made(t, s, "alias/odd", spec)
		if _, err := hsm.Open("awskms:///alias/odd", from); !errors.Is(err, hsm.ErrKind) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", spec, err)
		}
	}
	if _, err := hsm.Open("awskms:///alias/none", from); !errors.Is(err, hsm.ErrNotFound) {
		t.Error(err)
	}
	made(t, s, "alias/place-image-root", "RSA_2048")
	for bits, want := range map[int]error{2048: nil, 3072: hsm.ErrKind, 0: hsm.ErrKind} {
		_, _, err := hsm.Make("awskms:///alias/place", "image-root", bits, from)
		if !errors.Is(err, want) || bits == 0 && !strings.Contains(err.Error(), "--key-type") {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
	if _, err := hsm.Beside("awskms:///alias/place-image-root", "next"); !errors.Is(err, hsm.ErrMadeThere) {
		t.Error(err)
	}
	if _, err := hsm.Open("awskms:///alias/place-image-root", hsm.Surroundings{}); !errors.Is(err, hsm.ErrNoService) {
		t.Error(err)
	}
}

// Whatever the service does, a call ends in time and says what it is.
func TestTrouble(t *testing.T) {
	s, from := service(t, kms.Config{Patience: 1500 * time.Millisecond})
	made(t, s, "alias/ours", "RSA_2048")
	key, err := hsm.Open("awskms:///alias/ours", from)
	if err != nil {
		t.Fatal(err)
	}
	digest := make([]byte, 32)
	for mood, want := range map[keyservice.Mood]error{keyservice.Down: hsm.ErrAway, keyservice.Slow: hsm.ErrAway, keyservice.Refusing: hsm.ErrAway, keyservice.Busy: hsm.ErrBusy} {
		s.Be(mood)
		begun := time.Now()
		_, find := hsm.Open("awskms:///alias/ours", from)
		_, sign := key.Sign(nil, digest, pss())
		for _, err := range []error{find, sign} {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v", mood, err)
			}
		}
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("%s: two calls took %s", mood, took)
		}
	}
	s.Be(keyservice.Lying)
	if _, err := uptane.Sign(key, []byte("x")); err == nil {
		t.Error("a signature of something else was taken")
	}
	s.Be(keyservice.Well)
	if err := s.Disable("alias/ours", true); err != nil {
		t.Fatal(err)
	}
	if _, err := hsm.Open("awskms:///alias/ours", from); !errors.Is(err, hsm.ErrAway) || !strings.Contains(err.Error(), "is disabled") {
		t.Errorf("a disabled key: %v", err)
	}
	if err := s.Disable("alias/ours", false); err != nil {
		t.Fatal(err)
	}
	if _, err := uptane.Sign(key, []byte("x")); err != nil {
		t.Errorf("when all is well again: %v", err)
	}
}
