package hsm_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sealift/internal/hsm"
)

func TestURIs(t *testing.T) {
	for text, ok := range map[string]bool{
		"pkcs11:token=sealift;object=root":                          true,
		"pkcs11:id=%01%02;type=private?pin-source=file:/run/pin\n":  true,
		"pkcs11:object=a%20b;token=t;serial=12;manufacturer=unread": true,
		"pkcs11:token=sealift":                                      false, // which key?
		"pkcs11:object=root?module-path=/tmp/evil.so":               false, // would be loaded
		"pkcs11:object=root;type=cert":                              false,
		"pkcs11:object=%zz":                                         false,
		"pkcs11:object":                                             false,
		"object=root":                                               false,
	} {
		err := hsm.Check(text)
		if (err == nil) != ok || err != nil && !errors.Is(err, hsm.ErrURI) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestKeysOfAToken(t *testing.T) {
	got, err := hsm.In("pkcs11:token=sealift;", "image root/1")
	if err != nil || got != "pkcs11:token=sealift;object=image%20root%2F1" || hsm.Check(got) != nil {
		t.Error(got, err)
	}
	for _, text := range []string{
		"sealift", "pkcs11:", "pkcs11:token=sealift?pin-value=1234", "pkcs11:token=sealift;object=mine", "pkcs11:token=sealift;id=%01",
		"pkcs11:token=sealift;module-path=/tmp/evil.so",
	} {
		if got, err := hsm.In(text, "root"); !errors.Is(err, hsm.ErrURI) {
			t.Errorf("%q: %q, %v", text, got, err)
		} else if strings.Contains(err.Error(), "1234") {
			t.Errorf("the PIN is told: %v", err)
		}
	}
}

// Wherever somebody puts the PIN, it is not shown.
func TestNoPINIsShown(t *testing.T) {
	for _, text := range []string{
		"pkcs11:token=sealift?pin-value=4321", "pkcs11:token=sealift;pin-value=4321", "pkcs11:token=sealift;PIN-VALUE=4321",
		"pkcs11:token=sealift;pin=4321;object=a;type=cert", "pkcs11:token=sealift%3Fpin-value%3D4321", "token=sealift;pin%2Dvalue=4321",
		"pkcs11:pin-value=4321", "pkcs11:object=a;pin_value%3d4321", "pkcs11:object=a;type=pin-value=4321",
	} {
		if shown := hsm.Shown(text); strings.Contains(shown, "4321") {
			t.Errorf("%s is shown as %s", text, shown)
		}
		_, in := hsm.In(text, "root")
		_, beside := hsm.Beside(text, "root")
		if told := fmt.Sprint(in, beside, hsm.Check(text)); strings.Contains(told, "4321") {
			t.Errorf("%s gives %s", text, told)
		}
	}
	if shown := hsm.Shown("pkcs11:token=pinboard"); shown != "pkcs11:token=pinboard" {
		t.Errorf("shown as %s", shown)
	}
}

func TestKeyBesideAnother(t *testing.T) {
	for key, want := range map[string]string{
		"pkcs11:token=ours;object=root?pin-value=1234\n":         "pkcs11:token=ours;object=next%201",
		"pkcs11:serial=1%3B2;id=%01;token=a%20b;object=x":        "pkcs11:token=a%20b;serial=1%3B2;object=next%201",
		"pkcs11:object=root":                                     "", // in which token?
		"pkcs11:token=ours;object=root;module-path=/tmp/evil.so": "",
	} {
		got, err := hsm.Beside(key, "next 1")
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, hsm.ErrURI) {
			t.Errorf("beside %q: %q, %v", key, got, err)
		}
	}
}

func FuzzURI(f *testing.F) {
	f.Add("pkcs11:token=sealift;object=root?pin-source=file:/x")
	f.Add("pkcs11:id=%ff;;&")
	f.Fuzz(func(t *testing.T, text string) {
		if err := hsm.Check(text); err != nil && !errors.Is(err, hsm.ErrURI) {
			t.Error(err)
		}
	})
}
