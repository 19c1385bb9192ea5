package kms_test

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"testing"

	"sealift/internal/hsm"
	"sealift/internal/kms"
)

func pss() crypto.SignerOpts {
	return &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}
}

func TestURIs(t *testing.T) {
	const arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	for text, ok := range map[string]bool{
		"awskms:///" + arn:                                         true,
		"awskms:///" + arn + "?region=eu-central-1":                true,
		"awskms:///" + arn + "?region=eu-west-1":                   false, // which one?
		"awskms://alias/sealift":                                   true,
		"awskms:///alias/a/b_c?region=us-gov-east-1":               true,
		"awskms:///mrk-1234abcd12ab34cd56ef1234567890ab":           true,
		"awskms:///arn:aws-cn:kms:cn-north-1:111122223333:alias/x": true,
		"awskms:///":       false,
		"awskms:///alias/": false,
		"awskms:///alias/x?endpoint=http://evil.example":                false, // would get our requests
		"awskms:///alias/x?region=evil.example/":                        false,
		"awskms:///alias/x?region=a&region=b":                           false,
		"awskms://user:secret@alias/x":                                  false,
		"awskms:///alias/x#y":                                           false,
		"awskms:///arn:aws:s3:eu-central-1:111122223333:key/x":          false,
		"awskms:///arn:aws:kms:eu-central-1:111122223333:key/../../etc": false,
		"pkcs11:object=x":                                               false,
		"alias/x":                                                       false,
	} {
		_, err := kms.New(kms.Config{}).Known(text, nil)
		if (err == nil) != ok || err != nil && !errors.Is(err, hsm.ErrURI) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestKeysAtAPlace(t *testing.T) {
	for place, want := range map[string]string{
		"awskms:///alias/sealift":                                         "awskms:///alias/sealift-a_b-image-snapshot",
		"awskms://alias/sealift?region=eu-central-1\n":                    "awskms://alias/sealift-a_b-image-snapshot?region=eu-central-1",
		"awskms:///arn:aws:kms:eu-central-1:111122223333:alias/x":         "awskms:///arn:aws:kms:eu-central-1:111122223333:alias/x-a_b-image-snapshot",
		"awskms:///alias/":                                                "",
		"awskms:///1234abcd-12ab-34cd-56ef-1234567890ab":                  "", // one key for all roles
		"awskms:///arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12": "",
	} {
		got, err := hsm.In(place, "a.b-image-snapshot")
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, hsm.ErrURI) {
			t.Errorf("at %q: %q, %v", place, got, err)
		}
	}
}

func FuzzURI(f *testing.F) {
	f.Add("awskms:///arn:aws:kms:eu-central-1:111122223333:key/1234abcd?region=eu-central-1")
	f.Add("awskms://alias/x?%zz&;")
	s := kms.New(kms.Config{})
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := s.Known(text, nil); err != nil && !errors.Is(err, hsm.ErrURI) {
			t.Error(err)
		}
	})
}
