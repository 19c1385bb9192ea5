//go:build !pkcs11

package hsm_test

import (
	"errors"
	"testing"

	"sealift/internal/hsm"
)

func TestNotBuiltIn(t *testing.T) {
	if _, err := hsm.Open("pkcs11:object=root", hsm.Surroundings{}); !errors.Is(err, hsm.ErrNotBuiltIn) {
		t.Error(err)
	}
	if _, err := hsm.Generate("pkcs11:object=root", 0, hsm.Surroundings{}); !errors.Is(err, hsm.ErrNotBuiltIn) {
		t.Error(err)
	}
}
