package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"sealift/keys/record"
)

// secret stands in every setting that may hold one.
const secret = "hunter2"

var secretValues = map[string][]string{
	"database-url":   {"postgres://joe:" + secret + "@db.example.com/sealift", "host=db user=joe password=" + secret},
	"blobs-url":      {"s3://bucket?secret=" + secret, "nobody://joe:" + secret + "@bucket?secret=" + secret, "://" + secret, "s3://a:" + secret + "/"},
	"record-heads":   {"https://joe:" + secret + "@127.0.0.1:1/" + secret + "?token=" + secret, "nobody://" + secret + "@bucket", "\"" + secret, secret + "@", "https://a:" + secret + "/"},
	"master-key-url": {"nobody://joe:" + secret + "@keeper", "://" + secret, "base64key://" + secret},
	"online-token":   {"pkcs11:token=server?pin-value=" + secret, "pkcs11:token=server;pin-value=" + secret, "token?" + secret},
}

// told is all that a command line prints and fails with.
func told(t *testing.T, given ...string) string {
	t.Helper()
	var out bytes.Buffer
	c := newCommand()
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(given)
	err := c.ExecuteContext(t.Context())
	return fmt.Sprint(out.String(), err)
}

// Settings that may hold a secret are not told: neither by what prints them, nor by
// what refuses them, wherever they come from.
func TestSecretSettingsAreNotTold(t *testing.T) {
	t.Setenv("SEALIFT_PASSPHRASE", "of the offline folder")
	data := filepath.Join(t.TempDir(), "data")
	if text := told(t, "init", "--dev", "--data", data, "--offline", data+"-offline", "--out", data+"-out", "--insecure-plaintext-targets-key"); !strings.Contains(text, "<nil>") {
		t.Fatal(text)
	}
	for name, values := range secretValues {
		for _, value := range values {
			for _, command := range [][]string{{"config", "print"}, {"serve"}, {"fsck"}, {"keys", "list"}} {
				given := append(command, "--data", data, "--"+name+"="+value, "--listen-gateway", "127.0.0.1:0", "--listen-api", "127.0.0.1:0", "--listen-metrics=", "--log-level", "debug", "--gateway-url=no%zz")
				if text := told(t, given...); strings.Contains(text, secret) {
					t.Errorf("%s tells %s: %s", command, name, text)
				}
			}
			t.Setenv(variableOf(name), value)
			if text := told(t, "config", "print", "--data", data); strings.Contains(text, secret) {
				t.Errorf("%s in the environment is told: %s", name, text)
			}
			t.Setenv(variableOf(name), "")
		}
	}
}

// What cannot be told of heads is told without their secrets.
func TestPlacesOfHeadsAreTold(t *testing.T) {
	for _, value := range secretValues["record-heads"] {
		list, _, err := settings{RecordHeads: []string{value}}.witnesses(t.Context(), &bytes.Buffer{})
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		log.Warn("opening", "error", err)
		for _, w := range list {
			log.Warn("telling", "to", w.name, "error", w.tell(t.Context(), record.Head{}, nil))
		}
		if strings.Contains(out.String(), secret) || !strings.Contains(out.String(), "error=") {
			t.Errorf("%s: %s", value, out.String())
		}
	}
}
