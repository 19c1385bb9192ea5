package uptane_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"sealift/uptane"
)

// TestDenseInputOfDevicesIsCheap: two bytes a value, as many as a body may
// have, must not take a hundred megabytes.
func TestDenseInputOfDevicesIsCheap(t *testing.T) {
	dense := []byte(`{"signatures":[` + strings.Repeat("0,", 1<<20-100) + `0],"signed":{}}`)
	for name, parse := range map[string]func() error{
		"manifest":     func() error { _, err := uptane.ParseManifest(dense); return err },
		"registration": func() error { _, err := uptane.ParseRegistration(dense); return err },
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := parse()
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, uptane.ErrMalformed) || used > 32<<20 {
			t.Errorf("%s: %v after %d MiB", name, err, used>>20)
		}
	}
}

// TestManySignaturesOfOneECU: each costs a verification, and the device can
// make as many good ones as it likes.
func TestManySignaturesOfOneECU(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := uptane.NewKey(public)
	if err != nil {
		t.Fatal(err)
	}
	frame := func(signed string, n int) string {
		sig := base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(signed)))
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`{"keyid":"%064x","method":"ed25519","sig":"%s"}`, i, sig)
		}
		return `{"signatures":[` + strings.Join(list, ",") + `],"signed":` + signed + `}`
	}
	report := func(n int) string {
		return frame(`{"attacks_detected":"","ecu_serial":"p","installed_image":{"fileinfo":{"hashes":{"sha256":"`+strings.Repeat("0", 64)+`"},"length":0},"filepath":"x"}}`, n)
	}
	manifest := func(inner, outer int) string {
		return frame(`{"ecu_version_manifests":{"p":`+report(inner)+`},"primary_ecu_serial":"p"}`, outer)
	}
	for n, good := range map[int]bool{1: true, 4: true, 5: false, 1000: false} {
		for _, m := range []string{manifest(n, 1), manifest(1, n)} {
			_, err := uptane.VerifyManifest([]byte(m), "p", map[uptane.ECUSerial]uptane.Key{"p": key})
			if good && err != nil || !good && !errors.Is(err, uptane.ErrSignature) {
				t.Errorf("%d signatures: %v", n, err)
			}
		}
	}
}
