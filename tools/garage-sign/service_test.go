//go:build awskms

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"sealift/fixtures/keyservice"
	"sealift/internal/home"
)

// The root and the targets key are in a key service: people have made them there.
func TestKeysInAKeyService(t *testing.T) {
	r := newRepository(t, true)
	s := newShell(t)
	s.credentials(r, nil)
	check(t, r.offline.Connect([]byte(s.file("credentials.zip"))))
	s.dir = filepath.Dir(r.offline.Dir())
	service := keyservice.New()
	t.Cleanup(service.Close)
	for name, value := range service.Environment() {
		t.Setenv(name, value)
	}
	for alias, spec := range map[string]string{"alias/root": "RSA_2048", "alias/targets": "RSA_2048", "alias/ec": "ECC_NIST_P256"} {
		_, err := service.Make(alias, spec)
		check(t, err)
	}
	const generate = "key generate -r image -h $D "
	s.fails(1, "alias/none is not found", generate+"-n kms-root --pkcs11 awskms:///alias/none")
	s.fails(1, "ECDSA", generate+"-n kms-root --pkcs11 awskms:///alias/ec")
	s.fails(255, "AWS_ENDPOINT_URL_KMS", generate+"-n kms-root --pkcs11 awskms:///alias/root?endpoint=http://evil.example")
	s.must(generate + "-n kms-root --pkcs11 awskms:///alias/root")
	s.must(generate + "-n kms-targets --pkcs11 awskms:///alias/targets?region=eu-test-1")
	if got := s.file("image/keys/kms-root.sec"); !strings.HasPrefix(got, "awskms:///arn:aws:kms:eu-test-1:111122223333:key/") {
		t.Errorf("the private key file has %q", got)
	}
	for _, line := range []string{
		"root pull -r image -h $D",
		"root key add -r image -h $D -k kms-root", "root key remove -r image -h $D -k root",
		"root targets-key add -r image -h $D -k kms-targets", "root targets-key remove -r image -h $D -k targets",
		"root sign -r image -h $D -k root -k kms-root", "root push -r image -h $D",
	} {
		s.must(line)
	}
	s.must("targets init -r image -h $D --version 1 --expires 2031-01-01T00:00:00Z")
	s.must(strings.Replace(add("x-1", "board"), "-r a", "-r image", 1))
	sign := "targets sign -r image -h $D -k kms-targets"
	service.Be(keyservice.Refusing)
	s.fails(3, "AccessDeniedException", sign)
	service.Be(keyservice.Well)
	s.must(sign)
	s.write("image/roles/targets.json.checksum", home.ChecksumOf(r.targets))
	s.must("targets push -r image -h $D")
	if d := r.published().Signed; d.Version != 2 || len(d.Targets) != 1 {
		t.Errorf("published %+v", d)
	}
	if !strings.Contains(string(r.targets), "rsassa-pss-sha256") || r.twins["targets"] == nil {
		t.Error("not signed by the service in both flavours")
	}
}
